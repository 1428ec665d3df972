"""E and D: what an attribute's change is (Δ), and how it moves a latent; their training and the editor file."""

from deltafast.delta.config import DeltaConfig, PreciseConfig, recommended_slots
from deltafast.delta.editor import Editor, EditorInfo, LatentEditor, list_editors, load_editor
from deltafast.delta.flow_sum import edit_together
from deltafast.delta.linear import LinearEditor, linear_editor
from deltafast.delta.training import train_editor

__all__ = [
    "DeltaConfig",
    "Editor",
    "EditorInfo",
    "LatentEditor",
    "LinearEditor",
    "PreciseConfig",
    "edit_together",
    "linear_editor",
    "list_editors",
    "load_editor",
    "recommended_slots",
    "train_editor",
]
