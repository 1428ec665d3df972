"""Projection of face images into W+: `deltafast project IMAGES`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file
from torch import Tensor

from deltafast.faces.photos import PhotoReader
from deltafast.files import IMAGE_SUFFIXES, atomic_write, read_json, sha256_file, write_json
from deltafast.generators.base import Generator
from deltafast.inputs import Failures, find_inputs
from deltafast.progress import track
from deltafast.projection.encoder import Encoder
from deltafast.projection.projector import PHOTO_SIZE, ProjectionSettings, Projector, settings_as_json
from deltafast.projection.refine import RefineResult
from deltafast.projection.report import write_projection_sheet
from deltafast.projection.tuned_face import CARRIED_SIZE, TunedFace
from deltafast.runs import Run, file_identity

__all__ = ["ProjectedImages", "project_images", "project_photo", "run_settings", "warnings_of"]


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
        told = {name: warnings_of(report) for name, report in self.reports.items()}
        return {name: warnings for name, warnings in told.items() if warnings}


def project_images(
    generator: Generator,
    images: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: ProjectionSettings | None = None,
    *,
    align: bool | Literal["auto"] = "auto",
    encoder: Encoder | None = None,
    tuned: bool = False,
) -> ProjectedImages:
    """Project every photo of a folder (or one file) to `out/<name>.safetensors`, key `ws` `[1, L, 512]`.

    The largest face of each photo is aligned as FFHQ's are, unless the image is aligned already; `align=True` aligns
    every image, `align=False` none. Photos of subfolders are found too, and their results lie in subfolders of `out`.
    `out/<name>-alignment.json` says where in the photo it lies (`Alignment`). Beside each latent stand `<name>.json`,
    how well it fits (`report.json` has all of them), and, where it was refined, `<name>-sheet.png`: picture, encoder,
    refined, error. With `tuned` the files are those of a `TunedFace`, which hold the face's picture beside `ws`: edits
    of them carry the photo along (`likeness="tuned"`). What is finished is kept when the call is repeated, unless its
    photo, the generator, the encoder or the settings are others now: then it is made anew. An interrupted refinement
    goes on at its last saved step. Files that cannot be used are named in the result, the rest is done all the same.
    Raises `InvalidInputError` when there is no image at all, `ResumeError` when `out` holds what another command made.
    """
    settings = settings or ProjectionSettings()
    out = Path(out)
    inputs = find_inputs(Path(images), out, IMAGE_SUFFIXES, "images")
    projector = Projector(generator, encoder, settings, PHOTO_SIZE)
    size = min(CARRIED_SIZE, generator.img_resolution) if tuned else projector.size
    reader = PhotoReader(align, size=size)
    run = Run(out, "project", run_settings(projector, align, tuned=tuned))
    failures = Failures()
    reports: dict[str, dict[str, Any]] = {}
    for photo in track(inputs, "projecting images"):
        with failures.of(str(photo.path)):
            source = file_identity(photo.path)
            if not run.is_finished(photo.name, source):
                made = project_photo(projector, reader, photo.path, out, photo.name, tuned=tuned)
                run.finish(photo.name, source, made)
            reports[photo.name] = read_json(out / f"{photo.name}.json")
    write_json(out / "report.json", reports)
    return ProjectedImages(failures.told, reports)


def warnings_of(report: dict[str, Any]) -> list[str]:
    """Return what one report says is wrong with its projection: with the crop, and with the fit."""
    doubt = [report["doubt"]] if report.get("doubt") else []
    return [*doubt, *(report.get("refined") or report["encoder"])["warnings"]]


def run_settings(projector: Projector, align: bool | Literal["auto"], *, tuned: bool = False) -> dict[str, Any]:
    """Return as JSON values what projections are made with, by which a later call knows that it goes on."""
    made_with = {"generator": projector.generator.fingerprint, "encoder": projector.encoder.digest()}
    kind = {"likeness": "tuned"} if tuned else {}
    return {**settings_as_json(projector.settings), **made_with, "align": align, **kind}


def project_photo(
    projector: Projector,
    reader: PhotoReader,
    photo: Path,
    out: Path,
    name: str,
    shown: str | None = None,
    *,
    tuned: bool = False,
) -> list[Path]:
    """Project the face of one photo and return the files that were made of it, those that `project_images` describes.

    `shown`: how `<name>-alignment.json` calls the photo, its file's name unless given. Raises `ImageError` for what
    cannot be read or shows no face.
    """
    (face,) = reader.read(photo, shown or photo.name).faces
    written, ws = _project_image(projector, projector.target(face.image), out, name, face.alignment.doubt)
    if tuned:
        TunedFace.of(projector.generator, ws, face.pixels, sha256_file(photo)).save(written[0])
    else:
        with atomic_write(written[0]) as temporary:
            save_file({"ws": ws.cpu().contiguous()}, temporary)
    written[0].with_name(f".{written[0].stem}.state").unlink(missing_ok=True)
    if not face.alignment.is_whole:
        written.append(out / f"{name}-alignment.json")
        write_json(written[-1], {"photo": shown or photo.name, **face.alignment.as_json()})
    return written


def _project_image(
    projector: Projector, target: Tensor, out: Path, name: str, doubt: str | None = None
) -> tuple[list[Path], Tensor]:
    """Project one picture `[1, 3, size, size]`; return the files made of it, the latent's first, and the latent.

    All of them are written but that of the latent. `doubt`: why the picture may be a wrong crop.
    """
    start = projector.encode(target)
    ws = start  # [1, num_ws, w_dim]
    shown = [target, projector.images(start)]
    report: dict[str, Any] = {"encoder": projector.measure(target, shown[1], start)[0].as_json()}
    if doubt is not None:
        report["doubt"] = doubt
    written = [out / f"{name}.safetensors", out / f"{name}.json"]
    state = written[0].with_name(f".{written[0].stem}.state")
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
        written.append(out / f"{name}-sheet.png")
        write_projection_sheet(written[-1], *shown, tile=256)
    write_json(written[1], report)
    return written, ws


def _moments(result: RefineResult) -> dict[str, dict[str, Tensor]]:
    return {"start": result.start, "end": result.end}
