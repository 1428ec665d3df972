"""`deltafast edit`: a folder of latents or faces, or sampled ones, through editors to images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from deltafast.delta.editor import Editor
    from deltafast.generators.base import Generator

__all__ = ["edit"]


def edit(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="[INPUT] OUT",
            help="INPUT: a folder or file of latents (.pt, .npy, .npz, .safetensors) or of aligned faces; none with "
            "--seeds. Where a folder holds both, the latents are taken. OUT: folder for the images.",
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
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...")] = None,
    compile_synthesis: Annotated[bool, typer.Option("--compile/--no-compile", help="Use torch.compile.")] = False,
) -> None:
    """Edit a folder of latents or aligned faces, or sampled faces; interrupted, the same command goes on.

    Every result is OUT/NAME_ALPHA.png. Files that cannot be read are reported at the end; the rest is done.
    """
    from deltafast.delta.slots import check_slots, parse_slots
    from deltafast.editing import edit_batch
    from deltafast.errors import DeltafastError, InvalidInputError
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
    if noise_mode not in NOISE_MODES:
        raise InvalidInputError(f"--noise-mode is one of {', '.join(NOISE_MODES)}; got {noise_mode!r}")
    out = places[-1]
    G = load_generator(generator, device=device)
    chosen = None if layers is None else check_slots(parse_slots(layers), G.num_ws)
    editors, alphas, sweep = _editors(editor, amounts, G)
    units = list(
        _seed_units(seeds, psi, G, max(1, batch_size // len(sweep))) if seeds is not None else _file_units(places[0])
    )
    settings = {
        "generator": G.fingerprint,
        "editors": [one.info.as_json() for one in editors],
        "alphas": alphas,
        "layers": None if chosen is None else list(chosen),
        "noise_mode": noise_mode,
        "raw": raw,
        "latents": latents,
        "psi": psi if seeds is not None else None,
    }
    begin_or_resume(out / "settings.json", settings)
    synthesise = G.compiled() if compile_synthesis else True
    failures: list[str] = []
    written = 0
    for unit in track(units, "editing"):
        try:
            source, names = unit.read()
            todo = [
                k for k, name in enumerate(names) if not all(p.exists() for p in _outputs(out, name, sweep, latents))
            ]
            for start in range(0, len(todo), batch_size):
                rows = todo[start : start + batch_size]
                result = edit_batch(
                    G,
                    [source[k] for k in rows] if isinstance(source, list) else source[rows],
                    editors,
                    alphas,
                    batch_size=batch_size,
                    layers=chosen,
                    noise_mode=noise_mode,  # type: ignore[arg-type]
                    raw=raw,
                    output="uint8",
                    synthesise=synthesise,
                    output_device="cpu",
                )
                for k, row in enumerate(rows):
                    _write(out, names[row], sweep, result.images[k], result.latents[k] if latents else None)  # type: ignore[index]
                written += len(rows)
        except DeltafastError as error:
            if _is_fatal(error):
                raise
            failures.append(str(error) if unit.label in str(error) else f"{unit.label}: {error}")
    print(f"{written} faces edited, {len(units)} inputs seen; images are in {out}")
    for failure in failures:
        typer.echo(f"skipped {failure}", err=True)
    if failures:
        raise DeltafastError(f"{len(failures)} of {len(units)} inputs could not be edited; the rest is done")


@dataclass(frozen=True)
class _Unit:
    """What is read at once: one file, or a few seeds."""

    label: str
    read: Callable[[], tuple[Any, list[str]]]


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


def _seed_units(text: str, psi: float, G: Generator, size: int) -> Iterator[_Unit]:
    from deltafast.delta.slots import parse_ranges

    seeds = parse_ranges(text, "seeds", 2**32 - 1)
    for start in range(0, len(seeds), size):
        part = seeds[start : start + size]
        yield _Unit(f"seeds {part[0]}-{part[-1]}", lambda part=part: _sample(part, psi, G))  # type: ignore[misc]


def _sample(seeds: tuple[int, ...], psi: float, G: Generator) -> tuple[Any, list[str]]:
    from deltafast.generators.seeds import latents_from_seeds

    ws = latents_from_seeds(G, seeds, psi)  # [N, num_ws, w_dim]
    return ws, [f"seed{seed:04d}" for seed in seeds]


def _file_units(source: Path) -> Iterator[_Unit]:
    from deltafast.cli._latent_files import LATENT_SUFFIXES
    from deltafast.errors import InvalidInputError
    from deltafast.files import IMAGE_SUFFIXES

    known = (*LATENT_SUFFIXES, *IMAGE_SUFFIXES)
    if source.is_dir():
        files = sorted(p for p in source.iterdir() if p.suffix.lower() in known and p.is_file())
        # a folder from `deltafast project` has pictures for people beside its latents
        paths = [p for p in files if p.suffix.lower() in LATENT_SUFFIXES] or files
    elif source.is_file() and source.suffix.lower() in known:
        paths = [source]
    else:
        raise InvalidInputError(f"{source} is neither a folder nor a file of latents or images ({', '.join(known)})")
    if not paths:
        raise InvalidInputError(f"{source} holds neither latents nor images ({', '.join(known)})")
    stems = [path.stem for path in paths]
    for path in paths:
        name = path.stem if stems.count(path.stem) == 1 else path.name
        yield _Unit(str(path), lambda path=path, name=name: _read(path, name))  # type: ignore[misc]


def _read(path: Path, name: str) -> tuple[Any, list[str]]:
    from deltafast.cli._latent_files import LATENT_SUFFIXES, read_latent_file

    if path.suffix.lower() not in LATENT_SUFFIXES:
        return [path], [name]
    ws = read_latent_file(path)
    return ws, [name] if len(ws) == 1 else [f"{name}-{k:04d}" for k in range(len(ws))]


def _outputs(out: Path, name: str, sweep: list[float], latents: bool) -> list[Path]:
    pictures = [out / f"{name}_{alpha:+.10g}.png" for alpha in sweep]
    return [*pictures, out / f"{name}.safetensors"] if latents else pictures


def _write(out: Path, name: str, sweep: list[float], images: Any, latents: Any) -> None:
    from safetensors.torch import save_file

    from deltafast.files import atomic_write, write_png

    for path, image in zip(_outputs(out, name, sweep, False), images, strict=True):
        write_png(path, image.permute(1, 2, 0).contiguous().numpy())
    if latents is not None:
        with atomic_write(out / f"{name}.safetensors") as temporary:
            save_file({"ws": latents.contiguous()}, temporary)


def _is_fatal(error: Exception) -> bool:
    """Whether an error concerns the whole run and not one input."""
    from deltafast.errors import DiskError, DownloadError, EditorError, EncoderError

    return isinstance(error, (DiskError, DownloadError, EditorError, EncoderError))
