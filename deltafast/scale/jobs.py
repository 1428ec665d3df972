"""What a worker does with samples: edit or project them, by the same sessions and projectors as on one machine."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from deltafast.errors import ImageError, InvalidInputError
from deltafast.scale.samples import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from deltafast.editing import EditOptions, EditResult, Reached
    from deltafast.generators.base import Generator
    from deltafast.projection import ProjectionSettings

__all__ = ["EditJob", "Engine", "Job", "Made", "ProjectJob"]


@dataclass(frozen=True)
class Made:
    """What was made of one sample: its files, and those columns of the index that tell about it."""

    files: list[Path]
    columns: dict[str, Any]


class Engine(Protocol):
    """A job in a worker's process, with everything loaded."""

    def group_size(self, sample: Sample) -> int:
        """Return how many such samples are best made at once."""
        ...

    def make(self, samples: Sequence[Sample], folder: Path) -> list[Made]:
        """Make samples, all of one kind, into files below `folder`."""
        ...

    def shrink(self) -> bool:
        """Take half of what memory was too small for; False where that is not possible."""
        ...


class Job(Protocol):
    """What is to be done, small enough to be sent to every worker."""

    def open(self, threads: int) -> Engine:
        """Load what it needs, in the worker's process, to work with so many threads."""
        ...


@dataclass(frozen=True)
class EditJob:
    """Edits as those of `deltafast edit`, and with the same bytes.

    - `editors`: names or files, each with its own amount where it has one: "yaw=0.5".
    - `amounts`: of the others, one image for each; `word` says of what, "alpha", "by" or "to".
    - `generator`: its name or checkpoint file; `device` where it is to be, in every worker.
    - `options`: those of the edit; results are uint8 on the CPU whatever they say.
    - `psi`, `class_index`: of sampled faces. `latents`: also write the edited latents. `compile`: use torch.compile.

    Files are given by paths that every worker can read.
    """

    editors: tuple[str, ...]
    amounts: tuple[float, ...] = (1.0,)
    word: str = "alpha"
    generator: str = "mobilestylegan-ffhq"
    device: str | None = None
    options: EditOptions | None = None
    psi: float = 0.7
    class_index: int | None = None
    latents: bool = False
    compile: bool = False

    def open(self, threads: int) -> Engine:
        """Load generator and editors. Raises what `load_generator`, `load_editor` and `EditSession` raise."""
        return _EditEngine(self, threads)


@dataclass(frozen=True)
class ProjectJob:
    """Projections as those of `deltafast project` of photos, and with the same bytes.

    `settings`, `align` and `encoder` (its file; None takes the bundled one) as `project_images` takes them;
    `generator` and `device` as in `EditJob`.
    """

    generator: str = "mobilestylegan-ffhq"
    device: str | None = None
    settings: ProjectionSettings | None = None
    align: Any = "auto"
    encoder: str | None = None

    def open(self, threads: int) -> Engine:
        """Load generator and encoder. Raises what `load_generator`, `load_encoder` and `Projector` raise."""
        return _ProjectEngine(self, threads)


@dataclass
class _EditEngine:
    job: EditJob
    threads: int
    _generator: Generator = field(init=False)

    def __post_init__(self) -> None:
        import torch

        from deltafast.editing import EditOptions, EditSession
        from deltafast.editing.named_editors import given_editor, named_editors
        from deltafast.editing.result_files import ResultFiles
        from deltafast.generators.load import load_generator

        torch.set_num_threads(self.threads)
        job = self.job
        if job.word not in ("alpha", "by", "to"):
            raise InvalidInputError(f'word is "alpha", "by" or "to", got {job.word!r}')
        self._generator = load_generator(job.generator, device=job.device)
        options = replace(job.options or EditOptions(), output="uint8", output_device="cpu")
        given = [given_editor(text) for text in job.editors]
        named = named_editors(given, job.amounts, self._generator, same_w_space=options.same_w_space)
        if job.compile:
            options = replace(options, synthesise=self._generator.compiled())
        by, to = (named.amounts if job.word == word else None for word in ("by", "to"))
        options = replace(options, by=by, to=to)
        alpha = named.amounts if job.word == "alpha" else None
        self._session = EditSession(self._generator, named.editors, alpha, options)
        self._files = ResultFiles(named.labels(job.word), named.provenance(job.word, self._generator), job.latents)
        told = [
            text if one.amount is not None else f"{text}={', '.join(map(str, job.amounts))}"
            for text, one in zip(job.editors, given, strict=True)
        ]
        self._done = f"edit, {job.word}: {'; '.join(told)}"

    def group_size(self, sample: Sample) -> int:
        sweep = len(self._files.labels)
        return 1 if sample.kind == "photo" else max(1, self._session.options.batch_size // sweep)

    def shrink(self) -> bool:
        size = self._session.options.batch_size
        self._session.options = replace(self._session.options, batch_size=max(1, size // 2))
        return size > 1

    def make(self, samples: Sequence[Sample], folder: Path) -> list[Made]:
        import torch

        if samples[0].kind == "photo":
            return [self._photo(sample, folder) for sample in samples]
        ws = torch.cat([self._latent(sample) for sample in samples])  # [N, num_ws, w_dim]
        with _unreached() as told:
            edit = self._session.edit(ws)
        files = self._files.write_rows(folder, [sample.id for sample in samples], edit)
        return [
            Made(files[row], self._columns(edit, [row], told if len(samples) == 1 else _own(edit, row)))
            for row in range(len(samples))
        ]

    def _photo(self, sample: Sample, folder: Path) -> Made:
        with _as_file(sample) as path, _unreached() as told:
            edit = self._session.edit(path)
            files = self._files.write_photo(folder, sample.id, edit)
        return Made(files, self._columns(edit, range(len(edit)), [*edit.warnings, *told]))

    def _columns(self, edit: EditResult, rows: Sequence[int], told: list[str]) -> dict[str, Any]:
        values: dict[str, Any] = {"done": self._done, "faces": len(rows), "warnings": told}
        if edit.reached is not None:
            index = list(rows)
            values["before"] = {name: one.before[index].flatten().tolist() for name, one in edit.reached.items()}
            values["after"] = {name: one.after[index].flatten().tolist() for name, one in edit.reached.items()}
        return values

    def _latent(self, sample: Sample) -> Tensor:
        import torch

        from deltafast.editing.latent_files import read_latent_file
        from deltafast.generators.seeds import latents_from_seeds

        G, job = self._generator, self.job
        if sample.kind == "seed":
            return latents_from_seeds(G, [sample.number], job.psi, class_index=job.class_index)
        if sample.kind == "row":
            found = torch.from_numpy(sample.latent())
            if found.numel() not in (G.w_dim, G.num_ws * G.w_dim):
                raise InvalidInputError(
                    f"a latent has {G.w_dim} or {G.num_ws * G.w_dim} numbers for {G.name}, got {found.numel()}"
                )
            shape = (1, G.w_dim) if found.numel() == G.w_dim else (1, G.num_ws, G.w_dim)
            return self._session.latents(found.reshape(shape))
        if sample.start >= 0 or sample.data is not None:
            with _as_file(sample) as path:
                found = read_latent_file(path)
            if len(found) != 1:
                raise InvalidInputError(f"{sample.label} holds {len(found)} latents; a file in a shard holds one")
            return self._session.latents(found)
        found = _file_of_latents(sample.path, *sample.stamp())
        return self._session.latents(found[sample.number : sample.number + 1])


@functools.lru_cache(maxsize=1)
def _file_of_latents(path: str, size: int, changed: int) -> Tensor:
    """The latents of a file, `[N, num_ws, w_dim]` or `[N, w_dim]`; neighbouring samples ask for the same one."""
    from deltafast.editing.latent_files import read_latent_file

    return read_latent_file(Path(path))


@dataclass
class _ProjectEngine:
    job: ProjectJob
    threads: int

    def __post_init__(self) -> None:
        import torch

        from deltafast.faces.photos import PhotoReader
        from deltafast.generators.load import load_generator
        from deltafast.projection import ProjectionSettings, Projector, load_encoder

        torch.set_num_threads(self.threads)
        job = self.job
        encoder = None if job.encoder is None else load_encoder(job.encoder)
        settings = job.settings or ProjectionSettings()
        self._projector = Projector(load_generator(job.generator, device=job.device), encoder, settings)
        self._reader = PhotoReader(job.align, size=self._projector.size)
        self._done = f"project, {settings.refine.steps} steps"

    def group_size(self, sample: Sample) -> int:
        return 1

    def shrink(self) -> bool:
        return False

    def make(self, samples: Sequence[Sample], folder: Path) -> list[Made]:
        return [self._photo(sample, folder) for sample in samples]

    def _photo(self, sample: Sample, folder: Path) -> Made:
        from deltafast.files import read_json
        from deltafast.projection.images import project_photo, warnings_of

        if sample.kind != "photo":
            raise InvalidInputError(f"{sample.label} is no photo; latents need no projection")
        with _as_file(sample) as path:
            files = project_photo(self._projector, self._reader, path, folder, sample.id, sample.name)
        report = read_json(folder / f"{sample.id}.json")
        fit = dict(report.get("refined") or report["encoder"])
        told = warnings_of(report)
        del fit["warnings"]
        return Made(files, {"done": self._done, "faces": 1, "fit": fit, "warnings": told})


@contextlib.contextmanager
def _as_file(sample: Sample) -> Iterator[Path]:
    """Yield a file that holds a sample's bytes; those of an archive are laid into one of this machine for a while."""
    if sample.start < 0 and sample.data is None:
        yield Path(sample.path)
        return
    with tempfile.TemporaryDirectory(prefix="deltafast-") as folder:
        path = Path(folder, f"sample{Path(sample.name).suffix.lower()}")
        path.write_bytes(sample.read())
        try:
            yield path
        except ImageError as error:  # told by the name that people know
            raise ImageError(sample.label, error.reason) from error
        except InvalidInputError as error:
            raise InvalidInputError(str(error).replace(str(path), sample.label)) from error


@contextlib.contextmanager
def _unreached() -> Iterator[list[str]]:
    """Yield a list that is filled with what was warned of while the block ran."""
    from deltafast.editing import UnreachedWarning

    told: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnreachedWarning)
        yield told
    told += [str(one.message) for one in caught if issubclass(one.category, UnreachedWarning)]


def _own(edit: EditResult, row: int) -> list[str]:
    """What is to be warned of in one sample of several."""
    reached: dict[str, Reached] = edit.reached or {}
    return [
        f"{name}: does not get to what was asked, or shows no face to read it off"
        for name, one in reached.items()
        if not bool(one.there[row].all())
    ]
