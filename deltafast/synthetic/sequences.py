"""Rendering whole folders of sequences, in parallel, resumable, the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltafast.errors import InvalidInputError, ResumeError
from deltafast.files import alone_in, read_json, remove_leftovers, sha256_file, write_json, write_png
from deltafast.progress import track
from deltafast.sequence_manifest import MANIFEST_NAME, FrameRecord, Manifest
from deltafast.synthetic.asset import HEAD_SHA256
from deltafast.synthetic.attributes import ATTRIBUTES, attribute_named
from deltafast.synthetic.frame import frame_geometry, frame_parameters, render_frame
from deltafast.synthetic.head import HeadModel
from deltafast.synthetic.identity import Identity, female, male, random_identity
from deltafast.workers import Workers

__all__ = ["render_sequences", "sequence_identities"]

RENDERER = 1
"""Raised whenever the same parameters give other pixels, so that folders of another renderer are not continued."""

_STATE = ".frames"  # folder beside the pictures: one small JSON per finished frame, for resuming


@dataclass(frozen=True)
class _Job:
    out: Path
    identity: Identity
    attribute: str
    index: int
    value: float
    size: int
    supersampling: int
    key: str  # digest of everything that decides the pixels

    @property
    def file(self) -> str:
        return f"{self.attribute}/{self.identity.name}/{self.index:03d}.png"

    @property
    def state(self) -> Path:
        return self.out / _STATE / f"{self.attribute}-{self.identity.name}-{self.index:03d}.json"


def sequence_identities(identities: int, seed: int = 0) -> list[Identity]:
    """Return the female and the male head and `identities` random ones, named identity-000 and so on.

    The k-th random one depends on the seed and k alone. Raises `InvalidInputError` for negative numbers.
    """
    if identities < 0 or seed < 0:
        raise InvalidInputError(f"identities ({identities}) and seed ({seed}) must not be negative")
    return [female(), male(), *(random_identity([seed, k], f"identity-{k:03d}") for k in range(identities))]


def render_sequences(
    out: str | os.PathLike[str],
    *,
    attributes: Sequence[str] = ATTRIBUTES,
    identities: int | Sequence[Identity] = 0,
    frames: int = 7,
    size: int = 256,
    supersampling: int = 2,
    seed: int = 0,
    processes: int | None = None,
) -> Manifest:
    """Render every attribute's sequence of every head into `out` and return the manifest written there.

    `identities` is the number of random heads beside the two of the paper, or the heads themselves. `frames` is
    the odd length of a sequence, `size` the side of the pictures in pixels, `processes` how many render at a time
    (default: all cores). The bytes depend on none but the pictures' own parameters. Frames that are finished are
    kept, so an interrupted run goes on where it was. Raises `InvalidInputError` for bad arguments, `ResumeError`
    when `out` holds sequences with other settings or another run is at work in it, `DiskError` when it cannot be
    written, `WorkerError` when one of several processes ends by itself.
    """
    root = Path(out)
    if processes is not None and processes < 1:
        raise InvalidInputError(f"processes must be at least 1, got {processes}")
    if not attributes or len(set(attributes)) != len(attributes):
        raise InvalidInputError(f"attributes must be different names, at least one, got {list(attributes)}")
    if not 16 <= size <= 4096 or not 1 <= supersampling <= 8:
        raise InvalidInputError(f"size {size} must be 16..4096 and supersampling {supersampling} 1..8")
    values = {name: attribute_named(name).values(frames) for name in attributes}
    heads = sequence_identities(identities, seed) if isinstance(identities, int) else list(identities)
    _check_names(heads)
    settings: dict[str, Any] = {
        "renderer": RENDERER,
        "head_sha256": HEAD_SHA256,
        "seed": seed,
        "size": size,
        "supersampling": supersampling,
        "attributes": values,
        "identities": {head.name: _digest(head.parameters()) for head in heads},
    }
    with alone_in(root):
        _claim(root, settings)
        remove_leftovers(root)
        jobs = [
            _Job(root, head, name, index, value, size, supersampling, "")
            for name in attributes
            for head in heads
            for index, value in enumerate(values[name])
        ]
        jobs = [_Job(**{**vars(job), "key": _key(job)}) for job in jobs]
        done = {job.file: record for job in jobs if (record := _finished(job)) is not None}
        todo = [job for job in jobs if job.file not in done]
        workers = min(processes or os.cpu_count() or 1, max(len(todo), 1))
        with closing(_run(todo, workers)) as results:
            for record in track(results, "rendering", total=len(todo)):
                done[record.file] = record
        manifest = Manifest(
            folder=root,
            size=size,
            attributes={name: {"values": values[name], "unit": attribute_named(name).unit} for name in attributes},
            identities={head.name: head.parameters() for head in heads},
            frames=tuple(done[job.file] for job in jobs),
            settings=settings,
        )
        manifest.save()
        return manifest


def _check_names(heads: Sequence[Identity]) -> None:
    names = [head.name for head in heads]
    if not names or len(set(names)) != len(names):
        raise InvalidInputError(f"identities must have different names, at least one, got {names}")
    for name in names:
        if not name or not all(c.isalnum() or c in "-_" for c in name):
            raise InvalidInputError(f"the identity name {name!r} must consist of letters, digits, - and _")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _key(job: _Job) -> str:
    parameters = {"identity": job.identity.parameters(), "attribute": job.attribute, "value": job.value}
    made = {"size": job.size, "supersampling": job.supersampling, "renderer": RENDERER, "head": HEAD_SHA256}
    return _digest(parameters | made)


def _claim(root: Path, settings: dict[str, Any]) -> None:
    """Write the settings into a fresh folder, or raise `ResumeError` when it belongs to other settings."""
    path = root / _STATE / "settings.json"
    known = [read_json(path)] if path.is_file() else []
    if (root / MANIFEST_NAME).is_file():
        existing = read_json(root / MANIFEST_NAME)
        known.append(existing.get("settings") if isinstance(existing, dict) else None)
    for other in known:
        if other != settings:
            names = [k for k in settings if not isinstance(other, dict) or other.get(k) != settings[k]]
            raise ResumeError(
                f"{root} holds sequences rendered with another {', '.join(names) or 'set of settings'}; "
                "use the same options to continue it, or another folder"
            )
    write_json(path, settings)


def _finished(job: _Job) -> FrameRecord | None:
    """Return the record of a frame that was rendered before and is still as it was, else None."""
    picture = job.out / job.file
    if not picture.is_file() or not job.state.is_file():
        return None
    try:
        state = read_json(job.state)
        record = FrameRecord(**state["record"])
        return record if state["key"] == job.key and sha256_file(picture) == record.sha256 else None
    except (InvalidInputError, KeyError, TypeError):
        return None  # an unreadable state only means that the frame is rendered again


_MODEL: HeadModel | None = None  # one per process, loaded at the first frame


def _render(job: _Job) -> FrameRecord:
    """Render one frame, write it, then note that it is finished."""
    global _MODEL
    if _MODEL is None:
        _MODEL = HeadModel()
    values = {job.attribute: job.value}
    image = render_frame(job.identity, values, model=_MODEL, size=job.size, supersampling=job.supersampling)
    write_png(job.out / job.file, image)
    geometry = frame_geometry(_MODEL, job.identity, values, job.size)
    record = FrameRecord(
        file=job.file,
        attribute=job.attribute,
        identity=job.identity.name,
        index=job.index,
        value=job.value,
        parameters=frame_parameters(values, geometry, 1.0),
        sha256=sha256_file(job.out / job.file),
    )
    write_json(job.state, {"key": job.key, "record": vars(record)})
    return record


def _run(jobs: Sequence[_Job], workers: int) -> Generator[FrameRecord, None, None]:
    """Yield records as frames finish; on an interrupt the pool is stopped and finished frames stay."""
    if workers == 1:
        yield from map(_render, jobs)
        return
    pool = Workers(workers, _render)
    try:
        yield from pool.run(jobs)
    finally:
        pool.close()
        for job in jobs[:1]:  # a process that was killed in the middle of a file leaves its temporary behind
            remove_leftovers(job.out, older_than=0)
