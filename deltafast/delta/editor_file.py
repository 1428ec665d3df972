"""The editor file: one safetensors file with fp16 weights and a JSON config in its metadata."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deltafast.delta.editor import Editor, EditorInfo
from deltafast.errors import EditorError
from deltafast.files import atomic_write

__all__ = [
    "FORMAT_VERSION",
    "MAX_BYTES",
    "bundled_editors",
    "find_editor",
    "read_editor",
    "round_weights",
    "write_editor",
]

FORMAT_VERSION = 1
MAX_BYTES = 5_000_000
_FORMAT = "deltafast-editor"
_KEY = "deltafast"
_BUNDLED = Path(__file__).resolve().parent.parent / "assets" / "editors"


def bundled_editors() -> dict[str, Path]:
    """Return the editors inside the package: name to file."""
    return {path.stem: path for path in _BUNDLED.glob("*.safetensors")}


def find_editor(path_or_name: str | os.PathLike[str]) -> Path:
    """Return the file of a bundled editor's name or of a path. Raises `EditorError` when there is none."""
    if not isinstance(path_or_name, (str, os.PathLike)):
        raise EditorError(f"an editor is given by a name or a path, got {type(path_or_name).__name__}")
    bundled = bundled_editors()
    if isinstance(path_or_name, str) and path_or_name in bundled:
        return bundled[path_or_name]
    path = Path(path_or_name)
    if path.is_file():
        return path
    names = ", ".join(sorted(bundled)) or "none in this installation"
    raise EditorError(f"no editor {os.fspath(path_or_name)!r}: neither a file nor a bundled one ({names})")


def round_weights(editor: Editor) -> None:
    """Round weights to fp16, as the file holds them, so that an editor and its file are the same to the bit."""
    with torch.no_grad():
        for name, tensor in editor.state_dict().items():
            if _stored_half(name):
                tensor.copy_(tensor.half())


def write_editor(editor: Editor, path: str | os.PathLike[str]) -> None:
    """Write an editor file; see `Editor.save`."""
    from safetensors.torch import save_file

    tensors = {}
    for name, tensor in editor.state_dict().items():
        stored = tensor.detach().cpu().contiguous()
        tensors[name] = (stored.half() if _stored_half(name) else stored).clone()
        if not bool(torch.isfinite(tensors[name]).all()):
            raise EditorError(
                f"tensor {name} of the editor {editor.attribute!r} is not finite in {tensors[name].dtype}"
            )
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    if size > MAX_BYTES - 20_000:
        raise EditorError(
            f"the editor would take {size / 1e6:.1f} MB, more than the {MAX_BYTES / 1e6:.0f} MB an editor file may "
            "have; use fewer slots, a smaller width or fewer layers"
        )
    head = {
        "format": _FORMAT,
        "version": FORMAT_VERSION,
        "info": editor.info.as_json(),
        "sha256": _digest(tensors),
    }
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: json.dumps(head, sort_keys=True)})


def read_editor(path: Path) -> Editor:
    """Read an editor file; see `load_editor`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in list(stream.keys())}
    except (OSError, SafetensorError, ValueError) as error:
        raise EditorError(f"{path} is damaged or no editor file: {error}") from error
    try:
        head = json.loads(metadata[_KEY])
        kind, version = head["format"], head["version"]
    except (KeyError, TypeError, ValueError) as error:
        raise EditorError(f"{path} is no editor file: it lacks an editor's metadata") from error
    if kind != _FORMAT:
        raise EditorError(f"{path} is no editor file but {kind!r}; editors are made by `deltafast train`")
    if version != FORMAT_VERSION:
        raise EditorError(
            f"{path} has editor format version {version}, this deltafast reads version {FORMAT_VERSION}; "
            "train it again or install the deltafast that wrote it"
        )
    try:
        info = EditorInfo.from_json(head["info"])
        with torch.device("meta"):  # no memory is taken on a file's word
            expected = Editor(info).state_dict()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EditorError(f"{path} is damaged: its config cannot be read ({error})") from error
    _check_tensors(tensors, expected, head, path)
    editor = Editor(info)
    editor.load_state_dict(tensors)
    return editor.eval().requires_grad_(False)


def _check_tensors(tensors: dict[str, Tensor], expected: dict[str, Tensor], head: dict[str, Any], path: Path) -> None:
    if set(expected) != set(tensors):
        raise EditorError(f"{path} is damaged: tensors missing or unknown: {sorted(set(expected) ^ set(tensors))}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise EditorError(
                f"{path} is damaged: {name} is {list(tensor.shape)}, its config says {list(expected[name].shape)}"
            )
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise EditorError(f"{path} is damaged: {name} holds NaN, infinity, or no floating point numbers")
    if head.get("sha256") != _digest(tensors):
        raise EditorError(f"{path} is damaged: its tensors do not have the sha256 that its metadata names")


def _stored_half(name: str) -> bool:
    return name.startswith(("encoder.", "decoder.", "linear_"))


def _digest(tensors: dict[str, Tensor]) -> str:
    result = hashlib.sha256()
    for name in sorted(tensors):
        result.update(name.encode())
        result.update(tensors[name].contiguous().numpy().tobytes())
    return result.hexdigest()
