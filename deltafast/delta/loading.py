"""Editors by name or file: those that deltafast trained, and directions of others."""

from __future__ import annotations

import os
from pathlib import Path

from deltafast.delta import editor as editor_files
from deltafast.delta.direction import DIRECTION_SUFFIXES, DirectionEditor, load_direction
from deltafast.delta.editor import Editor
from deltafast.delta.editor_file import find_editor

__all__ = ["load_editor"]


def load_editor(path_or_name: str | os.PathLike[str]) -> Editor | DirectionEditor:
    """Read an editor: a bundled one's name ("yaw"; see `list_editors`), an editor file, or a direction's file.

    A direction (.npy, .npz or .pt, as InterFaceGAN, GANSpace and others write them) is `[w_dim]`, `[1, w_dim]` or
    `[num_ws, w_dim]`; see `DirectionEditor`. Raises `EditorError` that names the file when it is missing, damaged, or
    of another format version.
    """
    path = find_editor(path_or_name)
    if Path(path).suffix.lower() in DIRECTION_SUFFIXES:
        return load_direction(path)
    return editor_files.load_editor(path_or_name)
