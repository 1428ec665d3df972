"""Projection of synthetic sequences into W+: `deltafast project SEQUENCES`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from deltafast.errors import InvalidInputError, ResumeError
from deltafast.files import atomic_write, sha256_file, write_json
from deltafast.generators.base import Generator
from deltafast.progress import track
from deltafast.projection.encoder import Encoder
from deltafast.projection.photos import read_face
from deltafast.projection.projector import ProjectionSettings, Projector, settings_as_json
from deltafast.projection.report import write_projection_sheet
from deltafast.runs import Run, digest_of
from deltafast.sequence_latents import GeneratorId, SequenceLatents
from deltafast.sequence_manifest import MANIFEST_NAME, FrameRecord, Manifest, load_manifest
from deltafast.untrusted.checks import UnreadableError, check_finite, reading
from deltafast.untrusted.safetensors_file import read_safetensors

__all__ = ["project_sequences"]

_RENDERED = 256  # pixels, the size of the renders; what is finer is not looked at


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
    with the distances per frame. Raises `ResumeError` when `out` holds what another command made, `InvalidInputError`
    for a damaged manifest, a picture that has changed, and identities to refine that are not there.
    """
    settings = settings or ProjectionSettings()
    sequences, out = Path(sequences), Path(out)
    manifest = load_manifest(sequences, check_files=False)  # each picture is compared when it is read
    _check_refined(settings, manifest)
    projector = Projector(generator, encoder, settings, _RENDERED)
    source = sha256_file(sequences / MANIFEST_NAME)
    made_with = {"generator": generator.fingerprint, "encoder": projector.encoder.digest()}
    described = {**settings_as_json(settings), **made_with}
    refined = described.pop("refined_identities")  # decides for each identity on its own
    noted = {"sequences": source, "refined_identities": refined}
    run = Run(out, "project sequences", described, noted=noted)
    latents: dict[tuple[str, str], Tensor] = {}
    report: dict[str, Any] = {}
    for identity in track(list(manifest.identities), "projecting identities"):
        own = [frame for frame in manifest.frames if frame.identity == identity]
        unit = out / "identities" / f"{identity}.safetensors"
        listed = [[frame.attribute, frame.index, frame.sha256] for frame in own]
        made_of = {"frames": digest_of(listed), "refined": _is_refined(settings, identity)}
        if not run.is_finished(identity, made_of):
            run.finish(identity, made_of, _project_identity(projector, sequences, identity, own, out))
        tensors = _load_unit(unit)
        for attribute in manifest.attributes:
            where = [int(tensors["row"][own.index(frame)]) for frame in manifest.sequence(attribute, identity)]
            latents[attribute, identity] = tensors["ws"][where]  # [n, num_ws, w_dim]
        report[identity] = {
            name: [round(float(v), 5) for v in tensors[name]] for name in sorted(tensors) if name not in ("ws", "row")
        }
    result = SequenceLatents(
        attributes={name: entry["values"] for name, entry in manifest.attributes.items()},
        identities=list(manifest.identities),
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


def _project_identity(
    projector: Projector, sequences: Path, identity: str, frames: list[FrameRecord], out: Path
) -> list[Path]:
    """Project the frames of one identity, each distinct picture once, save latents and distances, return the files."""
    settings = projector.settings
    distinct: dict[str, int] = {}
    rows, pictures = [], []
    for frame in frames:
        if frame.sha256 not in distinct:
            distinct[frame.sha256] = len(distinct)
            path = sequences / frame.file
            if not path.is_file() or sha256_file(path) != frame.sha256:
                raise InvalidInputError(f"{path} is missing or has changed since the manifest was written")
            pictures.append(read_face(path, projector.size))
        rows.append(distinct[frame.sha256])
    targets = torch.cat(pictures)  # [distinct, 3, size, size]
    start = projector.encode(targets)
    tensors = {"row": torch.tensor(rows)}
    unit = out / "identities" / f"{identity}.safetensors"
    state = out / "identities" / f".{identity}.state"
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


def _check_refined(settings: ProjectionSettings, manifest: Manifest) -> None:
    unknown = sorted(set(settings.refined_identities or ()) - set(manifest.identities))
    if unknown:
        raise InvalidInputError(
            f"{manifest.folder} has no identity {', '.join(map(repr, unknown))} to refine; "
            f"it has {', '.join(manifest.identities)}"
        )


def _is_refined(settings: ProjectionSettings, identity: str) -> bool:
    wanted = settings.refined_identities is None or identity in settings.refined_identities
    return settings.refine.steps > 0 and wanted
