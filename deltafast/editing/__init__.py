"""Latents or photos in, edited images or photos out."""

from deltafast.editing.animation import Animation, animate
from deltafast.editing.batch import edit_batch, edit_stream
from deltafast.editing.options import EditOptions
from deltafast.editing.result import EditResult
from deltafast.editing.session import EditSession
from deltafast.editing.steering import Reached, UnreachedWarning

__all__ = [
    "Animation",
    "EditOptions",
    "EditResult",
    "EditSession",
    "Reached",
    "UnreachedWarning",
    "animate",
    "edit_batch",
    "edit_stream",
]
