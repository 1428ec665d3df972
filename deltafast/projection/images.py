"""Projection of face images into W+: `deltafast project IMAGES`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file
from torch import Tensor

from deltafast.errors import ImageError, InvalidInputError
from deltafast.files import atomic_write, begin_or_resume, list_images, read_json, write_json
from deltafast.generators.base import Generator
from deltafast.progress import track
from deltafast.projection.encoder import Encoder, load_encoder
from deltafast.projection.photos import PhotoReader
from deltafast.projection.projector import PHOTO_SIZE, ProjectionSettings, Projector, settings_as_json
from deltafast.projection.refine import RefineResult
from deltafast.projection.report import write_projection_sheet

__all__ = ["ProjectedImages", "project_images"]


@dataclass(frozen=True)
class ProjectedImages:
    """What came of a folder of images.

    `failures`: file to reason, of those that could not be used. `reports`: name to its report, the JSON values of
    `<name>.json`: the fit of the encoder's latent and of the refined one (`FitReport.as_json`), the distances that
    the refinement made smaller, and the steps it took.
    """

    failures: dict[str, str]
    reports: dict[str, dict[str, Any]]

    @property
    def warnings(self) -> dict[str, list[str]]:
        """Name to what is wrong with its projection, for those that are poor."""
        told = {name: (report.get("refined") or report["encoder"])["warnings"] for name, report in self.reports.items()}
        return {name: warnings for name, warnings in told.items() if warnings}


def project_images(
    generator: Generator,
    images: Path,
    out: Path,
    settings: ProjectionSettings | None = None,
    *,
    align: bool | Literal["auto"] = "auto",
    encoder: Encoder | None = None,
) -> ProjectedImages:
    """Project every photo of a folder (or one file) to `out/<name>.safetensors`, key `ws` `[1, L, 512]`.

    The largest face of each photo is aligned as FFHQ's are, unless the image is aligned already; `align=True` aligns
    every image, `align=False` none. `out/<name>-alignment.json` says where in the photo it lies (`Alignment`). Beside
    each latent stand `<name>.json`, how well it fits (`report.json` has all of them), and, where it was refined,
    `<name>-sheet.png`: picture, encoder, refined, error. Finished files are kept when the call is repeated, an
    interrupted refinement goes on at its last saved step. Files that cannot be used are named in the result, the rest
    is done all the same. Raises `InvalidInputError` when there is no image at all.
    """
    settings = settings or ProjectionSettings()
    if not images.exists():
        raise InvalidInputError(f"{images} is neither a folder nor a file")
    paths = list_images(images) if images.is_dir() else [images]
    if not paths:
        raise InvalidInputError(f"{images} holds no images")
    projector = Projector(generator, encoder or load_encoder(), settings, PHOTO_SIZE)
    reader = PhotoReader(align, projector.size)
    begin_or_resume(
        out / "settings.json", {**settings_as_json(settings), "generator": generator.fingerprint, "align": align}
    )
    result = ProjectedImages({}, {})
    stems = [path.stem for path in paths]
    for path in track(paths, "projecting images"):
        name = path.stem if stems.count(path.stem) == 1 else path.name  # face.png beside face.jpg
        if not (out / f"{name}.safetensors").exists():
            try:
                target, alignment = reader.read(path)
            except ImageError as error:
                result.failures[str(path)] = error.reason
                continue
            if alignment is not None:
                write_json(out / f"{name}-alignment.json", {"photo": path.name, **alignment.as_json()})
            _project_image(projector, target, out, name)
        result.reports[name] = read_json(out / f"{name}.json")
    write_json(out / "report.json", result.reports)
    return result


def _project_image(projector: Projector, target: Tensor, out: Path, name: str) -> None:
    """Project one picture `[1, 3, size, size]`; the latent is written last, and stands for all that is finished."""
    start = projector.encode(target)
    ws = start  # [1, num_ws, w_dim]
    shown = [target, projector.images(start)]
    report: dict[str, Any] = {"encoder": projector.measure(target, shown[1], start)[0].as_json()}
    state = out / f"{name}.state.pt"
    if projector.settings.refine.steps > 0:
        refined = projector.refine(target, start, shared_base=False, state=state)
        ws = refined.ws
        shown.append(projector.images(ws))
        report["refined"] = projector.measure(target, shown[2], ws)[0].as_json()
        report["distances"] = {
            kind: {moment: round(float(values[kind]), 5) for moment, values in _moments(refined).items()}
            for kind in refined.end
        }
        report["steps"] = refined.steps
        write_projection_sheet(out / f"{name}-sheet.png", *shown, tile=256)
    write_json(out / f"{name}.json", report)
    with atomic_write(out / f"{name}.safetensors") as temporary:
        save_file({"ws": ws.cpu().contiguous()}, temporary)
    state.unlink(missing_ok=True)


def _moments(result: RefineResult) -> dict[str, dict[str, Tensor]]:
    return {"start": result.start, "end": result.end}
