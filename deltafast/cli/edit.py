"""`deltafast edit`: a folder of latents or photos, or sampled faces, through editors to images."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deltafast.cli._ray_options import RayAddress, RayPerShard, RayRetry, RayThreads, RayTimeout, RayWorkers

if TYPE_CHECKING:
    from deltafast.cli._edit_inputs import LatentsUnit, PhotoUnit
    from deltafast.cli._reached import ReachedReport
    from deltafast.editing import EditSession
    from deltafast.editing.result_files import ResultFiles
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
    likeness: Annotated[
        str | None,
        typer.Option(
            help="How like the person a photo's unedited face is: quick (a look-alike), refined (fifty steps closer), "
            "tuned (the photo itself, carried along the edit). Default: refined with --refine-steps; else a single "
            "photo is tuned, and folders are quick."
        ),
    ] = None,
    refine_steps: Annotated[
        int | None, typer.Option(min=0, help="Steps of refinement of projected photos: closer, but slower.")
    ] = None,
    paste_back: Annotated[
        bool, typer.Option("--paste-back", help="Write whole photos, with the edited faces in their places.")
    ] = False,
    paste_mask: Annotated[
        str | None,
        typer.Option(
            help="What --paste-back replaces: the face; the head, with hair, ears and glasses; or the whole crop with "
            "its background. Default: face; of "
            "tuned photos crop, where only the edit's changes are added."
        ),
    ] = None,
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
    ray: RayAddress = None,
    workers: RayWorkers = None,
    threads: RayThreads = 1,
    per_shard: RayPerShard = 0,
    timeout: RayTimeout = 600.0,
    retry: RayRetry = False,
) -> None:
    """Edit a folder of latents or photos, or sampled faces; interrupted, the same command goes on.

    Every result is OUT/NAME_ALPHA.png, or NAME_by+15.png, NAME_to+0.png (NAME-0, NAME-1 ... where a photo gives several
    faces); those of subfolders lie in subfolders. What is finished is kept, unless its input, the editors, the
    generator or other settings are others now: then it is made anew. Files that cannot be read or show no face are
    reported at the end; the rest is done.

    With --ray the work is spread over processes and machines, INPUT may also be a list (.txt), webdataset shards
    (shards/{0000..0099}.tar) or a parquet file of paths or latents, and OUT/index.parquet has a row for each sample.
    """
    from deltafast.cli._edit_inputs import LatentsUnit, PhotoUnit, file_units, seed_units
    from deltafast.cli._photo_files import align_choice, face_choice, one_of, reported, warned
    from deltafast.cli._ray_options import absolute, edit_on_ray, ray_options
    from deltafast.cli._reached import ReachedReport
    from deltafast.cli._wording import counted
    from deltafast.delta.slots import parse_slots
    from deltafast.editing import EditOptions, EditSession
    from deltafast.editing.named_editors import amount_label, given_editor, named_editors
    from deltafast.editing.result_files import ResultFiles
    from deltafast.editing.samples import with_default_likeness
    from deltafast.errors import InvalidInputError
    from deltafast.faces.pasting import PASTE_MASKS
    from deltafast.generators.load import load_generator
    from deltafast.generators.seeds import latents_from_seeds
    from deltafast.generators.synthesis import NOISE_MODES
    from deltafast.inputs import Failures
    from deltafast.progress import track
    from deltafast.projection import LIKENESSES, load_encoder
    from deltafast.runs import Run
    from deltafast.scale.jobs import EditJob

    if len(places) != (1 if seeds is not None else 2):
        raise InvalidInputError("expected OUT with --seeds, else INPUT and OUT")
    given = {word: amounts for word, amounts in (("alpha", alpha), ("by", by), ("to", to)) if amounts}
    if len(given) > 1:
        raise InvalidInputError(
            f"give one of --alpha, --by and --to, not {' and '.join(f'--{word}' for word in given)}"
        )
    own = [given_editor(text) for text in editor]
    words = sorted({*given, *(one.word for one in own if one.word)})
    if len(words) > 1:
        raise InvalidInputError(f"alpha, by and to cannot be mixed in one run; {' and '.join(words)} are given")
    word = words[0] if words else "alpha"
    amounts = given.get(word, [1.0])
    if given and all(one.amount is not None for one in own):
        raise InvalidInputError(f"--{word} is for editors without an amount of their own, and each of these has one")
    if not all(math.isfinite(a) for a in amounts) or len({amount_label(a) for a in amounts}) != len(amounts):
        raise InvalidInputError(f"values of --{word} must be finite and all different, got {amounts}")
    if not math.isfinite(psi):
        raise InvalidInputError(f"--psi must be a finite number, got {psi}")
    if seeds is None and class_index is not None:
        raise InvalidInputError("--class is for sampled faces, with --seeds")
    if seeds is not None and paste_back:
        raise InvalidInputError("--paste-back needs photos; sampled faces come without one")
    mask = True if paste_mask is None else one_of("--paste-mask", paste_mask, PASTE_MASKS)
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
        likeness=None if likeness is None else one_of("--likeness", likeness, LIKENESSES),  # type: ignore[arg-type]
        refine_steps=refine_steps,
        paste_back=mask if paste_back else False,  # type: ignore[arg-type]
        encoder=chosen,
        same_w_space=same_w_space,
        order=one_of("--order", order, ("together", "sequence")),  # type: ignore[arg-type]
    )
    out = places[-1]
    spread = ray_options(ray, workers, threads, per_shard, timeout, retry, device)
    files = seeds is None and spread is None
    units: list[PhotoUnit | LatentsUnit] = list(file_units(places[0], out)) if files else []
    for unit in units:
        if paste_back and type(unit) is not PhotoUnit:
            holds = "a face without its photo" if isinstance(unit, PhotoUnit) else "latents"
            raise InvalidInputError(f"--paste-back needs photos; {unit.label} holds {holds}")
    G = load_generator(generator, device=None if spread is not None else device)
    if files and places[0].is_file() and type(units[0]) is PhotoUnit:
        options = with_default_likeness(options, G, units[0].path)
    named = named_editors(own, amounts, G, same_w_space=same_w_space)
    alphas = named.amounts
    if compile_synthesis:
        options = replace(options, synthesise=G.compiled())
    options = replace(options, by=alphas if word == "by" else None, to=alphas if word == "to" else None)
    session = EditSession(G, named.editors, alphas if word == "alpha" else None, options)
    if seeds is not None and spread is None:
        units = [*seed_units(seeds, psi, class_index, G, max(1, batch_size // max(1, len(named.sweep))))]
    settings = {
        **options.as_json(),
        "generator": G.fingerprint,
        "editors": named.described,
        "alphas": alphas if word == "alpha" else None,
        "latents": latents,
        "psi": psi if seeds is not None else None,
        "class": class_index,
        "encoder": None if chosen is None else chosen.digest(),
    }
    if spread is not None:
        if seeds is not None:
            latents_from_seeds(G, (), psi, class_index=class_index)  # a class that does not fit ends the run here
        file = None if encoder is None else str(encoder.absolute())
        plain = replace(options, synthesise=True, by=None, to=None, encoder=file)
        typed = tuple(absolute(one) for one in editor)
        job = EditJob(typed, tuple(amounts), word, absolute(generator), device, plain, psi, class_index, latents)
        job = replace(job, compile=compile_synthesis)
        edit_on_ray(job, None if seeds is not None else places[0], seeds, out, {"command": "edit", **settings}, spread)
        return
    run = Run(out, "edit", settings)
    results = ResultFiles(named.labels(word), named.provenance(word, G), latents)
    failures = Failures()
    reached = ReachedReport()
    edited = 0
    for unit in track(units, "editing"):
        with failures.of(unit.label), warned(unit.label):
            if not isinstance(unit, LatentsUnit):
                edited += _edit_photo(session, results, run, unit, reached)
            else:
                edited += _edit_latents(session, results, run, unit, batch_size, reached)
    reached.close()
    print(f"{counted(edited, 'face', 'edited')}, {counted(len(units), 'input', 'seen')}; images are in {out}")
    reported(failures, len(units), "inputs could not be edited")


def _edit_photo(session: EditSession, results: ResultFiles, run: Run, unit: PhotoUnit, reached: ReachedReport) -> int:
    """Edit the faces of a photo, or a tuned face, unless that is done, and return how many there are."""
    source = unit.source()
    if run.is_finished(unit.name, source):
        return 0
    edit = session.edit(unit.path)
    for told in edit.warnings:
        typer.echo(f"warning: {unit.label}: {told}", err=True)
    run.finish(unit.name, source, results.write_photo(run.folder, unit.name, edit))
    several = len(edit) > 1
    reached.add([f"{unit.name}-{number}" if several else unit.name for number in range(len(edit))], edit)
    return len(edit)


def _edit_latents(
    session: EditSession, results: ResultFiles, run: Run, unit: LatentsUnit, batch_size: int, reached: ReachedReport
) -> int:
    """Edit those latents of a file or of some seeds that are not done, and return how many that were."""
    source, ws = unit.source(), session.latents(unit.read())  # [N, num_ws, w_dim]
    names = unit.names(len(ws))
    todo = [row for row, name in enumerate(names) if not run.is_finished(name, source)]
    for start in range(0, len(todo), batch_size):
        rows = todo[start : start + batch_size]
        chosen = [names[row] for row in rows]
        edit = session.edit(ws[rows], first=rows[0])
        for name, files in zip(chosen, results.write_rows(run.folder, chosen, edit), strict=True):
            run.finish(name, source, files)
        reached.add(chosen, edit)
    return len(todo)
