"""`deltafast evaluate`: how good edits are, and compared with what."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from deltafast.evaluation.face_sets import FaceSet
    from deltafast.evaluation.methods import UserDirection
    from deltafast.generators.base import Generator
    from deltafast.sequence_latents import SequenceLatents

__all__ = ["evaluate"]

_FIRST_TUNING_SEED = 1000


def evaluate(
    out: Annotated[Path, typer.Argument(help="Folder for report.json, report.md and the pictures.")],
    editor: Annotated[
        list[str] | None,
        typer.Option(help="Bundled editor or editor file; repeat. Default: the bundled ones that a picture tells."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Sampled faces: 0-199 or 1,5,9. Default: 0-199.")] = None,
    photos: Annotated[list[Path] | None, typer.Option(help="Folder of photos; they are projected first.")] = None,
    latents: Annotated[
        list[Path] | None, typer.Option(help="Folder or file of projected faces (.safetensors, .pt, .npy, .npz).")
    ] = None,
    hide_photos: Annotated[
        bool, typer.Option("--hide-photos", help="No pictures of the photos' or projected faces: figures only.")
    ] = False,
    psi: Annotated[float, typer.Option(help="Truncation of sampled faces.")] = 0.7,
    quick: Annotated[
        bool, typer.Option("--quick", help="Five faces, three editors, few samples: every table within minutes.")
    ] = False,
    generator: Annotated[str, typer.Option(help="Generator: a name or a checkpoint file.")] = "mobilestylegan-ffhq",
    sequences: Annotated[
        Path | None,
        typer.Option(help="Projected heads (latents.safetensors or its folder) for LINEAR of two. Default: bundled."),
    ] = None,
    direction: Annotated[
        list[str] | None,
        typer.Option(help="Another method's direction as ATTRIBUTE=FILE (.pt, .npy; [512], [1, 512], [num_ws, 512])."),
    ] = None,
    linear_of: Annotated[
        list[str] | None, typer.Option(help="Attribute of which to judge LINEAR alone, from --sequences; repeat.")
    ] = None,
    slots: Annotated[str | None, typer.Option(help="W+ slots of --linear-of, such as 0-5,8.")] = None,
    inception: Annotated[
        Path | None, typer.Option(help="Inception-v3 weights (.pth) for FID; those in torch's cache are found.")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(help="mobilenetv2: a second column of Fréchet distances, by the network of version 0.1."),
    ] = None,
    tuning: Annotated[
        bool, typer.Option("--tuning", help="Refuse seeds below 1000, which are for reports only.")
    ] = False,
    ridge_samples: Annotated[
        int | None, typer.Option(min=0, help="Faces that the ridge baseline is fitted to.")
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Folder of kept readings. Default: OUT/readings.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes; all cores on a CPU, 1 on a GPU.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...")] = None,
    compile_synthesis: Annotated[bool, typer.Option("--compile/--no-compile", help="Use torch.compile.")] = False,
) -> None:
    """Measure editors on faces, beside LINEAR and other directions: the paper's tables and figures.

    Readings are kept; interrupted, the same command goes on.
    """
    from deltafast.delta.editor import load_editor
    from deltafast.delta.slots import parse_ranges, parse_slots
    from deltafast.errors import InvalidInputError
    from deltafast.evaluation.evaluate import evaluate as run
    from deltafast.evaluation.feature_networks import load_feature_network
    from deltafast.evaluation.readings import FaceReader
    from deltafast.evaluation.settings import EvaluationInputs, EvaluationSettings
    from deltafast.faces.meter import FaceMeter
    from deltafast.generators.load import load_generator

    sampled = _number_list(seeds, quick, bool(photos or latents), parse_ranges)
    if tuning and (photos or min(sampled, default=_FIRST_TUNING_SEED) < _FIRST_TUNING_SEED):
        got = seeds or (photos[0] if photos else "those of the report")
        raise InvalidInputError(f"--tuning takes sampled faces from seed {_FIRST_TUNING_SEED} on only; got {got}")
    brought = _directions(direction or [])
    meter = FaceMeter()
    G = load_generator(generator, device=device)
    names = editor or ([] if linear_of else ["yaw", "smile", "light"] if quick else _DEFAULT_EDITORS)
    editors = [(Path(name).stem, load_editor(name)) for name in names]
    settings = EvaluationSettings.quick() if quick else EvaluationSettings()
    settings = EvaluationSettings(
        **{**vars(settings), "psi": psi, **({} if ridge_samples is None else {"ridge_samples": ridge_samples})}
    )
    count = processes or (1 if G.device.type == "cuda" else os.cpu_count() or 1)
    weights = (inception,) if features is None else (inception, features)
    networks = [load_feature_network(one) for one in weights]
    readings = work or out / "readings"
    with FaceReader(
        G,
        meter,
        readings,
        networks=networks,
        compiled=compile_synthesis,
        processes=count,
        source=generator,
        network_weights=weights,
    ) as reader:
        inputs = EvaluationInputs(
            generator=G,
            reader=reader,
            meter=meter,
            faces=_faces(G, sampled, psi, photos or [], latents or [], shown=not hide_photos),
            editors=editors,
            linear_of=linear_of or [],
            slots=None if slots is None else parse_slots(slots),
            sequences=_sequences(sequences),
            directions=brought,
            settings=settings,
            processes=count,
        )
        report = run(out, inputs)
    for entry in report["verdicts"]:
        print(f"{'reached' if entry['reached'] else 'MISSED ':<7}  {entry['what']}: {entry['figure']}")
    print(f"{report['images_synthesised']} images synthesised, {report['seconds']:.0f} s; look at {out / 'report.md'}")


_DEFAULT_EDITORS = [
    "yaw",
    "pitch",
    "smile",
    "eyes-closed",
    "mouth-open",
    "brows-raised",
    "light",
    "light-elevation",
]


def _number_list(seeds: str | None, quick: bool, others: bool, parse: Any) -> tuple[int, ...]:
    if seeds is None:
        if others:
            return ()
        seeds = "0-4" if quick else "0-199"
    found: tuple[int, ...] = parse(seeds, "seeds", 2**32 - 1)
    return found


def _faces(
    G: Generator, seeds: tuple[int, ...], psi: float, photos: list[Path], latents: list[Path], *, shown: bool
) -> list[FaceSet]:
    """Return the sets of faces: sampled, then photos, then projected ones; of the latter two `shown` decides."""
    from dataclasses import replace

    from deltafast.editing.latent_files import LATENT_SUFFIXES, read_latent_file
    from deltafast.errors import InvalidInputError
    from deltafast.evaluation.face_sets import face_set_of_latents, face_set_of_photos, face_set_of_seeds

    found = [face_set_of_seeds(G, seeds, psi)] if seeds else []
    found += [face_set_of_photos(G, folder) for folder in photos]
    for place in latents:
        files = sorted(p for p in place.iterdir() if p.suffix.lower() in LATENT_SUFFIXES) if place.is_dir() else [place]
        if not files:
            raise InvalidInputError(f"{place} holds no latents ({', '.join(LATENT_SUFFIXES)})")
        found.append(face_set_of_latents(G, [(path.stem, read_latent_file(path)) for path in files]))
    found = [one if "seeds" in one.facts else replace(one, shown=shown) for one in found]
    names = [one.name for one in found]
    return [
        one if names.count(one.name) == 1 else replace(one, name=f"{one.name}-{k + 1}") for k, one in enumerate(found)
    ]


def _sequences(given: Path | None) -> SequenceLatents:
    from importlib import resources

    from deltafast.sequence_latents import load_latents

    if given is None:
        given = Path(str(resources.files("deltafast"))) / "assets" / "latents" / "two-heads.safetensors"
    return load_latents(given / "latents.safetensors" if given.is_dir() else given)


def _directions(given: list[str]) -> list[UserDirection]:
    from deltafast.editing.latent_files import read_tensor_file
    from deltafast.errors import InvalidInputError
    from deltafast.evaluation.methods import UserDirection

    found = []
    for text in given:
        attribute, equals, file = text.partition("=")
        if not equals or not attribute or not file:
            raise InvalidInputError(f"a direction is given as ATTRIBUTE=FILE, such as yaw=pose.npy; got {text!r}")
        found.append(UserDirection(attribute, Path(file).stem, read_tensor_file(Path(file))))
    return found
