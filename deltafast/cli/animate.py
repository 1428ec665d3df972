"""`deltafast animate`: faces that move along a path of edits, as GIF, WebP or MP4."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deltafast.cli._edit_inputs import LatentsUnit, PhotoUnit

__all__ = ["animate"]


def animate(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="[INPUT] OUT",
            help="INPUT: a folder or file of latents or of photos, as for `deltafast edit`; none with --seeds. "
            "OUT: folder for the moving pictures.",
        ),
    ],
    editor: Annotated[
        list[str],
        typer.Option(
            help="Bundled editor, editor file, or a direction (.npy, .pt); repeat for several. NAME=by-20,20, "
            "NAME=to0,15 or NAME=-1,1 gives it a way of its own; one number is a way that does not move."
        ),
    ],
    by: Annotated[
        list[float] | None,
        typer.Option(help="What is passed, in the attribute's unit (see `deltafast editors`): --by -20 --by 20."),
    ] = None,
    to: Annotated[list[float] | None, typer.Option(help="The same as readings: --to 0 --to 15.")] = None,
    alpha: Annotated[
        list[float] | None, typer.Option(help="The same in alpha, for attributes that nothing reads off a picture.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End where the path ends; default: there and back.")] = False,
    frames: Annotated[int, typer.Option(min=2, help="How many.")] = 48,
    fps: Annotated[float, typer.Option(help="Frames a second; GIF: at most 50.")] = 25.0,
    size: Annotated[int, typer.Option(min=16, help="The longer side in pixels, at most.")] = 512,
    file_format: Annotated[
        str, typer.Option("--format", help="gif, webp, or mp4 (needs `pip install 'deltafast[video]'`).")
    ] = "gif",
    seeds: Annotated[str | None, typer.Option(help="Sampled faces instead: 0-63 or 1,5,9.")] = None,
    psi: Annotated[float, typer.Option(help="Truncation of sampled faces.")] = 0.7,
    generator: Annotated[str, typer.Option(help="Generator: a name or a checkpoint file.")] = "mobilestylegan-ffhq",
    batch_size: Annotated[int, typer.Option(min=1, help="Images synthesised at once.")] = 8,
    align: Annotated[str, typer.Option(help="Find and align faces in photos: auto, always, never.")] = "auto",
    faces: Annotated[
        str, typer.Option(help="Which faces of a photo: largest, all, or a number; 0 is the largest.")
    ] = "largest",
    likeness: Annotated[
        str | None,
        typer.Option(
            help="Of photos: quick, refined, or tuned, which carries the photo; default as in `deltafast edit`."
        ),
    ] = None,
    refine_steps: Annotated[int | None, typer.Option(min=0, help="Steps of refinement of projected photos.")] = None,
    paste_back: Annotated[
        bool, typer.Option("--paste-back", help="Whole photos, the face moving in its place.")
    ] = False,
    paste_mask: Annotated[
        str | None,
        typer.Option(
            help="What --paste-back replaces: the face; the head, with hair, ears and glasses; or the whole crop with "
            "its background. Default: face; of "
            "tuned photos crop."
        ),
    ] = None,
    encoder: Annotated[Path | None, typer.Option(help="Encoder file for photos; the bundled one by default.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...")] = None,
) -> None:
    """Let faces move along a path of edits, at constant speed in the attribute; interrupted, the same command goes on.

    `deltafast animate --seeds 0-3 OUT --editor yaw --by -20 --by 20` writes OUT/seed0000.gif and so on; of photos
    OUT/NAME.gif (NAME-0, NAME-1 ... where one gives several faces). What is finished is kept.
    """
    from deltafast.cli._edit_inputs import PhotoUnit, file_units, seed_units
    from deltafast.cli._photo_files import align_choice, face_choice, one_of, reported, warned
    from deltafast.cli._wording import counted
    from deltafast.editing import EditOptions
    from deltafast.editing.animation import AnimationPath, Animator
    from deltafast.editing.named_editors import named_editors
    from deltafast.editing.named_ways import named_ways
    from deltafast.editing.samples import with_default_likeness
    from deltafast.errors import InvalidInputError
    from deltafast.faces.pasting import PASTE_MASKS
    from deltafast.generators.load import load_generator
    from deltafast.inputs import Failures
    from deltafast.moving_pictures import check_format
    from deltafast.progress import track
    from deltafast.projection import LIKENESSES, load_encoder
    from deltafast.runs import Run

    if len(places) != (1 if seeds is not None else 2):
        raise InvalidInputError("expected OUT with --seeds, else INPUT and OUT")
    suffix = check_format(file_format)
    given = {word: way for word, way in (("alpha", alpha), ("by", by), ("to", to)) if way}
    ways = named_ways(editor, given)
    path = AnimationPath(ways.keys, there_and_back=not once)
    mask = True if paste_mask is None else one_of("--paste-mask", paste_mask, PASTE_MASKS)
    chosen = None if encoder is None else load_encoder(encoder)
    options = EditOptions(
        batch_size=batch_size,
        align=align_choice(align),
        face=face_choice(faces),
        likeness=None if likeness is None else one_of("--likeness", likeness, LIKENESSES),  # type: ignore[arg-type]
        refine_steps=refine_steps,
        paste_back=mask if paste_back else False,  # type: ignore[arg-type]
        encoder=chosen,
    )
    out = places[-1]
    G = load_generator(generator, device=device)
    units = [*seed_units(seeds, psi, None, G, 1)] if seeds is not None else [*file_units(places[0], out)]
    for unit in units:
        if paste_back and type(unit) is not PhotoUnit:  # a tuned face comes without its photo
            raise InvalidInputError(f"--paste-back needs photos; {unit.label} holds none to put faces back into")
    if seeds is None and places[0].is_file() and type(units[0]) is PhotoUnit:
        options = with_default_likeness(options, G, places[0])
    fitted = named_editors(ways.editors, [], G)
    animator = Animator(G, fitted.editors, path, word=ways.word, frames=frames, size=size, options=options)
    settings = {
        **options.as_json(),
        "generator": G.fingerprint,
        "editors": fitted.described,
        "path": {"word": ways.word, "keys": ways.keys.tolist(), "there_and_back": not once},
        "frames": frames,
        "fps": fps,
        "size": size,
        "format": suffix,
        "psi": psi if seeds is not None else None,
        "encoder": None if chosen is None else chosen.digest(),
    }
    run = Run(out, "animate", settings)
    failures = Failures()
    for unit in track(units, "animating"):
        with failures.of(unit.label), warned(unit.label):
            source = unit.source()
            (name,) = _names(unit, 1)
            if run.is_finished(name, source):
                continue
            made = list(animator.animations(unit.path if isinstance(unit, PhotoUnit) else unit.read()))
            files = [out / f"{one}.{suffix}" for one in _names(unit, len(made))]
            for file, animation in zip(files, made, strict=True):
                animation.save(file, fps=fps)
            run.finish(name, source, files)
    print(f"{counted(len(units), 'input', 'seen')}; moving pictures are in {out}")
    reported(failures, len(units), "inputs could not be animated")


def _names(unit: PhotoUnit | LatentsUnit, count: int) -> list[str]:
    """Return the names of an input's moving pictures, of which there are `count`."""
    from deltafast.cli._edit_inputs import PhotoUnit

    if not isinstance(unit, PhotoUnit):
        return unit.names(count)
    return [unit.name] if count == 1 else [f"{unit.name}-{number}" for number in range(count)]
