"""`deltafast project`: images or synthetic sequences to W+ latents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deltafast.cli._ray_options import RayAddress, RayPerShard, RayRetry, RayThreads, RayTimeout, RayWorkers


def project(
    source: Annotated[Path, typer.Argument(help="Folder from `deltafast render`, folder of photos, or one photo")],
    out: Annotated[Path, typer.Argument(help="Folder for latents, report and pictures")],
    generator: Annotated[str, typer.Option(help="Generator: a name or a checkpoint file")] = "mobilestylegan-ffhq",
    encoder: Annotated[Path | None, typer.Option(help="Encoder file; the bundled one by default")] = None,
    likeness: Annotated[
        str | None,
        typer.Option(
            help="quick: the encoder's answer; refined: 50 steps from there, the default; tuned: refined, and the "
            "photo's face itself in the file, which `deltafast edit` carries along edits"
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Refinement steps, 50 by default; 0 leaves the encoder's answer")
    ] = None,
    prefer: Annotated[
        str, typer.Option(help="fidelity to the picture, editability (stay near the W distribution), or balanced")
    ] = "balanced",
    refine_only: Annotated[
        str | None, typer.Option(help="Of a sequence folder, refine these identities only (comma-separated)")
    ] = None,
    align: Annotated[
        str, typer.Option(help="Find and align the largest face of photos: auto (unless aligned), always, never")
    ] = "auto",
    class_index: Annotated[
        int | None,
        typer.Option(
            "--class", min=0, help="Of a conditional generator, the class near which latents stay; default: all"
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...")] = None,
    compile_synthesis: Annotated[bool, typer.Option("--compile/--no-compile", help="Use torch.compile")] = False,
    ray: RayAddress = None,
    workers: RayWorkers = None,
    threads: RayThreads = 1,
    per_shard: RayPerShard = 0,
    timeout: RayTimeout = 600.0,
    retry: RayRetry = False,
) -> None:
    """Project photos or synthetic sequences into the generator's W+ space; interrupted, the same command goes on.

    What is finished is kept, unless its photo, the generator or other settings are others now: then it is made anew.
    Photos that cannot be used are reported at the end; the rest is done.

    With --ray the photos, which may also come as a list (.txt), webdataset shards (shards/{0000..0099}.tar) or a
    parquet file of paths, are spread over processes and machines; OUT/index.parquet has a row for each.
    """
    from deltafast.cli._photo_files import align_choice
    from deltafast.cli._ray_options import project_on_ray, ray_options
    from deltafast.errors import DeltafastError, InvalidInputError
    from deltafast.generators.load import load_generator
    from deltafast.projection import ProjectionSettings, RefineConfig, load_encoder, project_images, project_sequences
    from deltafast.projection.likeness import check_likeness, refinement_steps
    from deltafast.sequence_manifest import MANIFEST_NAME

    names = None if refine_only is None else tuple(name.strip() for name in refine_only.split(",") if name.strip())
    check_likeness(likeness, steps)
    config = RefineConfig(steps=refinement_steps(likeness or "refined", steps), prefer=prefer)
    settings = ProjectionSettings(config, names, compile=compile_synthesis, class_index=class_index)
    aligning = align_choice(align)
    is_sequences = (source / MANIFEST_NAME).is_file()
    if is_sequences and align != "auto":
        raise InvalidInputError(f"--align is for photos; the frames of {source} lie as they should")
    if is_sequences and likeness == "tuned":
        raise InvalidInputError(f"--likeness tuned is for photos; {source} holds sequences, which editors learn from")
    if not is_sequences and names is not None:
        raise InvalidInputError(f"--refine-only is for folders of sequences; {source} has no {MANIFEST_NAME}")
    spread = ray_options(ray, workers, threads, per_shard, timeout, retry, device)
    if spread is not None and is_sequences:
        raise InvalidInputError("--ray is for photos; sequences of rendered heads are projected on one machine")
    if spread is not None and likeness == "tuned":
        raise InvalidInputError("--likeness tuned runs on one machine: leave --ray out")
    loaded = load_generator(generator, device=None if spread is not None else device)
    chosen = None if encoder is None else load_encoder(encoder)
    if spread is not None:
        project_on_ray(loaded, chosen, source, out, generator, encoder, settings, aligning, device, spread)
        return
    if is_sequences:
        latents = project_sequences(loaded, source, out, settings, encoder=chosen)
        typer.echo(f"{len(latents.identities)} identities -> {out / 'latents.safetensors'}")
        return
    result = project_images(loaded, source, out, settings, align=aligning, encoder=chosen, tuned=likeness == "tuned")
    for name, warnings in result.warnings.items():
        for warning in warnings:
            typer.echo(f"warning: {name}: {warning}", err=True)
    for path, reason in result.failures.items():
        typer.echo(f"skipped {path}: {reason}", err=True)
    typer.echo(f"latents are in {out}, how well they fit in {out / 'report.json'}")
    if result.failures:
        raise DeltafastError(f"{len(result.failures)} of the images could not be projected; the rest is done")
