"""Editors that are handed on: a folder comes back as the same editor, its card says whose terms pass on."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from deltafast.delta import Editor, load_editor
from deltafast.delta.sharing import CARD_FILE, EDITOR_FILE, PICTURE_FILE
from deltafast.errors import DeltafastError, EditorError, InvalidInputError
from deltafast.files import read_image
from deltafast.sequence_latents import GeneratorId


class Hub(ModuleType):
    """Stands where huggingface_hub would: repositories are folders."""

    def __init__(self, root: Path) -> None:
        super().__init__("huggingface_hub")
        self.root = root
        self.made: list[tuple[str, bool]] = []

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        self.made.append((repo_id, private))

    def upload_folder(self, *, repo_id: str, folder_path: str, allow_patterns: list[str]) -> None:
        target = self.root / repo_id
        target.mkdir(parents=True)
        for name in allow_patterns:
            if (Path(folder_path) / name).exists():
                (target / name).write_bytes((Path(folder_path) / name).read_bytes())

    def hf_hub_download(self, repo_id: str, filename: str, revision: str | None = None) -> str:
        path = self.root / repo_id / filename
        if not path.exists():
            raise OSError(f"404: {repo_id} at {revision} is not there\nmore")
        return str(path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", made)
    return made


def _same(one: Editor, other: Editor) -> bool:
    ws = torch.randn(2, one.num_ws, one.w_dim, generator=torch.Generator().manual_seed(0))
    return torch.equal(one.edit(ws, 0.7), other.edit(ws, 0.7)) and one.info == other.info


def test_a_folder_comes_back_as_the_same_editor_by_whatever_reads_editors(editor: Editor, tmp_path: Path) -> None:
    picture = np.full((8, 8, 3), 7, np.uint8)
    folder = editor.save_pretrained(tmp_path / "mine", figures={"turns by": "30 degrees"}, picture=picture)
    assert sorted(path.name for path in folder.iterdir()) == sorted([EDITOR_FILE, CARD_FILE, PICTURE_FILE])
    assert (read_image(folder / PICTURE_FILE) == picture).all()
    for read in (Editor.from_pretrained(folder), Editor.from_pretrained(folder / EDITOR_FILE), load_editor(folder)):
        assert isinstance(read, Editor)
        assert _same(read, editor)


def test_the_card_names_the_generator_and_that_its_terms_pass_on(editor: Editor, tmp_path: Path) -> None:
    editor.save_pretrained(tmp_path / "a", licence="CC BY-NC 4.0", figures={"turns by": "30 degrees"})
    card = (tmp_path / "a" / CARD_FILE).read_text()
    assert card.startswith("---\nlibrary_name: deltafast\nlicense: other\n")
    for words in (editor.info.generator.name, "terms pass on", "CC BY-NC 4.0", "| turns by | 30 degrees |"):
        assert words in card
    assert PICTURE_FILE not in card
    known = replace(editor.info, generator=GeneratorId("mobilestylegan-ffhq", "0" * 64, "ffhq"))
    other = Editor(known)
    other.load_state_dict(editor.state_dict())
    other.save_pretrained(tmp_path / "b")
    assert "for non-commercial purposes only" in (tmp_path / "b" / CARD_FILE).read_text()


def test_names_in_a_card_cannot_write_markdown_of_their_own(editor: Editor, tmp_path: Path) -> None:
    editor.save_pretrained(tmp_path, title="# <script>alert(1)</script> [x](http://y)\n\n|")
    card = (tmp_path / CARD_FILE).read_text()
    assert "<script>" not in card
    assert "](http" not in card
    for figures in ({"a|b": "1"}, {"a": "1\n2"}, {"a": ""}):
        with pytest.raises(InvalidInputError, match="plain lines"):
            editor.save_pretrained(tmp_path, figures=figures)


def test_an_editor_goes_to_the_hub_and_comes_back(editor: Editor, hub: Hub) -> None:
    assert editor.push_to_hub("anna/beard", private=True).endswith("/anna/beard")
    assert hub.made == [("anna/beard", True)]
    assert _same(Editor.from_pretrained("anna/beard"), editor)
    with pytest.raises(
        EditorError, match=r"'anna/moustache' cannot be fetched: 404: anna/moustache at v2 is not there$"
    ):
        Editor.from_pretrained("anna/moustache", revision="v2")


@pytest.mark.parametrize("repo_id", ["beard", "anna/../beard", "/etc/passwd", "anna/be ard", "http://x/y"])
def test_what_is_no_id_is_never_sent_to_the_hub(editor: Editor, hub: Hub, repo_id: str) -> None:
    with pytest.raises(InvalidInputError, match="as in anna/beard"):
        editor.push_to_hub(repo_id)
    with pytest.raises(EditorError, match="neither a folder, nor a file, nor an id"):
        Editor.from_pretrained(repo_id + "\0" if repo_id.startswith("/etc") else repo_id)
    assert not hub.made


def test_a_name_of_a_path_that_is_not_there_is_never_looked_up_on_the_hub(hub: Hub) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise AssertionError("asked the hub")

    hub.hf_hub_download = fail  # type: ignore[method-assign]
    with pytest.raises(EditorError, match="neither a file nor a bundled one"):
        load_editor("anna/beard")


def test_without_the_library_an_id_says_what_to_install(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DeltafastError, match=r"deltafast\[hub\]"):
        Editor.from_pretrained("anna/beard")
    with pytest.raises(DeltafastError, match=r"deltafast\[hub\]"):
        editor.push_to_hub("anna/beard")


def test_a_folder_without_an_editor_is_named(tmp_path: Path) -> None:
    with pytest.raises(EditorError, match=r"holds no editor\.safetensors"):
        Editor.from_pretrained(tmp_path)
