"""Latents or photos in, edited images or photos out."""

from deltafast.editing.batch import edit_batch, edit_stream
from deltafast.editing.options import EditOptions
from deltafast.editing.result import EditResult
from deltafast.editing.session import EditSession
from deltafast.editing.steering import Reached, UnreachedWarning

__all__ = ["EditOptions", "EditResult", "EditSession", "Reached", "UnreachedWarning", "edit_batch", "edit_stream"]
