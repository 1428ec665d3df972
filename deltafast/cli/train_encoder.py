"""`deltafast train-encoder`: an encoder for a generator of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train_encoder(
    generator: Annotated[str, typer.Argument(help="Generator: a name or a checkpoint file")],
    out: Annotated[Path, typer.Argument(help="Working folder; the encoder becomes OUT/encoder.safetensors")],
    samples: Annotated[int, typer.Option(min=1024, help="Number of (latent, image) pairs to sample")] = 10_240,
    epochs: Annotated[int, typer.Option(min=0, help="Passes over the pairs after the ridge regression")] = 12,
    image_steps: Annotated[int, typer.Option(min=0, help="Steps of the second stage, through the generator")] = 300,
    heads: Annotated[
        Path | None, typer.Option(help="Folder from `deltafast render`: pictures without latents for the second stage")
    ] = None,
    class_index: Annotated[
        int | None, typer.Option("--class", min=0, help="Sample one class of a conditional generator; default: all")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the training; the pairs have a fixed one")] = 0,
    device: Annotated[
        str | None,
        typer.Option(
            help="Device for sampling and training: cpu, cuda, cuda:1 ...; under torchrun cuda is one for each process."
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="Precision of the sampling: float32, float16 or bfloat16")] = "float32",
) -> None:
    """Sample pairs from a generator and train an encoder on them; interrupted, the same command goes on.

    `torchrun --nproc-per-node 8 -m deltafast train-encoder ... --device cuda` trains the same encoder on eight GPUs.
    """
    from deltafast.generators.load import load_generator
    from deltafast.generators.precision import named_precision
    from deltafast.peers import own_device
    from deltafast.projection.sampling import SampleConfig
    from deltafast.projection.train_encoder import EncoderTraining
    from deltafast.projection.train_encoder import train_encoder as run
    from deltafast.projection.train_through_generator import ImageTraining

    loaded = load_generator(generator, device=own_device(device), dtype=named_precision(dtype))
    training = EncoderTraining(epochs=epochs, seed=seed, images=ImageTraining(steps=image_steps, seed=seed))
    pairs = SampleConfig(count=samples, resolution=min(256, loaded.img_resolution), class_index=class_index)
    run(loaded, out, pairs, training, heads=heads)
    typer.echo(f"encoder: {out / 'encoder.safetensors'}; held-out figures: {out / 'training.json'}")
