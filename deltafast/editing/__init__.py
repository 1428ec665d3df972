"""Latents or photos in, edited images or photos out."""

from deltafast.editing.batch import edit_batch, edit_stream
from deltafast.editing.result import EditResult

__all__ = ["EditResult", "edit_batch", "edit_stream"]
