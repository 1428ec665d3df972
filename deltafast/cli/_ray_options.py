"""`--ray` of `edit` and `project`: its options, and the end of a run on several machines."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from deltafast.generators.base import Generator
    from deltafast.projection import Encoder, ProjectionSettings
    from deltafast.scale.jobs import EditJob, Job
    from deltafast.scale.run import RayOptions
    from deltafast.scale.samples import Sample

__all__ = [
    "RayAddress",
    "RayPerShard",
    "RayRetry",
    "RayThreads",
    "RayTimeout",
    "RayWorkers",
    "absolute",
    "edit_on_ray",
    "project_on_ray",
    "ray_options",
]

_SHOWN = 20  # failures and warnings that are printed; the index has all

RayAddress = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Spread the work by Ray: local, or a cluster's address (extra `scale`)."),
]
RayWorkers = Annotated[
    int | None, typer.Option(min=1, help="With --ray: workers; one for each GPU, or for --threads cores, by default.")
]
RayThreads = Annotated[int, typer.Option(min=1, help="With --ray: cores of each worker.")]
RayPerShard = Annotated[
    int,
    typer.Option(min=0, help="With --ray: write webdataset shards, OUT/shards/*.tar, of so many samples; 0: files."),
]
RayTimeout = Annotated[
    float, typer.Option(min=0.1, help="With --ray: seconds for one sample, after which its worker is ended.")
]
RayRetry = Annotated[bool, typer.Option("--retry", help="With --ray: try again what was reported as an error.")]


def ray_options(
    address: str | None,
    workers: int | None,
    threads: int,
    per_shard: int,
    timeout: float,
    retry: bool,
    device: str | None,
) -> RayOptions | None:
    """Return how the work is spread out; None without `--ray`. Raises `InvalidInputError` for what does not fit."""
    from deltafast.errors import InvalidInputError
    from deltafast.scale.run import RayOptions

    if address is None:
        if (workers, threads, per_shard, timeout, retry) != (None, 1, 0, 600.0, False):
            raise InvalidInputError("--workers, --threads, --per-shard, --timeout and --retry need --ray")
        return None
    if device not in (None, "cpu", "cuda"):
        raise InvalidInputError(f"with --ray --device is cpu or cuda, and Ray chooses which GPU; got {device!r}")
    gpus = 1.0 if device == "cuda" else 0.0
    return RayOptions(address, workers, threads, gpus, per_shard, timeout, retry=retry)


def absolute(text: str) -> str:
    """Return a name as it is, and a file (also FILE=0.5) by its absolute path, by which every worker finds it."""
    from deltafast.inputs import is_there

    name, equals, fixed = ("", "", "") if is_there(text) else text.rpartition("=")
    name = name if equals else text
    if not is_there(name):
        return text
    return f"{Path(name).absolute()}{equals}{fixed}"


def edit_on_ray(
    job: EditJob, source: Path | None, seeds: str | None, out: Path, settings: dict[str, Any], options: RayOptions
) -> None:
    """Edit what is in `source`, or the faces of `seeds`, and report as `deltafast edit` does."""
    from deltafast.errors import InvalidInputError
    from deltafast.scale.sources import find_samples, seed_samples

    samples = find_samples(source, out) if source is not None else seed_samples(seeds or "")
    if job.options is not None and job.options.paste_back:
        for sample in samples:
            if sample.kind not in ("photo", "unreadable"):
                raise InvalidInputError(f"--paste-back needs photos; {sample.label} holds latents")
    _run(job, samples, out, settings, options, "inputs could not be edited")


def project_on_ray(
    generator: Generator,
    encoder: Encoder | None,
    source: Path,
    out: Path,
    name: str,
    encoder_file: Path | None,
    settings: ProjectionSettings,
    align: Any,
    device: str | None,
    options: RayOptions,
) -> None:
    """Project the photos in `source`, and report as `deltafast project` does."""
    from deltafast.projection import Projector
    from deltafast.projection.images import run_settings
    from deltafast.scale.jobs import ProjectJob
    from deltafast.scale.sources import find_samples

    samples = find_samples(source, out, latents=False)
    made_with = {"command": "project", **run_settings(Projector(generator, encoder, settings), align)}
    file = None if encoder_file is None else str(encoder_file.absolute())
    job = ProjectJob(absolute(name), device, settings, align, file)
    _run(job, samples, out, made_with, options, "images could not be projected")


def _run(job: Job, samples: list[Sample], out: Path, settings: dict[str, Any], options: RayOptions, what: str) -> None:
    from deltafast.errors import DeltafastError
    from deltafast.scale.index import INDEX, index_rows
    from deltafast.scale.run import run_job

    run_job(job, samples, out, settings, options)
    names = {sample.id for sample in samples}  # rows of others, made by earlier runs, are in the index too
    told: collections.Counter[str] = collections.Counter()
    for row in index_rows(out, ["id", "input", "warnings", "error"]):
        if row["id"] not in names:
            continue
        lines = [("skipped", row["error"])] if row["error"] else [("warning:", text) for text in row["warnings"] or ()]
        for word, text in lines:
            told[word] += 1
            if told[word] <= _SHOWN:
                typer.echo(f"{word} {row['input']}: {text}", err=True)
    failed = told["skipped"]
    print(f"{len(names) - failed} of {len(names)} samples are done; {out / INDEX} says what became of each")
    if failed:
        raise DeltafastError(f"{failed} of {len(names)} {what}; the rest is done")
