"""Projection of synthetic sequences into W+: `deltafast project SEQUENCES`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from deltafast.errors import InvalidInputError, ResumeError
from deltafast.files import atomic_write, read_json, sha256_file, write_json
from deltafast.generators.base import Generator
from deltafast.progress import track
from deltafast.projection.encoder import Encoder
from deltafast.projection.photos import read_face
from deltafast.projection.projector import ProjectionSettings, Projector, settings_as_json
from deltafast.projection.report import write_projection_sheet
from deltafast.runs import Run, digest_of
from deltafast.sequence_latents import GeneratorId, SequenceLatents
from deltafast.untrusted.checks import UnreadableError, check_finite, check_name, reading, shown
from deltafast.untrusted.safetensors_file import read_safetensors

__all__ = ["project_sequences"]

_RENDERED = 256  # pixels, the size of the renders; what is finer is not looked at
_FRAME_FIELDS = {"file": str, "attribute": str, "identity": str, "index": int, "sha256": str}


def project_sequences(
    generator: Generator,
    sequences: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: ProjectionSettings | None = None,
    *,
    encoder: Encoder | None = None,
) -> SequenceLatents:
    """Project a folder written by `deltafast render` and return its latents; they are `out/latents.safetensors`.

    Every identity is one unit of work: frames shown several times (the neutral face stands in every sequence) are
    projected once; an interrupted call goes on with the unfinished identity at its last saved step, and an identity
    whose frames, or the generator, encoder or settings, are others than they were is projected anew. Beside the latents
    are left, for the refined identities, `sheet-<identity>.png` (target, encoder, refined, error), and `report.json`
    with the distances per frame. Raises `ResumeError` when `out` holds what another command made.
    """
    settings = settings or ProjectionSettings()
    sequences, out = Path(sequences), Path(out)
    manifest_path = sequences / "manifest.json"
    attributes, identities, frames = _read_manifest(manifest_path)
    projector = Projector(generator, encoder, settings, _RENDERED)
    source = sha256_file(manifest_path)
    made_with = {"generator": generator.fingerprint, "encoder": projector.encoder.digest()}
    described = {**settings_as_json(settings), **made_with}
    refined = described.pop("refined_identities")  # decides for each identity on its own
    noted = {"sequences": source, "refined_identities": refined}
    run = Run(out, "project sequences", described, noted=noted)
    latents: dict[tuple[str, str], Tensor] = {}
    report: dict[str, Any] = {}
    for identity in track(identities, "projecting identities"):
        own = [frame for frame in frames if frame["identity"] == identity]
        unit = out / "identities" / f"{identity}.safetensors"
        listed = [[frame[name] for name in ("attribute", "index", "sha256")] for frame in own]
        made_of = {"frames": digest_of(listed), "refined": _is_refined(settings, identity)}
        if not run.is_finished(identity, made_of):
            run.finish(identity, made_of, _project_identity(projector, sequences, identity, own, out))
        tensors = _load_unit(unit)
        for attribute in attributes:
            rows = sorted((f for f in own if f["attribute"] == attribute), key=lambda f: f["index"])
            where = [int(tensors["row"][own.index(f)]) for f in rows]
            latents[attribute, identity] = tensors["ws"][where]  # [n, num_ws, w_dim]
        report[identity] = {
            name: [round(float(v), 5) for v in tensors[name]] for name in sorted(tensors) if name not in ("ws", "row")
        }
    result = SequenceLatents(
        attributes=attributes,
        identities=identities,
        latents=latents,
        generator=GeneratorId.of(generator),
        source=source,
    )
    write_json(out / "report.json", report)
    result.save(out / "latents.safetensors")
    return result


def _load_unit(path: Path) -> dict[str, Tensor]:
    advice = "delete it and run the same command again"
    with reading(lambda reason: ResumeError(f"{path} is damaged ({reason}); {advice}")):
        tensors, _ = read_safetensors(path)
        rows, ws = tensors["row"], tensors["ws"]
        if ws.ndim != 3 or rows.ndim != 1 or rows.is_floating_point():
            raise UnreadableError(f"latents {list(ws.shape)} in rows {list(rows.shape)}")
        for name, tensor in tensors.items():
            check_finite(tensor, name)
    return tensors


def _read_manifest(path: Path) -> tuple[dict[str, list[float]], list[str], list[dict[str, Any]]]:
    """Return (attribute to its frames' values, the identities' names, the frames) of a sequence folder's manifest."""
    manifest = read_json(path)
    with reading(lambda reason: InvalidInputError(f"{path} is no manifest of rendered sequences: {reason}")):
        attributes = {str(name): [float(v) for v in spec["values"]] for name, spec in manifest["attributes"].items()}
        identities = [check_name(identity["name"], "an identity's name") for identity in manifest["identities"]]
        frames = [{name: kind(frame[name]) for name, kind in _FRAME_FIELDS.items()} for frame in manifest["frames"]]
        for name in identities:  # files are called so
            if name.startswith(".") or not {"/", "\\"}.isdisjoint(name):
                raise UnreadableError(f"an identity that is called {shown(name)}")
    listed = {(f["attribute"], f["identity"], f["index"]) for f in frames}
    for attribute, values in attributes.items():
        for identity in identities:
            if any((attribute, identity, index) not in listed for index in range(len(values))):
                raise InvalidInputError(f"{path} lists no complete sequence {attribute!r} of {identity!r}")
    return attributes, identities, frames


def _project_identity(
    projector: Projector, sequences: Path, identity: str, frames: list[dict[str, Any]], out: Path
) -> list[Path]:
    """Project the frames of one identity, each distinct picture once, save latents and distances, return the files."""
    settings = projector.settings
    distinct: dict[str, int] = {}
    rows, pictures = [], []
    for frame in frames:
        digest = str(frame["sha256"])
        if digest not in distinct:
            distinct[digest] = len(distinct)
            path = sequences / frame["file"]
            if not path.is_file() or sha256_file(path) != digest:
                raise InvalidInputError(f"{path} is missing or has changed since the manifest was written")
            pictures.append(read_face(path, projector.size))
        rows.append(distinct[digest])
    targets = torch.cat(pictures)  # [distinct, 3, size, size]
    start = projector.encode(targets)
    tensors = {"row": torch.tensor(rows)}
    unit = out / "identities" / f"{identity}.safetensors"
    state = out / "identities" / f"{identity}.state.pt"
    written = [unit]
    if _is_refined(settings, identity):
        result = projector.refine(targets, start, shared_base=True, state=state)
        tensors["ws"] = result.ws
        for moment, distances in (("start", result.start), ("end", result.end)):
            tensors |= {f"{name}_{moment}": value for name, value in distances.items()}
        written.append(out / f"sheet-{identity}.png")
        write_projection_sheet(written[-1], targets, projector.images(start), projector.images(result.ws))
    else:
        tensors["ws"] = start
    with atomic_write(unit) as temporary:
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, temporary)
    state.unlink(missing_ok=True)
    return written


def _is_refined(settings: ProjectionSettings, identity: str) -> bool:
    wanted = settings.refined_identities is None or identity in settings.refined_identities
    return settings.refine.steps > 0 and wanted
