"""`deltafast edit`: a folder of latents or photos, or sampled faces, through editors to images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from deltafast.cli._edit_inputs import LatentsUnit, PhotoUnit
    from deltafast.delta.editor import LatentEditor
    from deltafast.editing import EditSession
    from deltafast.generators.base import Generator
    from deltafast.runs import Run

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
        typer.Option(
            help="Bundled editor, editor file, or a direction (.npy, .pt); repeat for several. NAME=0.5 gives it an "
            "alpha of its own, NAME=by15 or NAME=to0 an amount of its own in the attribute's unit."
        ),
    ],
    alpha: Annotated[list[float] | None, typer.Option(help="How far to go; repeat for a sweep. Default: 1.")] = None,
    by: Annotated[
        list[float] | None,
        typer.Option(
            help="Instead of alpha, by how much, in the attribute's unit (see `deltafast editors`): yaw by 15 degrees. "
            "Repeat for a sweep."
        ),
    ] = None,
    to: Annotated[
        list[float] | None,
        typer.Option(help="Instead of alpha, to what reading: yaw to 0 faces the camera. Repeat for a sweep."),
    ] = None,
    order: Annotated[
        str, typer.Option(help="Several flows: together, as one flow of their sum, or in sequence as jumps always.")
    ] = "together",
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
    class_index: Annotated[
        int | None, typer.Option("--class", min=0, help="Of a conditional generator, the class of the sampled faces.")
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(help="Encoder file for photos (`deltafast train-encoder`); the bundled one by default."),
    ] = None,
    same_w_space: Annotated[
        bool,
        typer.Option("--same-w-space", help="Vouch that the editors' generator and this one share their W space."),
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...")] = None,
    compile_synthesis: Annotated[bool, typer.Option("--compile/--no-compile", help="Use torch.compile.")] = False,
) -> None:
    """Edit a folder of latents or photos, or sampled faces; interrupted, the same command goes on.

    Every result is OUT/NAME_ALPHA.png, or NAME_by+15.png, NAME_to+0.png (NAME-0, NAME-1 ... where a photo gives several
    faces); those of subfolders lie in subfolders. What is finished is kept, unless its input, the editors, the
    generator or other settings are others now: then it is made anew. Files that cannot be read or show no face are
    reported at the end; the rest is done.
    """
    from deltafast.cli._edit_inputs import PhotoUnit, file_units, seed_units
    from deltafast.cli._photo_files import align_choice, face_choice, one_of, reported
    from deltafast.delta.slots import parse_slots
    from deltafast.editing import EditOptions, EditSession
    from deltafast.errors import InvalidInputError
    from deltafast.faces.pasting import PASTE_MASKS
    from deltafast.generators.load import load_generator
    from deltafast.generators.synthesis import NOISE_MODES
    from deltafast.inputs import Failures
    from deltafast.progress import track
    from deltafast.projection import load_encoder
    from deltafast.runs import Run

    if len(places) != (1 if seeds is not None else 2):
        raise InvalidInputError("expected OUT with --seeds, else INPUT and OUT")
    given = {word: amounts for word, amounts in (("alpha", alpha), ("by", by), ("to", to)) if amounts}
    if len(given) > 1:
        raise InvalidInputError(
            f"give one of --alpha, --by and --to, not {' and '.join(f'--{word}' for word in given)}"
        )
    own = [_own_amount(text) for text in editor]
    words = sorted({*given, *(one.word for one in own if one.word)})
    if len(words) > 1:
        raise InvalidInputError(f"alpha, by and to cannot be mixed in one run; {' and '.join(words)} are given")
    word = words[0] if words else "alpha"
    amounts = given.get(word, [1.0])
    if given and all(one.amount is not None for one in own):
        raise InvalidInputError(f"--{word} is for editors without an amount of their own, and each of these has one")
    if not all(math.isfinite(a) for a in amounts) or len({_label(a) for a in amounts}) != len(amounts):
        raise InvalidInputError(f"values of --{word} must be finite and all different, got {amounts}")
    if not math.isfinite(psi):
        raise InvalidInputError(f"--psi must be a finite number, got {psi}")
    if seeds is None and class_index is not None:
        raise InvalidInputError("--class is for sampled faces, with --seeds")
    if seeds is not None and paste_back:
        raise InvalidInputError("--paste-back needs photos; sampled faces come without one")
    mask = one_of("--paste-mask", paste_mask, PASTE_MASKS)
    chosen = None if encoder is None else load_encoder(encoder)
    options = EditOptions(
        batch_size=batch_size,
        layers=None if layers is None else parse_slots(layers),
        noise_mode=one_of("--noise-mode", noise_mode, NOISE_MODES),  # type: ignore[arg-type]
        raw=raw,
        output="uint8",
        output_device="cpu",
        align=align_choice(align),
        face=face_choice(faces),
        refine_steps=refine_steps,
        paste_back=mask if paste_back else False,  # type: ignore[arg-type]
        encoder=chosen,
        same_w_space=same_w_space,
        order=one_of("--order", order, ("together", "sequence")),  # type: ignore[arg-type]
    )
    out = places[-1]
    units: list[PhotoUnit | LatentsUnit] = [] if seeds is not None else list(file_units(places[0], out))
    for unit in units:
        if paste_back and not isinstance(unit, PhotoUnit):
            raise InvalidInputError(f"--paste-back needs photos; {unit.label} holds latents")
    G = load_generator(generator, device=device)
    editors, described, alphas, sweep = _editors(own, amounts, G, same_w_space)
    if compile_synthesis:
        options = replace(options, synthesise=G.compiled())
    options = replace(options, by=alphas if word == "by" else None, to=alphas if word == "to" else None)
    session = EditSession(G, editors, alphas if word == "alpha" else None, options)
    if seeds is not None:
        units = [*seed_units(seeds, psi, class_index, G, max(1, batch_size // max(1, len(sweep))))]
    settings = {
        **options.as_json(),
        "generator": G.fingerprint,
        "editors": described,
        "alphas": alphas if word == "alpha" else None,
        "latents": latents,
        "psi": psi if seeds is not None else None,
        "class": class_index,
        "encoder": None if chosen is None else chosen.digest(),
    }
    labels = [f"_{'' if word == 'alpha' else word}{_label(amount)}" for amount in sweep] or [""]
    results = _Results(Run(out, "edit", settings), labels, latents)
    failures = Failures()
    edited = 0
    for unit in track(units, "editing"):
        with failures.of(unit.label), _told(unit.label):
            if isinstance(unit, PhotoUnit):
                edited += _edit_photo(session, results, unit)
            else:
                edited += _edit_latents(session, results, unit, batch_size)
    print(f"{edited} faces edited, {len(units)} inputs seen; images are in {out}")
    reported(failures, len(units), "inputs could not be edited")


@contextmanager
def _told(label: str) -> Iterator[None]:
    """Say in one line each what did not get to where it was asked to."""
    import warnings

    from deltafast.editing import UnreachedWarning

    told: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UnreachedWarning)
            yield
    finally:  # after an error, what was done before it
        for warning in told:
            if issubclass(warning.category, UnreachedWarning):
                typer.echo(f"warning: {label}: {warning.message}", err=True)
            else:
                warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)


def _edit_photo(session: EditSession, results: _Results, unit: PhotoUnit) -> int:
    """Edit the faces of a photo, unless that is done, and return how many there are."""
    from deltafast.pixels import to_arrays

    source = unit.source()
    if results.run.is_finished(unit.name, source):
        return 0
    edit = session.edit(unit.path)
    files: list[Path] = []
    if edit.photos is not None:
        profile = None if edit.profiles is None else edit.profiles[0]
        files += results.write(unit.name, edit.photos[0], edit.latents.flatten(0, 1), profile)
    else:
        assert edit.images is not None  # [F, K, C, H, W]
        for name, images, codes in zip(unit.names(len(edit)), edit.images, edit.latents, strict=True):
            files += results.write(name, to_arrays(images), codes)
    results.run.finish(unit.name, source, files)
    return len(edit)


def _edit_latents(session: EditSession, results: _Results, unit: LatentsUnit, batch_size: int) -> int:
    """Edit those latents of a file or of some seeds that are not done, and return how many that were."""
    from deltafast.pixels import to_arrays

    source, ws = unit.source(), session.latents(unit.read())  # [N, num_ws, w_dim]
    names = unit.names(len(ws))
    todo = [row for row, name in enumerate(names) if not results.run.is_finished(name, source)]
    for start in range(0, len(todo), batch_size):
        rows = todo[start : start + batch_size]
        edit = session.edit(ws[rows], first=rows[0])
        assert edit.images is not None  # [M, K, C, H, W]
        for row, images, codes in zip(rows, edit.images, edit.latents, strict=True):
            results.run.finish(names[row], source, results.write(names[row], to_arrays(images), codes))
    return len(todo)


@dataclass(frozen=True)
class _Results:
    """Where edited images go, and where asked for the latents beside them; their names end with `labels`."""

    run: Run
    labels: list[str]
    latents: bool

    def write(
        self,
        name: str,
        images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
        codes: Tensor,
        profile: bytes | None = None,
    ) -> list[Path]:
        """Write K images `[K, H, W, C]` and latents, and return the files."""
        from safetensors.torch import save_file

        from deltafast.files import atomic_write, write_png

        files = []
        for label, image in zip(self.labels, images, strict=True):
            files.append(self.run.folder / f"{name}{label}.png")
            write_png(files[-1], image, profile=profile)
        if self.latents:
            files.append(self.run.folder / f"{name}.safetensors")
            with atomic_write(files[-1]) as temporary:
                save_file({"ws": codes.contiguous()}, temporary)
        return files


@dataclass(frozen=True)
class _Own:
    """An editor as given: its name or file, where it has one its own amount, and whether that says by or to."""

    name: str
    amount: float | None
    word: str


def _label(amount: float) -> str:
    """An amount as the names of files have it."""
    return f"{amount:+.10g}"


def _own_amount(text: str) -> _Own:
    from deltafast.errors import InvalidInputError
    from deltafast.inputs import is_there

    name, equals, amount = text.rpartition("=")
    if not equals or is_there(text):
        return _Own(text, None, "")
    word = amount[:2] if amount[:2] in ("by", "to") else ""
    try:
        value = float(amount.removeprefix(word))
    except ValueError as error:
        raise InvalidInputError(
            f"an editor's own amount is a number, as in yaw=0.5, yaw=by15 or yaw=to0; got {text!r}"
        ) from error
    if not math.isfinite(value):
        raise InvalidInputError(f"an editor's own amount must be finite; got {text!r}")
    return _Own(name, value, word)


def _editors(
    given: list[_Own], amounts: list[float], G: Generator, same_w_space: bool
) -> tuple[list[LatentEditor], list[Any], list[Any], list[float]]:
    """Return editors for this generator, what they are as JSON, their amounts, and those that the images' names say.

    The last are the sweep, or the amount of a single editor that has its own; none of several that all have.
    """
    from deltafast.delta.direction import DirectionEditor
    from deltafast.delta.editor_file import tensors_digest
    from deltafast.delta.loading import load_editor

    editors: list[LatentEditor] = []
    described: list[Any] = []
    for one in given:
        loaded = load_editor(one.name)
        if isinstance(loaded, DirectionEditor):
            editors.append(loaded.for_generator(G))
            described.append(loaded.as_json())
        else:
            fitted = loaded.for_generator(G, same_w_space=same_w_space)
            editors.append(fitted)
            described.append({**fitted.info.as_json(), "sha256": tensors_digest(loaded.state_dict())})
    own = [one.amount for one in given if one.amount is not None]
    if len(own) == len(given):  # one image for each face
        return editors, described, [[[amount]] for amount in own], own if len(own) == 1 else []
    return editors, described, [[amounts] if one.amount is None else one.amount for one in given], amounts
