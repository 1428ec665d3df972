"""Checkpoints of some bytes that name one part again and again: bounded, or looked at once."""

from __future__ import annotations

import io
import pickle

import pytest
import torch

from deltafast.errors import CheckpointError
from deltafast.generators.checkpoints import found
from deltafast.untrusted.checks import reading
from deltafast.untrusted.pickled_values import Record
from deltafast.untrusted.torch_file import read_pickle_bytes


def _unpickled(data):
    with reading(lambda reason: CheckpointError("x.pkl", reason)):
        return read_pickle_bytes(data)


def test_a_path_that_doubles_with_every_step_is_refused():
    data = b"\x80\x04\x8c\x07pathlib\x8c\x08PurePath\x93\x94\x8c\x08" + b"x" * 8 + b"q\x01"
    data += b"0h\x00h\x01h\x01\x86Rq\x01" * 40  # PurePath(x, x), and x is the result from here on
    assert len(data) < 1000
    with pytest.raises(CheckpointError, match="a path of more than 4096 characters"):
        _unpickled(data + b".")


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (b"\x8c\x07_codecs\x8c\x06encode", pickle.dumps("x" * 100_000, 4)[2:-1] + b"\x94\x8c\x06latin1\x86"),
        (b"\x8c\x08builtins\x8c\x03set", pickle.dumps(list(range(500)), 2)[2:-1] + b"\x85"),
        (b"\x8c\x0bcollections\x8c\x0bOrderedDict", pickle.dumps([(1, 2)] * 500, 2)[2:-1] + b"\x85"),
    ],
)
def test_one_part_that_is_copied_again_and_again_is_refused(function, argument):
    data = b"\x80\x04" + function + b"\x93r\xff\xff\x00\x00" + argument + b"r\xfe\xff\x00\x000]("
    call = b"j\xff\xff\x00\x00j\xfe\xff\x00\x00R"
    assert len(_unpickled(data + 2 * call + b"e.")) == 2
    with pytest.raises(CheckpointError, match="again and again"):
        _unpickled(data + 2000 * call + b"e.")


def test_bytes_of_a_storage_that_are_named_again_are_read_once():
    buffer = io.BytesIO()
    torch.save(torch.zeros(4), buffer, _use_new_zipfile_serialization=False)
    part = pickle.dumps(buffer.getvalue(), 4)[2:-1]
    data = b"\x80\x04\x8c\x0dtorch.storage\x8c\x10_load_from_bytes\x93r\xff\xff\x00\x00" + part + b"\x85"
    data += b"r\xfe\xff\x00\x000](" + 2 * b"j\xff\xff\x00\x00j\xfe\xff\x00\x00R" + b"e."
    first, second = _unpickled(data)
    assert first is second
    assert first.shape == (4,)


def test_a_dict_that_many_others_name_is_looked_at_once_in_each_depth(monkeypatch):
    content, looked_at, recognised = {"x": torch.zeros(1)}, [], found._recognised
    for _ in range(3):
        content = {f"k{i}": content for i in range(30)}
    monkeypatch.setattr(found, "_recognised", lambda *args: looked_at.append(args) or recognised(*args))
    with pytest.raises(CheckpointError, match="no StyleGAN2 generator"):
        found.find_generator(content, "x.pt")
    assert len(looked_at) <= 4


def test_modules_that_name_the_same_weights_again_and_again_are_refused(monkeypatch):
    inner, root = Record("Generator"), Record("Generator")
    inner.state = {"_modules": {}, "_parameters": {f"p{i}": 1.0 for i in range(300)}}
    root.state = {"_modules": {f"m{i}": inner for i in range(300)}}
    monkeypatch.setattr(found, "_MAX_VALUES", 20_000)
    with pytest.raises(CheckpointError, match="more than 20000 values"):
        found.find_generator({"G_ema": root}, "x.pkl")
    inner.state = {"_modules": {}, "_parameters": {"p" * 2000: 1.0}}
    with pytest.raises(CheckpointError, match="name of more than 1000 characters"):
        found.find_generator({"G_ema": root}, "x.pkl")
