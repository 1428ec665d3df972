"""What latents look like, read off their images and kept on disk, so that a killed run loses nothing.

Every latent has small files named by its own content, the generator's and the precision: the face's landmarks,
descriptor and measures, and where asked for networks' features and a thumbnail. An edited latent's content is that of
the face, the editor's weights and alpha, so editors, baselines and repeated runs share what they have in common, only
what has changed is made again, and a changed editor cannot meet stale readings. Images themselves are not kept.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deltafast.errors import ImageError, InvalidInputError
from deltafast.evaluation.feature_networks import FeatureNetwork
from deltafast.faces.attributes import MEASURES, measure_attributes
from deltafast.faces.meter import METER_VERSION, FaceMeter
from deltafast.faces.true_degrees import true_angle
from deltafast.files import atomic_write, read_image, write_png
from deltafast.generators.base import Generator
from deltafast.pixels import to_arrays
from deltafast.progress import track
from deltafast.untrusted.bounded import open_archive
from deltafast.untrusted.checks import UnreadableError, reading
from deltafast.untrusted.numpy_file import Arrays, read_npy
from deltafast.workers import Workers

__all__ = ["IMAGE_SIZE", "FaceReader", "Readings", "to_pixels"]

IMAGE_SIZE = 512  # pixels; what FaceMeter measures at
_MAX_KEPT = 1 << 20  # bytes of the numbers of one latent; they take a few thousand

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]
_Job = tuple[NDArray[np.float32], dict[str, Path]]  # a latent, and the files that are to be made of it
_Row = tuple[Array, Array, Array]  # measures, landmarks, descriptor of one image


_FACE = f"face{METER_VERSION}-{hashlib.sha256(','.join(MEASURES).encode()).hexdigest()[:6]}.npz"


@dataclass(frozen=True)
class Readings:
    """What N images show; rows of NaN where no face was found.

    `measures`: float64 `[N]` of each of `MEASURES`, angles in true degrees (`faces.true_degrees`); `landmarks`
    `[N, 68, 2]` in pixels of the image at `IMAGE_SIZE`; `descriptors` `[N, 128]`.
    """

    measures: dict[str, Array]
    landmarks: Array
    descriptors: Array

    @property
    def missing(self) -> int:
        """How many images show no face that the detector finds."""
        return int(np.isnan(self.descriptors[..., 0]).sum())

    def reshape(self, *shape: int) -> Readings:
        """Return the same readings with the leading N laid out as `shape`."""
        return Readings(
            {name: values.reshape(shape) for name, values in self.measures.items()},
            self.landmarks.reshape(*shape, 68, 2),
            self.descriptors.reshape(*shape, 128),
        )


class FaceReader:
    """Synthesises latents with `generator` and measures the faces, through the folder `work`.

    `networks` give the features of `features`. `compiled=True` runs `generator.compiled()`, faster but for its first
    image. With `processes` above 1 as many processes share the work; each loads the generator anew from `source`, the
    name or path that `load_generator` had, and the networks from `network_weights`. Images are synthesised one at a
    time, so that a latent's image does not depend on its neighbours. Use it as a context manager, or call `close`,
    where it has processes.
    """

    def __init__(
        self,
        generator: Generator,
        meter: FaceMeter,
        work: str | os.PathLike[str],
        *,
        networks: Sequence[FeatureNetwork] = (),
        compiled: bool = False,
        processes: int = 1,
        source: str = "",
        network_weights: Sequence[str | os.PathLike[str] | None] = (),
    ) -> None:
        if processes > 1 and not source:
            raise InvalidInputError("several processes need the generator's name or path, `source`")
        self._generator = generator
        self._maker = _Maker(generator, meter, networks, compiled)
        self._networks = tuple(networks)
        self._work = Path(work)
        self._pool: Workers[_Job, None] | None = None
        self._processes = processes
        self._begin = (source, str(generator.dtype).removeprefix("torch."), tuple(network_weights))
        self._rows: dict[Path, _Row] = {}  # of face files that were read or made
        self._compiled = compiled
        self.synthesised = 0  # how many images were not in `work` already

    def __enter__(self) -> FaceReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def work(self) -> Path:
        """The folder in which readings are kept."""
        return self._work

    @property
    def networks(self) -> tuple[FeatureNetwork, ...]:
        """The networks whose features it gives; realism is judged by the first one's."""
        return self._networks

    def close(self) -> None:
        """End the processes, if there are any."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def read(self, latents: Tensor, description: str = "", *, features: bool = False, thumbnails: int = 0) -> Readings:
        """Return what the faces of `latents` `[N, num_ws, w_dim]` show; with a `description`, progress is shown.

        While an image is there, `features=True` leaves all networks' features too, for a later call of `features`, and
        `thumbnails` (pixels) a thumbnail of that size.
        """
        kinds = [_FACE]
        kinds += [_feature_kind(network) for network in self._networks] if features else []
        kinds += [f"{thumbnails}.png"] if thumbnails else []
        rows = [self._row(path.with_suffix(f".{_FACE}")) for path in self._make(latents, kinds, description)]
        assert all(row is not None for row in rows)
        table = np.array([row[0] for row in rows if row]).reshape(-1, len(MEASURES))  # [N, measures]
        return Readings(
            {name: _in_true_degrees(name, table[:, column]) for column, name in enumerate(MEASURES)},
            np.array([row[1] for row in rows if row]).reshape(-1, 68, 2),
            np.array([row[2] for row in rows if row]).reshape(-1, 128),
        )

    def features(self, latents: Tensor, network: FeatureNetwork | None = None, description: str = "") -> Array:
        """Return a network's features of N latents' images, float64 `[N, F]`, by default the first network's.

        Raises `InvalidInputError` where the reader was given no network, or not this one.
        """
        if not self._networks or network not in (None, *self._networks):
            raise InvalidInputError(f"this reader was given no network {network.name if network else 'for features'}")
        kind = _feature_kind(network or self._networks[0])
        paths = self._make(latents, [kind], description)
        return np.array([_kept_features(path.with_suffix(f".{kind}")) for path in paths], dtype=np.float64)

    def thumbnails(self, latents: Tensor, size: int, description: str = "") -> Pixels:
        """Return N latents' images reduced to `size` pixels, uint8 `[N, size, size, 3]`."""
        kind = f"{size}.png"
        paths = self._make(latents, [kind], description)
        return np.array([read_image(path.with_suffix(f".{kind}")) for path in paths]).reshape(-1, size, size, 3)

    def _row(self, file: Path) -> _Row | None:
        """Return what a face's file holds; None where it is not there, or not whole."""
        if file not in self._rows and file.is_file():
            try:
                self._rows[file] = _kept_face(file)
            except InvalidInputError:
                return None
        return self._rows.get(file)

    def _has(self, file: Path) -> bool:
        """Whether a kept file is there and whole; a damaged one is made anew."""
        if file.suffix == ".npz":
            return self._row(file) is not None
        if not file.is_file():
            return False
        try:
            if file.suffix == ".npy":
                _kept_features(file)
            else:
                read_image(file)
        except (InvalidInputError, ImageError):
            return False
        return True

    def _make(self, latents: Tensor, kinds: Sequence[str], description: str) -> list[Path]:
        """Make whatever is missing of each latent's files, and return their paths without suffix."""
        rows = latents.detach().to("cpu", torch.float32).contiguous()
        paths = [self._path(ws) for ws in rows]
        todo: dict[Path, tuple[Tensor, dict[str, Path]]] = {}
        for ws, path in zip(rows, paths, strict=True):
            missing = {kind: file for kind in kinds if not self._has(file := path.with_suffix(f".{kind}"))}
            if missing:
                todo[path] = ws, missing
        made = self._run(list(todo.values()))
        for _ in track(made, description, total=len(todo)) if description else made:
            self.synthesised += 1
        return paths

    def _run(self, jobs: list[tuple[Tensor, dict[str, Path]]]) -> Iterator[None]:
        """Do the jobs, in this process or in several; finished files stay whatever happens."""
        if self._processes == 1 or len(jobs) < 2:
            for ws, files in jobs:
                self._maker.make(ws, files)
                yield
            return
        if self._pool is None:
            self._pool = Workers(self._processes, _work, _begin_worker, (*self._begin, self._compiled))
        try:
            yield from self._pool.run([(ws.numpy(), files) for ws, files in jobs])
        except BaseException:
            self.close()
            raise

    def _path(self, ws: Tensor) -> Path:
        digest = hashlib.sha256(f"{self._generator.fingerprint} {self._generator.dtype} {IMAGE_SIZE} ".encode())
        digest.update(ws.numpy().tobytes())
        name = digest.hexdigest()[:40]
        return self._work / name[:2] / name


def _in_true_degrees(name: str, values: Array) -> Array:
    """Return a measure with dlib's degrees made true ones; what is kept on disk are dlib's."""
    return true_angle("dlib", name, values) if MEASURES[name] == "degree" else values


def _feature_kind(network: FeatureNetwork) -> str:
    return f"{network.key}.npy"


class _Maker:
    """Synthesis and measurement in one process."""

    def __init__(
        self, generator: Generator, meter: FaceMeter, networks: Sequence[FeatureNetwork], compiled: bool
    ) -> None:
        self._device = generator.device
        self._synthesis: Callable[..., Tensor] = generator.compiled() if compiled else generator.synthesis
        self._meter = meter
        self._extract = {_feature_kind(network): network.extract for network in networks}

    def image(self, ws: Tensor) -> Pixels:
        """Synthesise one latent."""
        with torch.inference_mode():
            image = self._synthesis(ws[None].to(self._device), noise_mode="const")  # [1, 3, H, W]
        pixels: Pixels = to_pixels(image, IMAGE_SIZE)[0]  # [S, S, 3]
        return pixels

    def make(self, ws: Tensor, files: dict[str, Path]) -> None:
        """Write the files of some kinds for one latent `[num_ws, w_dim]`."""
        image = self.image(ws)
        for kind, path in files.items():
            if kind == _FACE:
                self._write_face(image, path)
            elif kind in self._extract:
                with atomic_write(path) as temporary, open(temporary, "wb") as stream:
                    np.save(stream, self._extract[kind](image))
            else:
                size = int(kind.removesuffix(".png"))
                small = Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS)
                write_png(path, np.asarray(small))

    def _write_face(self, image: Pixels, path: Path) -> None:
        face = self._meter.measure(image)
        found = measure_attributes(image, face.landmarks) if face is not None else {}
        with atomic_write(path) as temporary, open(temporary, "wb") as stream:
            np.savez(
                stream,
                measures=np.array([found.get(name, float("nan")) for name in MEASURES]),
                landmarks=np.full((68, 2), np.nan) if face is None else face.landmarks,
                descriptor=np.full(128, np.nan) if face is None else face.descriptor,
            )


_MAKER: _Maker | None = None  # one per worker process


def _begin_worker(source: str, dtype: str, weights: Sequence[str | os.PathLike[str] | None], compiled: bool) -> None:
    """Load generator and networks."""
    from deltafast.evaluation.feature_networks import load_feature_network
    from deltafast.generators.load import load_generator
    from deltafast.memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(1)
    global _MAKER
    networks = [load_feature_network(one) for one in weights]
    _MAKER = _Maker(load_generator(source, dtype=getattr(torch, dtype)), FaceMeter(), networks, compiled)


def _work(job: _Job) -> None:
    assert _MAKER is not None
    _MAKER.make(torch.from_numpy(job[0]), job[1])


def _kept_face(path: Path) -> tuple[Array, Array, Array]:
    """Measures `[M]`, landmarks `[68, 2]` and descriptor `[128]` of a kept file, all NaN where there is no face.

    Raises `InvalidInputError` where they are not these.
    """
    with _reading_kept(path), open_archive(io.BytesIO(_bytes_of(path)), path.stat().st_size) as archive:
        kept = Arrays(archive)
        found = tuple(kept[name] for name in ("measures", "landmarks", "descriptor"))
        for array, shape in zip(found, ((len(MEASURES),), (68, 2), (128,)), strict=True):
            if array.shape != shape or array.dtype.kind != "f":
                raise UnreadableError(f"{array.dtype} {list(array.shape)}, expected floating point {list(shape)}")
            if np.isinf(array).any():
                raise UnreadableError("infinity")
    return found[0], found[1], found[2]


def _kept_features(path: Path) -> Array:
    """A network's features `[F]`. Raises `InvalidInputError` where they are none."""
    with _reading_kept(path):
        array = read_npy(_bytes_of(path))
        if array.ndim != 1 or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise UnreadableError(f"{array.dtype} {list(array.shape)}, expected finite numbers [F]")
    return array


def _reading_kept(path: Path) -> AbstractContextManager[None]:
    return reading(lambda reason: InvalidInputError(f"{path}, which was kept of an earlier run, is damaged: {reason}"))


def _bytes_of(path: Path) -> bytes:
    if path.stat().st_size > _MAX_KEPT:
        raise UnreadableError(f"more than {_MAX_KEPT} bytes")
    return path.read_bytes()


def to_pixels(images: Tensor, size: int) -> Pixels:
    """Turn images `[N, 3, H, W]` in [-1, 1] into uint8 `[N, S, S, 3]`, area means down to `size` where H exceeds it."""
    images = images.detach().float().clamp(-1, 1)  # [N, 3, H, W]
    if images.shape[-1] > size:
        images = torch.nn.functional.interpolate(images, size=(size, size), mode="area")
    return to_arrays(images)
