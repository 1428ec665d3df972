"""A job over any number of samples: what is not done yet is given to the workers of a Ray cluster."""

from __future__ import annotations

import gc
import logging
import math
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deltafast.errors import DeltafastError, InvalidInputError, ResumeError, WorkerError
from deltafast.files import alone_in, remove_leftovers
from deltafast.progress import track
from deltafast.scale.cluster import ray_session
from deltafast.scale.fold import fold_journals
from deltafast.scale.jobs import Job
from deltafast.scale.journal import await_workers
from deltafast.scale.kept import close_gaps, drop_rows, look_through, shard_ends
from deltafast.scale.samples import Sample, check_id, table_of_samples
from deltafast.scale.sinks import seal_shards
from deltafast.scale.worker import FaceWorker

__all__ = ["RayOptions", "run_job"]

_PATIENCE = 60.0  # seconds for workers to end whose driver has
_ENDING = 5.0  # ... of this run
_BATCH = 64  # samples handed to a worker at once, at most
_LONGEST = 1e6  # seconds: what Python's clock for a stuck process takes, with a batch of samples at once


@dataclass(frozen=True)
class RayOptions:
    """How a job is spread out.

    - `address`: "local", or that of a cluster, as `ray.init` takes it.
    - `workers`: processes that work, each with its own generator; None is one for each GPU, or on CPUs as many as have
      `threads` cores each.
    - `threads`: cores of a worker. `gpus`: GPUs of a worker, a whole number or a part of one; 0 works on the CPU.
    - `per_shard`: 0 writes files, else tar shards of so many samples.
    - `timeout`: seconds for one sample, after which it counts as hanging. `tries`: how often a sample is begun at most
      that ends its worker or hangs, over all runs with the same settings.
    - `retry`: try again what an earlier run gave an error.

    Raises `InvalidInputError` for what they cannot be.
    """

    address: str = "local"
    workers: int | None = None
    threads: int = 1
    gpus: float = 0.0
    per_shard: int = 0
    timeout: float = 600.0
    tries: int = 3
    retry: bool = False

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("threads", 1), ("per_shard", 0), ("tries", 1)):
            value = getattr(self, name)
            if value is None and name == "workers":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InvalidInputError(f"{name} must be a whole number of at least {least}, got {value!r}")
        if not _is_number(self.timeout) or not 0 < self.timeout <= _LONGEST:
            raise InvalidInputError(f"timeout must be seconds above 0, at most {_LONGEST:g}, got {self.timeout!r}")
        if not _is_number(self.gpus) or self.gpus < 0 or (self.gpus > 1 and self.gpus % 1):
            raise InvalidInputError(f"gpus must be 0, a part of one or a whole number, got {self.gpus!r}")
        if not isinstance(self.address, str) or not self.address:
            raise InvalidInputError(f'address must be "local" or that of a cluster, got {self.address!r}')


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def run_job(
    job: Job,
    samples: Sequence[Sample],
    out: str | os.PathLike[str],
    settings: dict[str, Any],
    options: RayOptions | None = None,
) -> None:
    """Do a job to samples; `out/index.parquet` then has a row for each (`read_index`, `index_rows`).

    Ray Data spreads the samples over workers, and starts anew those that die. `settings` (JSON values, with the
    "command") say what is done. What has a row and its bytes is kept, unless its input is another one now or it was
    made with other settings: then it is made anew, as by `deltafast.runs.Run`. So the same call goes on after any
    interruption, also with other workers. A sample with an error keeps it until `options.retry` asks for another try.
    The memory of this process grows with the list of samples, not with their rows.

    Raises `InvalidInputError` where two samples have one id, or an id cannot name files; `ResumeError` where `out` is
    that of another command or another run is at work in it; `WorkerError` where workers cannot be had; and what
    concerns all samples, as a full disk (`DiskError`).
    """
    # torch comes with it, which not every worker needs
    from deltafast.runs import adopt_settings, remove_results, say_made_anew

    options = options or RayOptions()
    out = Path(out).absolute()
    by_id = _by_id(samples)
    with alone_in(out):
        described = {"command": "run_job", **settings, **({"shards": True} if options.per_shard else {})}
        digest, differing = adopt_settings(out, described, optional=["shards"])
        if not await_workers(out, _PATIENCE):
            raise ResumeError(f"workers of an earlier run still write into {out}: let them end, then run this again")
        remove_leftovers(out)
        tries = fold_journals(out, digest)
        kept = look_through(out, by_id, digest, retry=options.retry)
        say_made_anew(out, kept.others, differing)
        drop_rows(out, kept.dropped)
        ends = close_gaps(out, kept.shards)
        remove_results(out, kept.stray)
        seal_shards(out, ends)
        todo = [
            replace(one, tries=tries[one.id]) if one.id in tries else one for one in samples if one.id not in kept.done
        ]
        del kept, by_id
        try:
            if todo:
                with ray_session(options.address, _cpus(options)) as ray:
                    for _ in track(_work(ray, job, todo, out, options, digest), "samples", len(todo)):
                        pass
        finally:
            await_workers(out, _ENDING)
            fold_journals(out, digest)
            seal_shards(out, shard_ends(out))


def _by_id(samples: Sequence[Sample]) -> dict[str, Sample]:
    found: dict[str, Sample] = {}
    for sample in samples:
        if check_id(sample.id) in found:
            raise InvalidInputError(f"two samples are called {sample.id}; ids must differ")
        found[sample.id] = sample
    return found


def _cpus(options: RayOptions) -> int | None:
    """How many cores a local Ray is told that it has; None as many as there are."""
    if options.workers is None or options.gpus:
        return None
    return max(options.workers * options.threads, 1)


def _work(ray: Any, job: Job, todo: Sequence[Sample], out: Path, options: RayOptions, settings: str) -> Iterator[str]:
    """Give samples to workers, and yield their ids as they are done."""
    workers = options.workers or _fitting(ray, options)
    size = max(1, min(_BATCH, len(todo) // (4 * workers)))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True  # ours are told apart by their types
    context.execution_no_progress_timeout_s = -1  # a sample may take long; our own limit is `timeout`
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    table = table_of_samples(todo)
    data = ray.data.from_arrow([table.slice(start, size) for start in range(0, len(todo), size)])
    rows = data.map_batches(
        FaceWorker,
        fn_constructor_args=(job, out),
        fn_constructor_kwargs={
            "per_shard": options.per_shard,
            "threads": options.threads,
            "timeout": options.timeout,
            "tries": options.tries,
            "run": uuid.uuid4().hex,  # so that notes of an earlier one are not counted twice
            "settings": settings,
        },
        batch_size=size,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=options.threads,
        num_gpus=options.gpus or None,
    )
    reason: DeltafastError | None = None
    try:
        for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from batch["id"].to_pylist()
    except ray.exceptions.RayError as error:
        reason = _reason(error)
    if reason is not None:
        del rows, data
        gc.collect()  # the workers end with the last reference to them, which Ray's error held
        raise reason


def _fitting(ray: Any, options: RayOptions) -> int:
    resources = ray.cluster_resources()
    have, need = (resources.get("GPU", 0), options.gpus) if options.gpus else (resources.get("CPU", 0), options.threads)
    if have < need:
        kind = "GPUs" if options.gpus else "cores"
        raise WorkerError(f"the cluster has {have:g} {kind}; a worker needs {need:g}")
    return int(have // need)


def _reason(error: BaseException) -> DeltafastError:
    """The error of ours inside one of Ray's, or one that says in a line what Ray says."""
    inner = error
    while (cause := getattr(inner, "cause", None)) is not None:
        inner = cause
    if isinstance(inner, DeltafastError):
        return inner
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return WorkerError(f"Ray ended the run: {lines[-1] if lines else type(error).__name__}")
