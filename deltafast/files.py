"""Files: atomic writing, the one image reader, JSON, hashes and the user's cache folder."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import sys
import tempfile
import time
import warnings
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import DiskError, ImageError, InvalidInputError, ResumeError
from deltafast.untrusted.checks import reading, reason_of
from deltafast.untrusted.json_text import parse_json

__all__ = [
    "alone_in",
    "IMAGE_SUFFIXES",
    "atomic_write",
    "cache_dir",
    "colour_profile",
    "hold_folder",
    "image_pixels",
    "image_size",
    "is_animation",
    "list_images",
    "lock_file",
    "read_image",
    "read_json",
    "remove_leftovers",
    "sha256_file",
    "write_json",
    "write_png",
]

_HEIF = (".heic", ".heif")  # what pillow-heif reads, the extra `heic`; without it they are named as unreadable
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", *_HEIF)
_MAX_PIXELS = 175_000_000  # a photo of 13k x 13k; more is taken for a decompression bomb, by Pillow too
_STRIP = 1 << 22  # pixels that are converted at once
_ORIENTATION = 0x0112  # EXIF's tag
_LEFTOVER = (".deltafast-", ".tmp")  # how the names of temporary files begin and end
_DAY = 86_400.0  # seconds
_TORCH_WRITER = ("inline_container", "PytorchStreamWriter")  # what its errors name


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without an error.

    The target is either the old file or the complete new one, also after a crash or Ctrl-C; what a killed process
    leaves is removed by `remove_leftovers`. (Written here because what is at hand does one half: atomicwrites is no
    longer kept up, and none knows a leftover from the file of a process that lives.) Raises `DiskError` when the folder
    cannot be written (disk full, permissions).
    """
    target = Path(path)
    temporary: Path | None = None
    handle: int | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # of a name of its own: the target's may be too long for more, or not be text
        handle, name = tempfile.mkstemp(prefix=_LEFTOVER[0], suffix=_LEFTOVER[1], dir=target.parent)
        temporary = Path(name)
        if not lock_file(handle):
            os.close(handle)
            handle = None
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_UMASK)
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        if isinstance(error, DiskError):
            raise
        raise DiskError(f"cannot write {target}: {error.strerror or error}") from error
    except Exception as error:
        if not _is_of_the_disk(error):
            raise
        raise DiskError(f"cannot write {target}: {reason_of(error)}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        if handle is not None:
            os.close(handle)


def _is_of_the_disk(error: Exception) -> bool:
    """Whether this is how torch or safetensors say that a file cannot be written (a full disk, say)."""
    if type(error).__name__ == "SafetensorError":
        return "I/O error" in str(error) or "IoError" in str(error)
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _TORCH_WRITER)


class _Held:
    """An open folder with a lock on it, let go with the last reference to it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __del__(self) -> None:
        os.close(self._handle)


_held: weakref.WeakValueDictionary[tuple[int, int], _Held] = weakref.WeakValueDictionary()  # by device and inode


def hold_folder(folder: str | os.PathLike[str]) -> object:
    """Make `folder` and hold it for this process for as long as what is returned is kept, or None where another does.

    It is a lock on the folder itself: nothing is written in it, and it ends with the process, however that ends. Where
    the folder cannot be made or opened, or its system or disk has no locks, there is none, and no other is seen.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # what writes into it says so
        return ()
    status = os.fstat(handle)
    key = status.st_dev, status.st_ino
    known = _held.get(key)
    if known is not None:
        os.close(handle)
        return known
    held = _Held(handle)
    if lock_file(handle) is False:
        return None
    _held[key] = held
    return held


@contextlib.contextmanager
def alone_in(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold a run's folder for the block, as `hold_folder` does. Raises `ResumeError` where another process does."""
    held = hold_folder(folder)
    if held is None:
        raise ResumeError(f"another run is at work in {folder}: wait until it ends, or choose another folder")
    try:
        yield
    finally:
        del held


def remove_leftovers(folder: str | os.PathLike[str], *, older_than: float = 2.0) -> int:
    """Remove temporary files below `folder` whose process was killed, and return how many there were.

    A process that writes holds a lock on its file (where the system has none, what is older than a day is taken for
    left). `older_than`: seconds; younger ones may be between their creation and their lock.
    """
    removed = 0
    for place, _, names in os.walk(folder):
        for name in names:
            if name.startswith(_LEFTOVER[0]) and name.endswith(_LEFTOVER[1]):
                with contextlib.suppress(OSError):
                    removed += _remove_left(Path(place, name), older_than)
    return removed


def _remove_left(path: Path, older_than: float) -> bool:
    age = time.time() - path.stat().st_mtime
    if age < older_than:
        return False
    with open(path, "rb+") as stream:
        locked = lock_file(stream.fileno())
        if locked is False or (locked is None and age < _DAY):
            return False
        path.unlink()
    return True


def lock_file(handle: int) -> bool | None:
    """Lock an open file without waiting: whether that was possible, None where this system or disk has no locks.

    The lock ends with the process, or when the file is closed.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()  # read once: there is no way to read it that does not set it, for all threads


def read_image(path: str | os.PathLike[str], *, at_least: int | None = None) -> NDArray[np.uint8]:
    """Read an image file as RGB, its EXIF orientation applied, transparency laid over white.

    Result: uint8 `[H, W, 3]`. 16-bit images are scaled to 8 bits; CMYK is converted; of an animation (GIF, WebP,
    PNG) the first frame is taken, of a file with several pages the first page. With `at_least`, a JPEG may come
    reduced to 1/2, 1/4 or 1/8, its longer side not below that many pixels, which saves time and memory; other
    formats come as they are. A photo of 100 megapixels needs about 0.8 GB while it is read.

    Raises `ImageError` when the file is missing, damaged, truncated, no image, or larger than 175 megapixels.
    """
    with _opened(path) as image:
        from PIL import ImageOps

        if at_least is not None:
            share = min(1.0, at_least / max(image.size))
            image.draft("RGB", (math.ceil(image.width * share), math.ceil(image.height * share)))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _as_pixels(image)


def image_pixels(image: Any, name: str = "image") -> NDArray[np.uint8]:
    """Return a PIL image as `read_image` would read it from a file: uint8 `[H, W, 3]`, upright, RGB.

    Raises `ImageError` that calls it `name` when it cannot be decoded.
    """
    from PIL import ImageOps

    with _decoding(name):
        return _as_pixels(ImageOps.exif_transpose(image))


def _as_pixels(image: Any) -> NDArray[np.uint8]:
    """An upright PIL image as uint8 `[H, W, 3]`, converted a few rows at a time."""
    scale = _scale_to_bytes(image)
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)  # [H, W, 3]
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels[top : top + rows] = _as_rgb(strip, scale)
    return pixels


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (width, height) of an image file as `read_image` would give it, from its header alone.

    Raises `ImageError` as `read_image` does.
    """
    with _opened(path) as image:
        width, height = image.size
        if image.format == "TIFF":  # some versions of Pillow have turned its size already
            width, height = image.tag_v2[256], image.tag_v2[257]
        turned = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
        return (height, width) if turned else (width, height)


def is_animation(path: str | os.PathLike[str]) -> bool:
    """Whether an image file holds several frames, of which `read_image` takes the first. Raises `ImageError`."""
    with _opened(path) as image:
        return bool(getattr(image, "is_animated", False))


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open an image file at its first frame."""
    from PIL import Image

    with _decoding(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # there is our own bound
        if Path(path).suffix.lower() in _HEIF:
            _reads_heif()
        with Image.open(path) as opened:
            if opened.width * opened.height > _MAX_PIXELS:
                raise Image.DecompressionBombError(f"{opened.width} x {opened.height}")
            opened.seek(0)
            yield opened


@functools.lru_cache(maxsize=1)
def _reads_heif() -> bool:
    """Teach Pillow HEIC, where pillow-heif is installed, and return whether it is."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


@contextlib.contextmanager
def _decoding(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever a decoder makes of hostile bytes into an `ImageError` that names `path`."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(path, "no such file") from error
    except Image.DecompressionBombError as error:
        most = f"{_MAX_PIXELS // 1_000_000} megapixels"
        raise ImageError(path, f"the image is larger than {most}, the most that is read ({error})") from error
    except UnidentifiedImageError as error:
        hint = ""
        if Path(path).suffix.lower() in _HEIF and not _reads_heif():
            hint = '; HEIC needs the extra `heic` (pip install "deltafast[heic]"), or convert it to JPEG or PNG'
        raise ImageError(path, f"cannot be read as an image: damaged, or of no known format{hint}") from error
    except Exception as error:  # decoders meet hostile bytes with errors of many kinds
        raise ImageError(path, f"cannot be read as an image ({reason_of(error)})") from error


def _scale_to_bytes(image: Any) -> float:
    """The factor from an image's numbers to 0..255, where it holds wider numbers than bytes."""
    if image.mode.startswith("I"):
        return 255.0 / 65535.0
    if image.mode != "F":
        return 1.0
    most = max((value for value in image.getextrema() if math.isfinite(value)), default=0.0)
    return 255.0 if most <= 1 else 1.0 if most <= 255 else 255.0 / 65535.0


def _as_rgb(image: Any, scale: float) -> NDArray[np.uint8]:
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        wide = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=1e9, neginf=0.0)  # [h, W]
        image = Image.fromarray(np.clip(wide * scale + 0.5, 0, 255).astype(np.uint8))
    if image.mode == "PA" or "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)  # [h, W, 3]


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the image files directly in `folder`, sorted by name. Raises `InvalidInputError` if it is no folder."""
    root = Path(folder)
    if not root.is_dir():
        raise InvalidInputError(f"{root} is not a folder")
    return sorted(p for p in root.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def colour_profile(path: str | os.PathLike[str]) -> bytes | None:
    """Return an image file's own ICC profile where it says what the RGB of `read_image` means, else None.

    Raises `ImageError` as `read_image` does.
    """
    with _opened(path) as image:
        profile = image.info.get("icc_profile")
        is_rgb = isinstance(profile, bytes) and profile[16:20] == b"RGB " and image.mode != "CMYK"
        return profile if is_rgb else None


def write_png(
    path: str | os.PathLike[str],
    image: NDArray[np.uint8],
    *,
    profile: bytes | None = None,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write uint8 `[H, W]` or `[H, W, C]`, C = 1 (grey), 3 (RGB) or 4 (RGB and opacity), as PNG, atomically.

    The same pixels and texts always give the same bytes. `profile` is the ICC profile of its colours; without one they
    are sRGB, as those of generators are; `texts`: what else the file says, by keywords. Raises `InvalidInputError` for
    anything else, `DiskError` when it cannot be written.
    """
    from PIL import Image, PngImagePlugin

    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)):
        expected = "uint8 [H, W] or [H, W, C] of 1, 3 or 4 channels"
        raise InvalidInputError(f"write_png expects {expected}, got {image.dtype} {image.shape}")
    flat = image[..., 0] if image.shape[2:] == (1,) else image  # PIL's grey has no axis for it
    said = PngImagePlugin.PngInfo()
    for keyword, text in (texts or {}).items():
        said.add_itxt(keyword, text)
    with atomic_write(path) as temporary:
        Image.fromarray(flat).save(temporary, format="PNG", compress_level=6, icc_profile=profile, pnginfo=said)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, atomically."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_write(path) as temporary:
        # a file's name that is no UTF-8 has lone surrogates, which JSON writes as \udcXX
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file. Raises `InvalidInputError` that names the file when it is missing or damaged, nests
    beyond 64 levels, or holds NaN or infinity.
    """
    with reading(lambda reason: InvalidInputError(f"{os.fspath(path)} cannot be read as JSON: {reason}")):
        return parse_json(Path(path).read_text(encoding="utf-8"))


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
    """Return the folder for downloaded and converted files: `DELTAFAST_CACHE`, else `~/.cache/deltafast` (XDG).

    Where there is no home (containers that run as an unknown user) it is a folder of this user's below the temporary
    one, which is said once on stderr.
    """
    explicit = os.environ.get("DELTAFAST_CACHE")
    if explicit:
        return Path(os.path.expanduser(explicit))
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(base) if base else Path.home() / ".cache") / "deltafast"
    except RuntimeError:  # no HOME, and no entry for this user
        return _homeless_cache()
    # os.path's, which takes a place that may not be looked at (somebody else's home) for one that is not there
    nearest = next((place for place in (folder, *folder.parents) if os.path.exists(place)), folder)
    if nearest == folder or os.access(nearest, os.W_OK):
        return folder
    return _homeless_cache()  # a HOME in which nothing can be made, as that of an unknown user often is


@functools.lru_cache(maxsize=1)
def _homeless_cache() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"deltafast-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and (folder.is_symlink() or folder.stat().st_uid != os.getuid()):
            folder = Path(tempfile.mkdtemp(prefix="deltafast-"))  # somebody else's: nothing in it is to be trusted
    except OSError as error:
        raise DiskError(
            f"there is no home folder and {folder} cannot be made ({error}); set DELTAFAST_CACHE"
        ) from error
    print(
        f"deltafast: no home folder; downloads are kept in {folder} (set DELTAFAST_CACHE for another)", file=sys.stderr
    )
    return folder
