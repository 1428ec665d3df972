"""Which degrees are true: faces turned by known angles, read by three readers; and what a turn costs in identity.

    python -m benchmarks.turned_faces out/turned-faces --seeds 1000-1015 --seeds 0-7 --photos PHOTOS --heads 4
    python -m benchmarks.turned_faces out/turned-faces --sheet docs/evaluation/turned-faces.jpg --out ...

Every face's own pixels are laid on the fitted head model and shown at known turns (`evaluation/turned_face.py`); dlib's
landmarks, MediaPipe's mesh and WHENet read each picture, and dlib's descriptor compares it with the unturned one. Seeds
from 1000 on calibrate, others check. `--heads`: rendered heads, which are turned both ways, truly and by their pixels,
so that the method itself is checked. Finished faces are kept; the same command goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.whenet import WHENet
from deltafast.delta import load_editor
from deltafast.errors import DeltafastError, ImageError
from deltafast.evaluation.machine import describe_run
from deltafast.evaluation.readings import IMAGE_SIZE, to_pixels
from deltafast.evaluation.statistics import bootstrap_mean
from deltafast.evaluation.turned_face import TurnableFace
from deltafast.face_networks.landmarks import load_face_landmarks
from deltafast.face_networks.measures import FACE_MEASURES, FaceMeasures
from deltafast.faces.alignment import FaceAligner
from deltafast.faces.meter import FaceMeter
from deltafast.faces.pose import fit_pose
from deltafast.files import list_images, read_image, read_json, write_json
from deltafast.generators.load import load_generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.memory import keep_freed_memory
from deltafast.progress import track
from deltafast.synthetic import HeadModel, random_identity, render_frame

Pixels = NDArray[np.uint8]

YAWS, PITCHES = (-30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0), (-20.0, -10.0, 10.0, 20.0)
TURNS = [(yaw, 0.0) for yaw in YAWS] + [(0.0, pitch) for pitch in PITCHES]
READERS = ("dlib", "mesh", "whenet")
FIRST_TUNING_SEED = 1000
SHOWN = (-30.0, -20.0, 0.0, 20.0, 30.0)


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder of finished faces")
    parser.add_argument("--seeds", action="append", default=[], help="sampled faces, such as 1000-1015; repeat")
    parser.add_argument("--photos", type=Path, help="folder of photos; scikit-image's astronaut is added")
    parser.add_argument("--count", type=int, default=8, help="how many of the photos")
    parser.add_argument("--heads", type=int, default=0, help="rendered heads, turned both ways")
    parser.add_argument("--edited", type=int, default=0, help="sampled faces that the yaw editor turns, for comparison")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "turned_faces.json")
    parser.add_argument("--sheet", type=Path, help="picture of some re-rendered faces")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    try:
        rows = [row for source in _sources(options) for row in _measured(options.work, *source)]
        result = {"run": describe_run(), "turns": TURNS, "faces": rows, **summary(rows)}
        result["edited"] = _edited(options.work, options.edited) if options.edited else None
        write_json(options.out, result)
        if options.sheet is not None:
            _sheet(options, [row["face"] for row in rows if row["kind"] != "head, turned"][:: max(1, len(rows) // 6)])
    except DeltafastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for kind, table in result["readers"].items():
        for reader, figures in table.items():
            print(kind, reader, *(f"{name} {figures[name]['mean']:.3f}" for name in ("yaw_gain", "pitch_gain")))
    return 0


# ---- faces --------------------------------------------------------------------------------------------------------

Source = tuple[str, str, Callable[[float, float], Pixels] | Pixels]


def _sources(options: argparse.Namespace) -> Iterator[tuple[str, str, Any]]:
    """Yield kind, name, and what gives the picture: for rendered heads at any turn, else the picture itself."""
    seeds = [seed for given in options.seeds for seed in _range(given)]
    if seeds:
        generator = load_generator("mobilestylegan-ffhq")
        for seed in track(seeds, "sampled faces"):

            def sampled(seed: int = seed) -> Pixels:
                with torch.inference_mode():
                    image = generator.synthesis(latents_from_seeds(generator, [seed], 0.7), noise_mode="const")
                return to_pixels(image, IMAGE_SIZE)[0]

            yield "tuning" if seed >= FIRST_TUNING_SEED else "sampled", f"seed {seed}", sampled
    if options.photos is not None:
        from skimage.data import astronaut

        aligner = FaceAligner()
        paths = list_images(options.photos)
        paths = paths[:: max(1, len(paths) // options.count)][: options.count]
        photos: list[tuple[str, Any]] = [(path.stem, lambda path=path: read_image(path)) for path in paths]
        for name, read in track([("astronaut", astronaut), *photos], "photos"):

            def photo(read: Callable[[], Pixels] = read) -> Pixels:
                return aligner.align(read(), size=IMAGE_SIZE)[0].image

            yield "photo", name, photo
    model = HeadModel() if options.heads else None
    for k in track(range(options.heads), "rendered heads"):
        identity = random_identity([70, k])

        def rendered(yaw: float, pitch: float, identity: Any = identity) -> Pixels:
            values = {"yaw": yaw, "pitch": pitch}
            return render_frame(identity, values, model=model, size=IMAGE_SIZE, supersampling=1)  # type: ignore[arg-type]

        yield "head, turned", f"head {k}", rendered
        yield "head, by its pixels", f"head {k}", lambda rendered=rendered: rendered(0.0, 0.0)


def _edited(work: Path, count: int) -> dict[str, Any]:
    """Return what the readers say of faces that the bundled yaw editor turned, from alpha = -1 to 1, as JSON values."""
    path = work / f"edited-{count}.json"
    if not path.is_file():
        generator, readers, editor = load_generator("mobilestylegan-ffhq"), _Readers.shared(), load_editor("yaw")
        editor = editor.for_generator(generator)
        faces = latents_from_seeds(generator, range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + count), 0.7)
        change: dict[str, list[float]] = {reader: [] for reader in READERS}
        for face in track(faces, "edited faces"):
            with torch.inference_mode():
                ends = [editor.edit(face[None], alpha) for alpha in (-1.0, 1.0)]
                images = [to_pixels(generator.synthesis(ws, noise_mode="const"), IMAGE_SIZE)[0] for ws in ends]
            read = [readers.read(image) for image in images]
            for reader in READERS:
                yaws = [float("nan") if one is None else one[0][reader][0] for one in read]
                change[reader].append(yaws[1] - yaws[0])
        write_json(path, {reader: bootstrap_mean(np.array(values)).as_json() for reader, values in change.items()})
    found: dict[str, Any] = read_json(path)
    return found


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


# ---- readings -----------------------------------------------------------------------------------------------------


def _measured(work: Path, kind: str, name: str, source: Any) -> list[dict[str, Any]]:
    """Return the face's row, from `work` where it is finished; an empty list where no face is found."""
    path = work / f"{kind}-{name}.json".replace(" ", "-").replace(",", "")
    if not path.is_file():
        try:
            row = _read_turned(kind, source)
        except ImageError as error:
            row = {"skipped": error.reason}
        write_json(path, {"kind": kind, "face": name, **row})
    row = read_json(path)
    return [] if "skipped" in row else [row]


def _read_turned(kind: str, source: Any) -> dict[str, Any]:
    readers = _Readers.shared()
    if kind == "head, turned":
        pictures = [source(*turn) for turn in TURNS]
        fit: dict[str, Any] = {}
    else:
        image = source()
        face = readers.meter.measure(image)
        if face is None:
            return {"skipped": "no face is found"}
        turnable = TurnableFace.of(image, face.landmarks)
        pictures = [turnable.turned(*turn) for turn in TURNS]
        fit = {"pose": list(turnable.head.pose), "error": turnable.head.error}
    read = [readers.read(picture) for picture in pictures]
    still = read[TURNS.index((0.0, 0.0))]
    if still is None:
        return {"skipped": "no face is found in the re-rendered picture"}
    rows: list[dict[str, Any] | None] = []
    for one in read:
        if one is None:
            rows.append(None)
            continue
        poses, descriptor = one
        rows.append({**poses, "distance": float(np.linalg.norm(descriptor - still[1]))})
    return {"fit": fit, "read": rows}


class _Readers:
    """The three readers and dlib's descriptor."""

    _shared: _Readers | None = None

    def __init__(self) -> None:
        self.meter = FaceMeter()
        self._mesh = FaceMeasures(load_face_landmarks())
        self._whenet = WHENet()
        self._columns = [FACE_MEASURES.index(name) for name in ("yaw", "pitch")]

    @classmethod
    def shared(cls) -> _Readers:
        """Return the readers, made at the first call."""
        cls._shared = cls._shared or cls()
        return cls._shared

    def read(self, image: Pixels) -> tuple[dict[str, list[float]], NDArray[np.float64]] | None:
        """Return each reader's yaw and pitch, and the descriptor `[128]`; None where dlib finds no face."""
        face = self.meter.measure(image)
        if face is None:
            return None
        pose = fit_pose(face.landmarks)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1  # [1, 3, S, S]
        with torch.inference_mode():
            mesh = self._mesh(pixels)[0, self._columns].tolist()
        whenet = list(self._whenet.read(image, face.landmarks))
        return {"dlib": [pose.yaw, pose.pitch], "mesh": mesh, "whenet": whenet}, face.descriptor


# ---- figures ------------------------------------------------------------------------------------------------------


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return for each kind of face each reader's degrees per true degree, and the identity distance of a turn.

    `yaw_gain` and `pitch_gain`: of each face the slope of the readings over the turns up to 20 degrees, then their mean
    with its interval; `yaw_at` the mean reading at each turn, less that at none; `floor`: distances by size of turn.
    """
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    readers: dict[str, Any] = {}
    floor: dict[str, Any] = {}
    for kind in kinds:
        own = [row for row in rows if row["kind"] == kind]
        readers[kind] = {reader: _reader_figures(own, reader) for reader in READERS}
        floor[kind] = {
            axis: {
                f"{size:g}": bootstrap_mean(np.array([_at(row, axis, size, "distance") for row in own])).as_json()
                for size in sizes
            }
            for axis, sizes in (("yaw", (10.0, 20.0, 30.0)), ("pitch", (10.0, 20.0)))
        }
    return {"readers": readers, "floor": floor}


def _reader_figures(rows: list[dict[str, Any]], reader: str) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for column, axis in enumerate(("yaw", "pitch")):
        turns = [turn for turn in TURNS if turn[1 - column] == 0.0]
        change = np.array([[_change(row, reader, turn, column) for turn in turns] for row in rows])  # [N, K]
        angles = np.array([turn[column] for turn in turns])  # [K]
        near = np.abs(angles) <= 20
        there = np.isfinite(change) & near
        slopes = np.where(there, change * angles, 0).sum(1) / np.maximum(np.where(there, angles**2, 0).sum(1), 1e-9)
        figures[f"{axis}_gain"] = bootstrap_mean(np.where(there.sum(1) >= 3, slopes, np.nan)).as_json()
        figures[f"{axis}_gain_spread"] = float(np.nanstd(slopes)) if len(slopes) else None
        figures[f"{axis}_at"] = {
            f"{angle:g}": bootstrap_mean(change[:, k]).as_json() for k, angle in enumerate(angles) if angle
        }
    return figures


def _change(row: dict[str, Any], reader: str, turn: tuple[float, float], column: int) -> float:
    one, still = row["read"][TURNS.index(turn)], row["read"][TURNS.index((0.0, 0.0))]
    return float("nan") if one is None else float(one[reader][column] - still[reader][column])


def _at(row: dict[str, Any], axis: str, size: float, key: str) -> float:
    """Return the mean of both directions of a turn."""
    turns = [(sign * size, 0.0) if axis == "yaw" else (0.0, sign * size) for sign in (-1, 1)]
    found = [row["read"][TURNS.index(turn)] for turn in turns]
    return float(np.mean([one[key] if one is not None else np.nan for one in found]))


def _sheet(options: argparse.Namespace, names: list[str]) -> None:
    """Draw the re-rendered faces of some names in rows."""
    lines = []
    for kind, name, source in _sources(options):
        if name not in names or kind == "head, turned":
            continue
        image = source()
        face = _Readers.shared().meter.measure(image)
        if face is None:
            continue
        turnable = TurnableFace.of(image, face.landmarks)
        shown = [image, *(turnable.turned(yaw) for yaw in SHOWN)]
        lines.append(np.concatenate([np.asarray(Image.fromarray(one).resize((160, 160))) for one in shown], axis=1))
    options.sheet.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(lines)).save(options.sheet, quality=88)


if __name__ == "__main__":
    sys.exit(main())
