"""The editor file: one safetensors file with fp16 weights and a JSON config in its metadata."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deltafast.delta.sharing import editor_in
from deltafast.errors import EditorError
from deltafast.files import atomic_write
from deltafast.untrusted.checks import check_finite, reading, shown
from deltafast.untrusted.json_text import parse_json
from deltafast.untrusted.safetensors_file import read_safetensors

__all__ = [
    "FORMAT_VERSION",
    "MAX_BYTES",
    "bundled_editors",
    "find_editor",
    "read_editor_file",
    "round_weights",
    "tensors_digest",
    "write_editor_file",
]

FORMAT_VERSION = 2  # 1 knew jumps only
_READ_VERSIONS = (1, 2)
MAX_BYTES = 5_000_000
_FORMAT = "deltafast-editor"
_KEY = "deltafast"
_BUNDLED = Path(__file__).resolve().parent.parent / "assets" / "editors"


def bundled_editors() -> dict[str, Path]:
    """Return the editors inside the package: name to file."""
    return {path.stem: path for path in _BUNDLED.glob("*.safetensors")}


def find_editor(path_or_name: str | os.PathLike[str]) -> Path:
    """Return the file of a bundled editor's name or of a path, a shared folder's too.

    Raises `EditorError` when there is none.
    """
    if not isinstance(path_or_name, (str, os.PathLike)):
        raise EditorError(f"an editor is given by a name or a path, got {type(path_or_name).__name__}")
    bundled = bundled_editors()
    if isinstance(path_or_name, str) and path_or_name in bundled:
        return bundled[path_or_name]
    try:
        path = Path(path_or_name).expanduser()
        if path.is_dir():
            return editor_in(path)
        if path.is_file():
            return path
    except (OSError, ValueError, RuntimeError) as error:  # a name that no file system takes, a home that is not known
        raise EditorError(f"no editor {os.fspath(path_or_name)[:60]!r}: {error}") from error
    names = ", ".join(sorted(bundled)) or "none in this installation"
    raise EditorError(f"no editor {os.fspath(path_or_name)!r}: neither a file nor a bundled one ({names})")


def round_weights(editor: nn.Module) -> None:
    """Round an editor's weights to fp16, as the file holds them, so that it and its file are the same to the bit."""
    with torch.no_grad():
        for name, tensor in editor.state_dict().items():
            if _stored_half(name):
                tensor.copy_(tensor.half())


def write_editor_file(
    path: str | os.PathLike[str], attribute: str, info: dict[str, Any], weights: dict[str, Tensor]
) -> None:
    """Write what an editor is of, as JSON values, and its weights; see `Editor.save`."""
    from safetensors.torch import save_file

    tensors = {}
    for name, tensor in weights.items():
        stored = tensor.detach().cpu().contiguous()
        tensors[name] = (stored.half() if _stored_half(name) else stored).clone()
        if not bool(torch.isfinite(tensors[name]).all()):
            raise EditorError(f"tensor {name} of the editor {attribute!r} is not finite in {tensors[name].dtype}")
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    if size > MAX_BYTES - 20_000:
        raise EditorError(
            f"the editor would take {size / 1e6:.1f} MB, more than the {MAX_BYTES / 1e6:.0f} MB an editor file may "
            "have; use fewer slots, a smaller width or fewer layers"
        )
    form = info["config"].get("form", "jump")
    digest = tensors_digest(tensors)
    head = {"format": _FORMAT, "version": FORMAT_VERSION, "form": form, "info": info, "sha256": digest}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: json.dumps(head, sort_keys=True)})


def read_editor_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what `write_editor_file` was given: the JSON values and the weights, finite and of the file's sha256.

    Raises `EditorError` when the file is damaged, of another kind or another format version.
    """
    with reading(lambda reason: EditorError(f"{path} is damaged or no editor file: {reason}")):
        tensors, metadata = read_safetensors(path, max_bytes=MAX_BYTES)
        if _KEY not in metadata:
            raise EditorError(f"{path} is no editor file: it lacks an editor's metadata")
        head = parse_json(metadata[_KEY])
        kind, version = head["format"], head["version"]
        if kind != _FORMAT:
            raise EditorError(f"{path} is no editor file but {shown(kind)}; editors are made by `deltafast train`")
        if version not in _READ_VERSIONS:
            raise EditorError(
                f"{path} has editor format version {shown(version)}, this deltafast reads 1 and {FORMAT_VERSION}; "
                "train it again or install the deltafast that wrote it"
            )
        for name, tensor in tensors.items():
            if not tensor.is_floating_point():
                raise EditorError(f"{path} is damaged: {name} holds no floating point numbers")
            check_finite(tensor, name)
        if head["sha256"] != tensors_digest(tensors):
            raise EditorError(f"{path} is damaged: its tensors do not have the sha256 that its metadata names")
        info = head["info"]
        if not isinstance(info, dict):
            raise EditorError(f"{path} is damaged: what it says of the editor is no JSON object")
        said, found = head["form"] if version > 1 else "jump", info["config"].get("form", "jump")
        if said != found:
            raise EditorError(f"{path} is damaged: it is said to be a {shown(said)}, and {shown(found)} by its config")
        return info, tensors


def _stored_half(name: str) -> bool:
    return name.startswith(("encoder.", "decoder.", "linear_"))


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of named tensors, in hexadecimal."""
    result = hashlib.sha256()
    for name in sorted(tensors):
        result.update(name.encode())
        result.update(tensors[name].cpu().contiguous().numpy().tobytes())
    return result.hexdigest()
