"""Files: atomic writing, the one image reader, JSON, hashes and the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import DiskError, ImageError, InvalidInputError, ResumeError

__all__ = [
    "IMAGE_SUFFIXES",
    "atomic_write",
    "begin_or_resume",
    "cache_dir",
    "list_images",
    "read_image",
    "read_json",
    "sha256_file",
    "write_json",
    "write_png",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_MAX_PIXELS = 200_000_000  # a 14k x 14k photo; more is taken for a decompression bomb


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without an error.

    The target is either the old file or the complete new one, also after a crash or Ctrl-C. Raises `DiskError`
    when the folder cannot be written (disk full, permissions).
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        if isinstance(error, DiskError):
            raise
        raise DiskError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an image file as RGB, its EXIF orientation applied, transparency laid over white.

    Result: uint8 `[H, W, 3]`. 16-bit images are scaled to 8 bits, of an animation the first frame is taken.
    Raises `ImageError` when the file is missing, damaged, truncated, or larger than 200 megapixels.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > _MAX_PIXELS:
                size = f"{opened.width} x {opened.height}"
                raise ImageError(path, f"the image is {size} pixels, more than {_MAX_PIXELS} in all")
            opened.seek(0)
            image: Image.Image = ImageOps.exif_transpose(opened)
            if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
                wide = np.asarray(image, dtype=np.float64)  # [H, W]
                scale = 255.0 / 65535.0 if image.mode != "F" or wide.max(initial=0.0) > 255.0 else 1.0
                image = Image.fromarray(np.clip(wide * scale + 0.5, 0, 255).astype(np.uint8))
            if "A" in image.getbands() or "transparency" in image.info:
                rgba = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
            return np.array(image.convert("RGB"), dtype=np.uint8)  # [H, W, 3]
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(path, "no such file") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise ImageError(path, f"cannot be read as an image ({error})") from error


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the image files directly in `folder`, sorted by name. Raises `InvalidInputError` if it is no folder."""
    root = Path(folder)
    if not root.is_dir():
        raise InvalidInputError(f"{root} is not a folder")
    return sorted(p for p in root.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def write_png(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> None:
    """Write uint8 `[H, W, 3]` or `[H, W]` as PNG, atomically; the same pixels always give the same bytes."""
    from PIL import Image

    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise InvalidInputError(f"write_png expects uint8 [H, W, 3] or [H, W], got {image.dtype} {image.shape}")
    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", compress_level=6)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file. Raises `InvalidInputError` that names the file when it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{os.fspath(path)} cannot be read as JSON: {error}") from error


def begin_or_resume(path: str | os.PathLike[str], settings: dict[str, Any]) -> None:
    """Write a run's settings as JSON to `path` when it begins, and compare with those there when it goes on.

    Raises `ResumeError` that names what differs when the run was begun with other settings.
    """
    target = Path(path)
    plain = json.loads(json.dumps(settings))  # as they come back: tuples are lists
    if not target.exists():
        write_json(target, plain)
        return
    found = read_json(target)
    if found != plain:
        known = found if isinstance(found, dict) else {}
        names = sorted(key for key in {*known, *plain} if known.get(key) != plain.get(key))
        raise ResumeError(
            f"{target.parent} was begun with other settings ({', '.join(names)}): choose another folder or delete it"
        )


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha(stream)


def _sha(stream: Any) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def cache_dir() -> Path:
    """Return the folder for downloaded and converted files: `DELTAFAST_CACHE`, else `~/.cache/deltafast` (XDG)."""
    explicit = os.environ.get("DELTAFAST_CACHE")
    if explicit:
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "deltafast"
