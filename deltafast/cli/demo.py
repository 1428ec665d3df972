"""`deltafast demo`: what the method starts from and what comes out of it, on one sheet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from deltafast.evaluation.figures.contact_sheet import Block
    from deltafast.generators.base import Generator
    from deltafast.sequence_latents import SequenceLatents
    from deltafast.synthetic import Manifest

__all__ = ["demo"]

_ATTRIBUTES = ("yaw", "smile", "light")
_ALPHAS = (-1.0, -0.5, 0.0, 0.5, 1.0)
_CELL = 160  # pixels


def demo(
    out: Annotated[Path, typer.Argument(help="Folder for the sheet and the rendered sequences.")] = Path("out"),
    faces: Annotated[int, typer.Option(min=1, max=64, help="How many sampled faces to edit.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first face; the others follow.")] = 0,
    psi: Annotated[float, typer.Option(help="Truncation of the sampled faces.")] = 0.7,
    batch_size: Annotated[int, typer.Option(min=1, help="Images synthesised at a time.")] = len(_ALPHAS),
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; cuda where there is one.")] = None,
) -> None:
    """Edit sampled faces along yaw, smile and light, and show them below the synthetic heads that taught it.

    Writes one contact sheet and says where it is and how long each stage took.
    """
    import torch

    from deltafast.evaluation.figures.contact_sheet import contact_sheet
    from deltafast.files import write_png
    from deltafast.generators.load import load_generator

    seconds: dict[str, float] = {}
    with _stage("loading the generator", seconds):
        target = device or ("cuda" if torch.cuda.is_available() else "cpu")
        generator = load_generator("mobilestylegan-ffhq", device=target)
    with _stage("rendering the training sequences", seconds):
        latents = _bundled_latents()
        renders = _render(out / "sequences", latents)
    with _stage("synthesising their reconstructions", seconds):
        heads = _sequences_block(generator, latents, renders, batch_size)
    with _stage(f"editing {faces} faces", seconds):
        edits = _edits_block(generator, range(seed, seed + faces), psi, batch_size)
    with _stage("laying out the sheet", seconds):
        path = out / "demo.png"
        write_png(path, contact_sheet(_ATTRIBUTES, [heads, edits]))

    width = max(len(name) for name in seconds)
    for name, spent in {**seconds, "all together": sum(seconds.values())}.items():
        print(f"  {name:<{width}}  {spent:6.1f} s")
    print(f"look at {path}; the rendered heads are in {out / 'sequences'}")


@contextmanager
def _stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    print(f"{name} ...", flush=True)
    begun = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - begun


def _bundled_latents() -> SequenceLatents:
    """Return the bundled projections of the two heads' sequences."""
    from importlib import resources

    from deltafast.sequence_latents import load_latents

    return load_latents(Path(str(resources.files("deltafast"))) / "assets" / "latents" / "two-heads.safetensors")


def _render(folder: Path, latents: SequenceLatents) -> Manifest:
    """Render the sequences that were projected."""
    from deltafast.synthetic import render_sequences

    return render_sequences(folder, attributes=_ATTRIBUTES, frames=len(latents.attributes[_ATTRIBUTES[0]]))


def _sequences_block(generator: Generator, latents: SequenceLatents, renders: Manifest, batch_size: int) -> Block:
    """Return the rows render / reconstruction of each head, as many frames of each sequence as there are alphas."""
    import numpy as np
    import torch

    from deltafast.evaluation.figures.contact_sheet import Block
    from deltafast.files import read_image
    from deltafast.progress import track

    shown = {  # attribute -> indices of the frames
        name: np.linspace(0, len(latents.attributes[name]) - 1, len(_ALPHAS)).round().astype(int).tolist()
        for name in _ATTRIBUTES
    }
    rows: list[str] = []
    pictures: list[list[NDArray[np.uint8]]] = []
    todo = [(head, name) for head in latents.identities for name in _ATTRIBUTES]
    rebuilt = {}
    for head, name in track(todo, "reconstructions"):
        ws = latents.latents[name, head][shown[name]]  # [5, L, 512]
        parts = []
        with torch.inference_mode():
            for start in range(0, len(ws), batch_size):
                parts.append(_cells(generator.synthesis(ws[start : start + batch_size].to(generator.device))))
        rebuilt[head, name] = np.concatenate(parts)  # [5, cell, cell, 3]
    for head in latents.identities:
        rows += [head, "reconstructed"]
        rendered = [
            np.stack([_fit(read_image(renders.path(renders.sequence(name, head)[index]))) for index in shown[name]])
            for name in _ATTRIBUTES
        ]
        pictures += [rendered, [rebuilt[head, name] for name in _ATTRIBUTES]]
    columns = [
        [_value_label(latents.attributes[name][index], renders.attributes[name]["unit"]) for index in shown[name]]
        for name in _ATTRIBUTES
    ]
    return Block("training sequences: synthetic heads, and their projections into W+", rows, columns, pictures)


def _edits_block(generator: Generator, seeds: range, psi: float, batch_size: int) -> Block:
    """Return one row for each sampled face, its edits along the attributes as columns."""
    import numpy as np
    import torch

    from deltafast.editing import edit_stream
    from deltafast.evaluation.figures.contact_sheet import Block
    from deltafast.generators.seeds import latents_from_seeds
    from deltafast.progress import track

    with torch.inference_mode():
        ws = latents_from_seeds(generator, seeds, psi)  # [N, L, 512]
    columns = []
    for name in _ATTRIBUTES:
        edited = edit_stream(generator, ws, name, [list(_ALPHAS)], batch_size=batch_size)
        rows = []
        for result in track(edited, f"editing: {name}", total=len(ws)):  # one face with all its alphas at a time
            assert result.images is not None  # [1, 5, 3, H, W]
            rows.append(_cells(result.images[0]))
        columns.append(np.stack(rows))  # [N, 5, cell, cell, 3]
    pictures = [[column[index] for column in columns] for index in range(len(seeds))]
    labels = [[f"α = {alpha:g}" for alpha in _ALPHAS]] * len(_ATTRIBUTES)
    return Block("edited faces, sampled from the generator", [f"seed {s}" for s in seeds], labels, pictures)


def _value_label(value: float, unit: str) -> str:
    return f"{value:.0f}°" if unit == "degree" else f"{value:.2g}"


def _cells(images: Tensor) -> NDArray[np.uint8]:
    """Float `[N, 3, H, W]` in about [-1, 1] -> uint8 `[N, cell, cell, 3]`."""
    from torch.nn.functional import interpolate

    from deltafast.pixels import to_arrays

    return to_arrays(interpolate(images.float(), size=(_CELL, _CELL), mode="area"))


def _fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((_CELL, _CELL), Image.Resampling.LANCZOS))
