"""Projection of images and of synthetic sequences into W+: `deltafast project`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from deltafast.errors import ImageError, InvalidInputError, ResumeError
from deltafast.files import atomic_write, begin_or_resume, list_images, read_json, sha256_file, write_json
from deltafast.generators.base import Generator
from deltafast.progress import track
from deltafast.projection.encoder import Encoder, load_encoder
from deltafast.projection.perceptual import FaceDistance
from deltafast.projection.photos import PhotoReader, read_face
from deltafast.projection.refine import RefineConfig, RefineResult, refine
from deltafast.projection.report import write_projection_sheet
from deltafast.sequence_latents import GeneratorId, SequenceLatents

__all__ = ["ProjectionSettings", "encode_images", "project_images", "project_sequences"]

_COMPARED = 256  # pixels; what is finer than this is not looked at
_FRAME_FIELDS = {"file": str, "attribute": str, "identity": str, "index": int, "sha256": str}


@dataclass(frozen=True)
class ProjectionSettings:
    """What `project_*` does: refinement steps (0: the encoder alone) and, for sequences, which identities get them.

    `refined_identities` None means all; `compile` runs the synthesis through `torch.compile`.
    """

    refine: RefineConfig = field(default_factory=RefineConfig)
    refined_identities: tuple[str, ...] | None = None
    batch_size: int = 1
    compile: bool = False


@torch.inference_mode()
def encode_images(
    generator: Generator, images: Tensor, *, batch_size: int = 16, encoder: Encoder | None = None
) -> Tensor:
    """Encode aligned face images `[N, 3, H, W]` in [-1, 1] into W+ latents `[N, num_ws, w_dim]` of `generator`.

    Uses the bundled encoder unless another is given. The images must be aligned as FFHQ's are. Raises `EncoderError`
    when the encoder was trained for another latent space, `InvalidInputError` for wrong shapes or NaN.
    """
    encoder = encoder or load_encoder()
    encoder.check_generator(generator)
    encoder = encoder.to(generator.w_avg.device)
    parts = [encoder.encode(images[i : i + batch_size].to(encoder.w_avg)) for i in range(0, len(images), batch_size)]
    return torch.cat(parts) if parts else encoder.w_avg.new_empty(0, generator.num_ws, generator.w_dim)


class _Projector:
    """Generator, encoder and distance, set up once for many calls."""

    def __init__(self, generator: Generator, encoder: Encoder, settings: ProjectionSettings) -> None:
        encoder.check_generator(generator)
        self.generator = generator
        self.settings = settings
        self.size = min(_COMPARED, generator.img_resolution)  # of the pictures that are compared
        self.encoder = encoder.to(generator.w_avg.device)
        self.distance = FaceDistance(self.encoder.backbone)
        self.synthesise: Callable[[Tensor], Tensor] = generator.compiled() if settings.compile else generator.synthesis

    def encode(self, targets: Tensor) -> Tensor:
        with torch.inference_mode():
            ws = encode_images(self.generator, targets, encoder=self.encoder)
        return ws.clone()  # an ordinary tensor: [N, num_ws, w_dim]

    def refine(self, targets: Tensor, start: Tensor, *, shared_base: bool, state: Path | None) -> RefineResult:
        return refine(
            self.generator,
            self.distance,
            targets.to(start),
            start,
            self.settings.refine,
            scale=float(self.encoder.w_scale),
            shared_base=shared_base,
            batch_size=self.settings.batch_size,
            synthesise=self.synthesise,
            state=state,
        )

    @torch.inference_mode()
    def images(self, ws: Tensor) -> Tensor:
        size = (self.size, self.size)
        parts = [F.interpolate(self.synthesise(w[None]).float(), size, mode="area") for w in ws]
        return torch.cat(parts).clamp(-1, 1)  # [N, 3, size, size]


def project_sequences(
    generator: Generator,
    sequences: Path,
    out: Path,
    settings: ProjectionSettings | None = None,
    *,
    encoder: Encoder | None = None,
) -> SequenceLatents:
    """Project a folder written by `deltafast render` and return its latents; they are `out/latents.safetensors`.

    Every identity is one unit of work: frames shown several times (the neutral face stands in every sequence) are
    projected once; an interrupted call goes on with the unfinished identity at its last saved step. Beside the
    latents are left, for the refined identities, `sheet-<identity>.png` (target, encoder, refined, error), and
    `report.json` with the distances per frame. Raises `ResumeError` when `out` was begun with other settings.
    """
    settings = settings or ProjectionSettings()
    manifest_path = sequences / "manifest.json"
    attributes, identities, frames = _read_manifest(manifest_path)
    projector = _Projector(generator, encoder or load_encoder(), settings)
    source = sha256_file(manifest_path)
    begin_or_resume(
        out / "settings.json", {**_as_json(settings), "generator": generator.fingerprint, "sequences": source}
    )
    latents: dict[tuple[str, str], Tensor] = {}
    report: dict[str, Any] = {}
    for identity in track(identities, "projecting identities"):
        own = [frame for frame in frames if frame["identity"] == identity]
        unit = out / "identities" / f"{identity}.safetensors"
        if not unit.exists():
            _project_identity(projector, sequences, identity, own, out)
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
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ResumeError(f"{path} is damaged ({error}); delete it and run the same command again") from error


def _read_manifest(path: Path) -> tuple[dict[str, list[float]], list[str], list[dict[str, Any]]]:
    """Return (attribute to its frames' values, the identities' names, the frames) of a sequence folder's manifest."""
    manifest = read_json(path)
    try:
        attributes = {str(name): [float(v) for v in spec["values"]] for name, spec in manifest["attributes"].items()}
        identities = [str(identity["name"]) for identity in manifest["identities"]]
        frames = [{name: kind(frame[name]) for name, kind in _FRAME_FIELDS.items()} for frame in manifest["frames"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"{path} is no manifest of rendered sequences: {type(error).__name__} {error}"
        ) from error
    shown = {(f["attribute"], f["identity"], f["index"]) for f in frames}
    for attribute, values in attributes.items():
        for identity in identities:
            if any((attribute, identity, index) not in shown for index in range(len(values))):
                raise InvalidInputError(f"{path} lists no complete sequence {attribute!r} of {identity!r}")
    return attributes, identities, frames


def _project_identity(
    projector: _Projector, sequences: Path, identity: str, frames: list[dict[str, Any]], out: Path
) -> None:
    """Project the frames of one identity, each distinct picture once, and save latents and distances."""
    settings = projector.settings
    distinct: dict[str, int] = {}
    rows, pictures = [], []
    for frame in frames:
        digest = str(frame["sha256"])
        if digest not in distinct:
            distinct[digest] = len(distinct)
            pictures.append(read_face(sequences / frame["file"], projector.size))
        rows.append(distinct[digest])
    targets = torch.cat(pictures)  # [distinct, 3, size, size]
    start = projector.encode(targets)
    tensors = {"row": torch.tensor(rows)}
    wanted = settings.refined_identities is None or identity in settings.refined_identities
    if settings.refine.steps > 0 and wanted:
        state = out / "identities" / f"{identity}.state.pt"
        result = projector.refine(targets, start, shared_base=True, state=state)
        tensors |= {
            "ws": result.ws,
            "perceptual_start": result.perceptual_start,
            "perceptual_end": result.perceptual_end,
            "pixel_start": result.pixel_start,
            "pixel_end": result.pixel_end,
        }
        sheet = [targets, projector.images(start), projector.images(result.ws)]
        write_projection_sheet(out / f"sheet-{identity}.png", *sheet)
        tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
        with atomic_write(out / "identities" / f"{identity}.safetensors") as temporary:
            save_file(tensors, temporary)
        state.unlink(missing_ok=True)
    else:
        tensors["ws"] = start.cpu().contiguous()
        with atomic_write(out / "identities" / f"{identity}.safetensors") as temporary:
            save_file(tensors, temporary)


def project_images(
    generator: Generator,
    images: Path,
    out: Path,
    settings: ProjectionSettings | None = None,
    *,
    align: bool | Literal["auto"] = "auto",
    encoder: Encoder | None = None,
) -> dict[str, str]:
    """Project every photo of a folder (or one file) to `out/<name>.safetensors`, key `ws` `[1, L, 512]`.

    The largest face of each photo is aligned as FFHQ's are, unless the image is aligned already; `align=True` aligns
    every image, `align=False` none. `out/<name>-alignment.json` says where in the photo it lies (`Alignment`).
    Finished files are kept when the call is repeated. Returns the files that could not be read, with the reason; the
    rest is done all the same. Raises `InvalidInputError` when there is no image at all.
    """
    settings = settings or ProjectionSettings()
    if not images.exists():
        raise InvalidInputError(f"{images} is neither a folder nor a file")
    paths = list_images(images) if images.is_dir() else [images]
    if not paths:
        raise InvalidInputError(f"{images} holds no images")
    projector = _Projector(generator, encoder or load_encoder(), settings)
    reader = PhotoReader(align, projector.size)
    begin_or_resume(out / "settings.json", {**_as_json(settings), "generator": generator.fingerprint, "align": align})
    failures: dict[str, str] = {}
    stems = [path.stem for path in paths]
    for path in track(paths, "projecting images"):
        name = path.stem if stems.count(path.stem) == 1 else path.name  # face.png beside face.jpg
        done = out / f"{name}.safetensors"
        if done.exists():
            continue
        try:
            target, alignment = reader.read(path)
        except ImageError as error:
            failures[str(path)] = error.reason
            continue
        start = projector.encode(target)
        ws = start
        if settings.refine.steps > 0:
            state = out / f"{name}.state.pt"
            ws = projector.refine(target, start, shared_base=False, state=state).ws
            sheet = [target, projector.images(start), projector.images(ws)]
            write_projection_sheet(out / f"{name}-sheet.png", *sheet, tile=256)
            state.unlink(missing_ok=True)
        if alignment is not None:
            write_json(out / f"{name}-alignment.json", {"photo": path.name, **alignment.as_json()})
        with atomic_write(done) as temporary:
            save_file({"ws": ws.cpu().contiguous()}, temporary)
    return failures


def _as_json(settings: ProjectionSettings) -> dict[str, Any]:
    values = asdict(settings)
    identities = values["refined_identities"]
    values["refined_identities"] = None if identities is None else sorted(np.unique(list(identities)).tolist())
    return values
