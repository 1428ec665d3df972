"""`deltafast train`: projected sequences in, one editor file out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["train"]


def train(
    sequences: Annotated[Path, typer.Argument(help="latents.safetensors from `deltafast project`, or its folder.")],
    attribute: Annotated[str, typer.Option(help="Attribute to learn: yaw, pitch, smile, eyes-closed, light ...")],
    out: Annotated[Path, typer.Option(help="Editor file to write (.safetensors).")],
    slots: Annotated[str | None, typer.Option(help="W+ slots to move, such as 0-5,8; chosen by attribute.")] = None,
    identities: Annotated[
        int | None, typer.Option(help="Use only the first ones; 2 is the paper's setting.", show_default="all")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.", show_default="1000")] = None,
    dim: Annotated[int | None, typer.Option(help="Components of the code in each slot.", show_default="16")] = None,
    width: Annotated[int | None, typer.Option(help="Hidden units in each slot.", show_default="32")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.", show_default="0.002")] = None,
    noise_encoder: Annotated[
        float | None, typer.Option(help="Noise n_a, in units of the latents' spread.", show_default="0.1")
    ] = None,
    noise_decoder: Annotated[
        float | None, typer.Option(help="Noise n_b, in units of the latents' spread.", show_default="0.5")
    ] = None,
    lambda_a: Annotated[
        float | None, typer.Option(help="Weight of the first identity's loss.", show_default="1")
    ] = None,
    lambda_b: Annotated[
        float | None, typer.Option(help="Weight of the second identity's loss.", show_default="1")
    ] = None,
    negative: Annotated[
        str | None, typer.Option(help="What alpha < 0 means: symmetric, other-end or scale.", show_default="symmetric")
    ] = None,
    extent: Annotated[
        float | None,
        typer.Option(
            "--extent", "--reach", help="Share of the way to the sequence's end that alpha 1 means.", show_default="1"
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            help="jump, the paper's, or flow: amounts add up, and minus alpha is the way back.", show_default="jump"
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Another attribute of the latents, which the edit shall leave alone; repeat for several."),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="paper, or precise: train on by what edits do to images; minutes on a CPU.", show_default="paper"
        ),
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(help="For --loss precise and --without: a name or a checkpoint; the latents' own by default."),
    ] = None,
    precise_steps: Annotated[
        int | None, typer.Option(help="Steps of the second stage of --loss precise.", show_default="240")
    ] = None,
    target_gain: Annotated[
        float | None,
        typer.Option(
            "--target-gain", "--asked-gain", help="Factor on the change that --loss precise wants.", show_default="1"
        ),
    ] = None,
    leak: Annotated[
        float | None,
        typer.Option(
            "--leak",
            "--kept",
            help="Weight that --loss precise gives to the change of everything else.",
            show_default="2",
        ),
    ] = None,
    far: Annotated[
        float | None,
        typer.Option(
            help="The largest |alpha| that --loss precise looks at; above 1 edits go farther.", show_default="1"
        ),
    ] = None,
    degrees: Annotated[
        bool | None,
        typer.Option("--degrees", help="Of yaw and pitch: --loss precise asks for the true degrees of the heads."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, pairs, noise and faces.")] = 0,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1 ...")] = "cpu",
    restart: Annotated[bool, typer.Option("--restart", help="Forget what an earlier run left.")] = False,
    report: Annotated[
        int, typer.Option(help="Hold out so many identities, train without them, and print errors on them.", min=0)
    ] = 0,
) -> None:
    """Train an editor of one attribute; interrupted, the same command goes on and ends with the same weights.

    Beside the editor are left its losses, as CSV and as a picture.
    """
    from deltafast.delta import DeltaConfig, PreciseConfig, train_editor
    from deltafast.delta.held_out import held_out_errors, write_table
    from deltafast.delta.slots import parse_slots
    from deltafast.delta.training import loss_files
    from deltafast.errors import InvalidInputError
    from deltafast.generators.load import load_generator
    from deltafast.sequence_latents import load_latents

    if out.suffix != ".safetensors":
        raise InvalidInputError(f"--out must be named like yaw.safetensors, got {out}")
    latents = load_latents(sequences / "latents.safetensors" if sequences.is_dir() else sequences)
    given: dict[str, Any] = {
        "slots": None if slots is None else parse_slots(slots),
        "identities": identities,
        "steps": steps,
        "dim": dim,
        "width": width,
        "lr": lr,
        "noise_encoder": noise_encoder,
        "noise_decoder": noise_decoder,
        "lambda_a": lambda_a,
        "lambda_b": lambda_b,
        "negative": negative,
        "extent": extent,
        "form": form,
        "without": tuple(without) if without else None,
        "loss": loss,
    }
    precise: dict[str, Any] = {
        "steps": precise_steps,
        "target_gain": target_gain,
        "leak": leak,
        "far": far,
        "degrees": degrees,
    }
    precise = {name: value for name, value in precise.items() if value is not None}
    if precise:
        given["precise"] = PreciseConfig(**precise)
    config = DeltaConfig(seed=seed, **{name: value for name, value in given.items() if value is not None})
    held_out = None
    if report:
        latents, held_out = latents.split_identities(report, seed=seed)
    loaded = None
    through_generator = config.loss == "precise" or bool(config.without)
    if generator is not None and not through_generator:
        raise InvalidInputError("--generator is for --loss precise and --without")
    if through_generator:
        loaded = load_generator(generator or latents.generator.name, device=device)
    editor = train_editor(latents, attribute, config, out=out, restart=restart, device=device, generator=loaded)
    table, picture = loss_files(out)
    print(f"{editor.attribute}: {editor.info.training['identities']} identities, slots {list(editor.slots)}")
    second = editor.info.training.get("precise")
    through = "" if second is None else f", through the generator {second['loss']:g}"
    print(f"loss {editor.info.training['loss']:g}{through}; {table} and {picture}")
    if held_out is not None:
        write_table(held_out_errors(editor, latents, held_out))
    print(f"editor: {out} ({out.stat().st_size / 1e6:.2f} MB)")
