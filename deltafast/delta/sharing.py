"""Editors as folders that people hand on: the file, a card, a picture; and on the Hugging Face hub."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import DeltafastError, EditorError, InvalidInputError
from deltafast.files import atomic_write, write_png

__all__ = ["CARD_FILE", "EDITOR_FILE", "PICTURE_FILE", "editor_in", "upload", "write_folder"]

EDITOR_FILE, CARD_FILE, PICTURE_FILE = "editor.safetensors", "README.md", "picture.png"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_TERMS = {  # of generators that deltafast fetches by name
    "mobilestylegan-ffhq": (
        "its weights are derived from NVIDIA's StyleGAN2-FFHQ, which may be used **for non-commercial purposes only**; "
        "so may this editor"
    ),
}


def editor_in(source: str | os.PathLike[str], revision: str | None = None) -> Path:
    """Return the editor's file of a folder, of a file, or of an id on the hub (`anna/beard`), which is fetched.

    `revision`: a branch, tag or commit of the hub's. What is fetched is one safetensors file, which executes nothing.
    Raises `EditorError` where there is none, `DeltafastError` that says what to install where an id needs it.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        file = path / EDITOR_FILE
        if not file.is_file():
            raise EditorError(f"{path} holds no {EDITOR_FILE}; `Editor.save_pretrained` makes such folders")
        return file
    if path.is_file():
        return path
    if not isinstance(source, str) or not _HUB_ID.fullmatch(source):
        raise EditorError(f"no editor {os.fspath(source)!r}: neither a folder, nor a file, nor an id as in anna/beard")
    hub = _hub()
    try:
        return Path(hub.hf_hub_download(source, EDITOR_FILE, revision=revision))
    except Exception as error:  # not found, no network, offline: whatever its HTTP library raises
        raise EditorError(f"the editor {source!r} cannot be fetched: {_first_line(error)}") from error


def write_folder(
    folder: str | os.PathLike[str],
    info: Mapping[str, Any],
    *,
    title: str,
    licence: str | None = None,
    figures: Mapping[str, str] | None = None,
    picture: NDArray[np.uint8] | None = None,
) -> Path:
    """Write card and picture of an editor beside its file, and return the folder.

    `info`: `EditorInfo.as_json()`; `licence`: the words under which the editor is handed on, beside its generator's
    terms; `figures`: name to value, a table on the card; `picture`: uint8 `[H, W, 3]`. Raises `InvalidInputError` for
    a name or figure that is no plain line, `DiskError`.
    """
    target = Path(folder)
    for name, value in (figures or {}).items():
        if not all(isinstance(one, str) and one and one.isprintable() and "|" not in one for one in (name, value)):
            raise InvalidInputError(f"figures are plain lines of text, got {name!r}: {value!r}")
    if picture is not None:
        write_png(target / PICTURE_FILE, picture)
    text = _card(info, title, licence, figures or {}, picture is not None)
    with atomic_write(target / CARD_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def upload(folder: Path, repo_id: str, *, private: bool = False) -> str:
    """Put a folder that `write_folder` made on the hub, and return its address there.

    Uses the token that `hf auth login` has left. Raises `InvalidInputError` for what is no id, `DeltafastError` where
    huggingface_hub is missing or the hub refuses.
    """
    if not _HUB_ID.fullmatch(repo_id):
        raise InvalidInputError(f"an id on the hub is as in anna/beard, got {repo_id!r}")
    hub = _hub()
    try:
        hub.create_repo(repo_id, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=repo_id, folder_path=str(folder), allow_patterns=[EDITOR_FILE, CARD_FILE, PICTURE_FILE]
        )
    except Exception as error:
        raise DeltafastError(f"the hub did not take {repo_id}: {_first_line(error)}") from error
    return f"https://huggingface.co/{repo_id}"


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise DeltafastError(
            "editors on the hub need huggingface_hub: pip install 'deltafast[hub]', or give a folder or file"
        ) from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _card(info: Mapping[str, Any], title: str, licence: str | None, figures: Mapping[str, str], picture: bool) -> str:
    generator = info["generator"]
    terms = _TERMS.get(generator["name"], "its terms pass on to this editor")
    lines = [
        "---",
        "library_name: deltafast",
        "license: other",
        "license_name: terms-of-the-generator",
        "tags:",
        *(f"- {tag}" for tag in ("deltafast", "stylegan", "face-editing", "image-to-image")),
        "---",
        "",
        f"# {_plain(title)}",
        "",
        f"An editor of *{_plain(info['attribute'])}* for deltafast: faces in the W+ space of "
        f" `{_plain(generator['name'])}`.",
        "",
    ]
    if picture:
        lines += [f"![edited faces]({PICTURE_FILE})", ""]
    lines += [
        "```python",
        "import deltafast",
        "",
        'editor = deltafast.Editor.from_pretrained("...")  # this folder, or its id',
        f'G = deltafast.load_generator("{_plain(generator["name"])}")',
        'result = deltafast.edit_batch(G, "photo.jpg", editor, 1.0)',
        "```",
        "",
        "## Facts",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in [*_facts(info), *figures.items()]),
        "",
        "## Licence",
        "",
        *([_plain(licence), ""] if licence else []),
        f"It was trained with the generator `{_plain(generator['name'])}`: {terms}.",
        "",
        "Edit faces of people who have agreed to it, and say that a picture was edited: deltafast writes that into its "
        "files.",
        "",
    ]
    return "\n".join(lines)


def _facts(info: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    generator, config, training = info["generator"], info["config"], info.get("training", {})
    facts = [
        ("attribute", _plain(info["attribute"])),
        ("form, loss", f"{config.get('form', 'jump')}, {config['loss']}"),
        ("W+ slots", ", ".join(str(slot) for slot in info["slots"]) + f" of {info['num_ws']}"),
        ("generator's fingerprint", f"`{_plain(generator['fingerprint'])[:16]}`"),
    ]
    if isinstance(training.get("identities"), int):
        facts.append(("identities it was trained on", str(training["identities"])))
    return facts


def _plain(text: str) -> str:
    """Return text without what Markdown or a table would take for its own."""
    return re.sub(r"[\s|`*_<>\[\]]+", " ", str(text)).strip()[:300]
