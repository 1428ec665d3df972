"""`deltafast edit`: a folder of latents or photos, or sampled faces, through editors to images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from deltafast.cli._edit_inputs import Read
    from deltafast.delta.editor import Editor
    from deltafast.generators.base import Generator

__all__ = ["edit"]


def edit(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="[INPUT] OUT",
            help="INPUT: a folder or file of latents (.pt, .npy, .npz, .safetensors) or of photos; none with --seeds. "
            "Where a folder holds both, the latents are taken. OUT: folder for the images.",
        ),
    ],
    editor: Annotated[
        list[str],
        typer.Option(help="Bundled editor or editor file; repeat to compose in order. NAME=0.5 fixes its own alpha."),
    ],
    alpha: Annotated[list[float] | None, typer.Option(help="How far to go; repeat for a sweep. Default: 1.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Edit sampled faces instead: 0-63 or 1,5,9.")] = None,
    psi: Annotated[float, typer.Option(help="Truncation of sampled faces.")] = 0.7,
    generator: Annotated[str, typer.Option(help="Generator: a name or a checkpoint file.")] = "mobilestylegan-ffhq",
    batch_size: Annotated[int, typer.Option(min=1, help="Images synthesised at once.")] = 8,
    layers: Annotated[str | None, typer.Option(help="Limit the edit to these W+ slots, such as 0-5,8.")] = None,
    noise_mode: Annotated[str, typer.Option(help="const, random or none.")] = "const",
    raw: Annotated[bool, typer.Option("--raw", help="The paper's w + D(w, alpha delta), not continuous at 0.")] = False,
    latents: Annotated[
        bool, typer.Option("--latents", help="Also write the edited latents, OUT/NAME.safetensors.")
    ] = False,
    align: Annotated[
        str, typer.Option(help="Find and align faces in photos: auto (unless they are aligned), always, never.")
    ] = "auto",
    faces: Annotated[
        str, typer.Option(help="Which faces of a photo: largest, all, or a number; 0 is the largest.")
    ] = "largest",
    refine_steps: Annotated[
        int, typer.Option(min=0, help="Steps of refinement of projected photos: closer, but slower.")
    ] = 0,
    paste_back: Annotated[
        bool, typer.Option("--paste-back", help="Write whole photos, with the edited faces in their places.")
    ] = False,
    paste_mask: Annotated[
        str, typer.Option(help="What --paste-back replaces: the face, or the whole crop with hair and background.")
    ] = "face",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...")] = None,
    compile_synthesis: Annotated[bool, typer.Option("--compile/--no-compile", help="Use torch.compile.")] = False,
) -> None:
    """Edit a folder of latents or photos, or sampled faces; interrupted, the same command goes on.

    Every result is OUT/NAME_ALPHA.png (NAME-0, NAME-1 ... where a photo gives several faces). Files that cannot be
    read or show no face are reported at the end; the rest is done.
    """
    from deltafast.cli._edit_inputs import PhotoReader, file_units, seed_units
    from deltafast.cli._photo_files import align_choice, face_choice, reported
    from deltafast.delta.slots import check_slots, parse_slots
    from deltafast.editing import edit_batch
    from deltafast.errors import DeltafastError, InvalidInputError
    from deltafast.faces.pasting import PASTE_MASKS
    from deltafast.files import begin_or_resume
    from deltafast.generators.base import NOISE_MODES
    from deltafast.generators.load import load_generator
    from deltafast.progress import track

    if len(places) != (1 if seeds is not None else 2):
        raise InvalidInputError("expected OUT with --seeds, else INPUT and OUT")
    amounts = alpha or [1.0]
    if not all(math.isfinite(a) for a in amounts) or len(set(amounts)) != len(amounts):
        raise InvalidInputError(f"alphas must be finite and all different, got {amounts}")
    if not math.isfinite(psi):
        raise InvalidInputError(f"--psi must be a finite number, got {psi}")
    if seeds is None and places[0].resolve() == places[-1].resolve():
        raise InvalidInputError(f"OUT must be another folder than INPUT, {places[0]}")
    if seeds is not None and paste_back:
        raise InvalidInputError("--paste-back needs photos; sampled faces come without one")
    if paste_mask not in PASTE_MASKS:
        raise InvalidInputError(f"--paste-mask is one of {', '.join(PASTE_MASKS)}; got {paste_mask!r}")
    if noise_mode not in NOISE_MODES:
        raise InvalidInputError(f"--noise-mode is one of {', '.join(NOISE_MODES)}; got {noise_mode!r}")
    out = places[-1]
    G = load_generator(generator, device=device)
    chosen = None if layers is None else check_slots(parse_slots(layers), G.num_ws)
    editors, alphas, sweep = _editors(editor, amounts, G)
    photos = PhotoReader(align_choice(align), face_choice(faces), paste_back, min(512, G.img_resolution))
    if seeds is not None:
        units = list(seed_units(seeds, psi, G, max(1, batch_size // len(sweep))))
    else:
        units = list(file_units(places[0], photos))
    settings = {
        "generator": G.fingerprint,
        "editors": [one.info.as_json() for one in editors],
        "alphas": alphas,
        "layers": None if chosen is None else list(chosen),
        "noise_mode": noise_mode,
        "raw": raw,
        "latents": latents,
        "psi": psi if seeds is not None else None,
        "align": photos.align,
        "faces": photos.faces,
        "refine_steps": refine_steps,
        "paste_back": paste_mask if paste_back else False,
    }
    begin_or_resume(out / "settings.json", settings)
    synthesise = G.compiled() if compile_synthesis else True
    failures: list[str] = []
    written = 0
    for unit in track(units, "editing"):
        try:
            if unit.names is not None and all(_is_done(out, name, sweep, latents) for name in unit.names):
                continue
            read = unit.read()
            if read.photo is not None:
                todo = list(range(len(read.source)))
            else:
                todo = [k for k, name in enumerate(read.names) if not _is_done(out, name, sweep, latents)]
            edited: list[Any] = []  # for each face, images uint8 [K, 3, H, W] and latents [K, num_ws, w_dim]
            for start in range(0, len(todo), batch_size):
                rows = todo[start : start + batch_size]
                result = edit_batch(
                    G,
                    [read.source[k] for k in rows] if isinstance(read.source, list) else read.source[rows],
                    editors,
                    alphas,
                    batch_size=batch_size,
                    layers=chosen,
                    noise_mode=noise_mode,  # type: ignore[arg-type]
                    raw=raw,
                    output="uint8",
                    synthesise=synthesise,
                    output_device="cpu",
                    align=False,
                    refine_steps=refine_steps,
                )
                faces_of_batch = list(zip(result.images, result.latents, strict=True))  # type: ignore[arg-type]
                if read.photo is not None:
                    edited += faces_of_batch
                    continue
                for row, (images, codes) in zip(rows, faces_of_batch, strict=True):
                    pixels = images.permute(0, 2, 3, 1).numpy()  # [K, H, W, 3]
                    _write(out, read.names[row], sweep, pixels, codes if latents else None)
            if read.photo is not None:
                _write(out, read.names[0], sweep, *_pasted(read, edited, latents, paste_mask), read.profile)
            written += len(todo)
        except DeltafastError as error:
            if _is_fatal(error):
                raise
            failures.append(str(error) if unit.label in str(error) else f"{unit.label}: {error}")
    print(f"{written} faces edited, {len(units)} inputs seen; images are in {out}")
    reported(failures, len(units), "inputs could not be edited")


def _editors(given: list[str], sweep: list[float], G: Generator) -> tuple[list[Editor], list[Any], list[float]]:
    """Return editors for this generator, their alphas for `edit_batch`, and the sweep that the images run over."""
    from deltafast.delta.editor import load_editor
    from deltafast.errors import InvalidInputError

    editors: list[Editor] = []
    alphas: list[Any] = []
    swept = False
    for text in given:
        name, equals, fixed = text.rpartition("=")
        if not equals or Path(text).exists():
            name, fixed = text, ""
        editors.append(load_editor(name).for_generator(G))
        try:
            alphas.append(float(fixed) if fixed else [sweep])
        except ValueError as error:
            raise InvalidInputError(f"an editor's own alpha is a number, as in yaw=0.5; got {text!r}") from error
        if fixed and not math.isfinite(alphas[-1]):
            raise InvalidInputError(f"an editor's own alpha must be finite; got {text!r}")
        swept = swept or not fixed
    if not swept:  # every editor has its own alpha: one image for each face
        sweep = alphas if len(alphas) == 1 else [1.0]
        alphas = [[[fixed_alpha]] for fixed_alpha in alphas]
    return editors, alphas, sweep


def _pasted(read: Read, edited: list[Any], latents: bool, mask: str) -> tuple[Any, Any]:
    """The photo with its edited faces in it, for every alpha, `[K, H, W, 3]`, and their latents `[F K, L, C]`."""
    import numpy as np
    import torch

    from deltafast.faces.pasting import paste_back

    photos = []
    for step in range(len(edited[0][0])):
        photo = read.photo
        assert photo is not None
        for (images, _), alignment in zip(edited, read.alignments, strict=True):
            face = np.ascontiguousarray(images[step].permute(1, 2, 0).numpy())
            photo = paste_back(photo, face, alignment, mask=mask)  # type: ignore[arg-type]
        photos.append(photo)
    return photos, torch.cat([codes for _, codes in edited]) if latents else None


def _is_done(out: Path, name: str, sweep: list[float], latents: bool) -> bool:
    return all(path.exists() for path in _outputs(out, name, sweep, latents))


def _outputs(out: Path, name: str, sweep: list[float], latents: bool) -> list[Path]:
    pictures = [out / f"{name}_{alpha:+.10g}.png" for alpha in sweep]
    return [*pictures, out / f"{name}.safetensors"] if latents else pictures


def _write(out: Path, name: str, sweep: list[float], images: Any, latents: Any, profile: bytes | None = None) -> None:
    import numpy as np
    from safetensors.torch import save_file

    from deltafast.files import atomic_write, write_png

    for path, image in zip(_outputs(out, name, sweep, False), images, strict=True):
        write_png(path, np.ascontiguousarray(image), profile=profile)
    if latents is not None:
        with atomic_write(out / f"{name}.safetensors") as temporary:
            save_file({"ws": latents.contiguous()}, temporary)


def _is_fatal(error: Exception) -> bool:
    """Whether an error concerns the whole run and not one input."""
    from deltafast.errors import DeltafastError, DiskError, DownloadError, EditorError, EncoderError

    return type(error) is DeltafastError or isinstance(error, (DiskError, DownloadError, EditorError, EncoderError))
