"""`deltafast app`: faces edited in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deltafast.memory import share_freed_memory

__all__ = ["app"]


def app(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")] = 7860,
    host: Annotated[str, typer.Option(help="Address to listen on; off this machine only with --password-file.")] = (
        "127.0.0.1"
    ),
    password_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the password that visitors must type.")
    ] = None,
    generator: Annotated[str, typer.Option(help="Generator: a name or a checkpoint file.")] = "mobilestylegan-ffhq",
    encoder: Annotated[Path | None, typer.Option(help="Encoder file for photos; the bundled one by default.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; cuda where there is one.")] = None,
    precision: Annotated[
        str, typer.Option(help="Of the convolutions: float32, or bfloat16 and float16, quicker on GPUs, rougher.")
    ] = "float32",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Edit faces in the browser: sampled ones or photos, a slider for every editor; nothing leaves this machine."""
    share_freed_memory()  # whoever asks is answered in another thread, one after the other

    import torch

    from deltafast.app import AppOptions, serve
    from deltafast.app.studio import Studio
    from deltafast.generators.load import load_generator
    from deltafast.generators.precision import named_precision
    from deltafast.projection import load_encoder

    options = AppOptions(host, port, password_file, browser)
    target = device or ("cuda" if torch.cuda.is_available() else "cpu")
    loaded = load_generator(generator, device=target, dtype=named_precision(precision))
    serve(Studio(loaded, encoder=None if encoder is None else load_encoder(encoder)), options, typer.echo)
