"""Which faces are found, by dlib's frontal detector alone and with the second one, and how well they are read.

    python -m benchmarks.found_faces --photos PORTRAITS --emoji NotoColorEmoji.ttf

Photos (a folder's; scikit-image's astronaut and matplotlib's Grace Hopper beside them) are turned in the picture plane
and made small; a face is found where its box lies around the one that dlib finds upright, and read right where the
landmarks lie within a tenth of the eyes' distance of that one's, turned alike. Rendered heads are turned to the side.
Drawings are faces of an emoji font, and photos in eight flat colours; what counts there is whether they are doubted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from deltafast.evaluation.machine import describe_run
from deltafast.faces.finding import FaceFinder, FoundFace
from deltafast.files import read_image, write_json
from deltafast.progress import track
from deltafast.synthetic import HeadModel, random_identity, render_frame

TURNS = (30, 45, 90, 135, 180)  # degrees
YAWS = (0, 30, 45, 60)  # degrees
SIZE = 400  # pixels of a photo's longer side before it is turned
SMALL, WIDE = 100, 1600  # ... where it is small, and of the picture that it then stands in
GREY = (128, 128, 128)
EMOJI = "\U0001f469\U0001f468\U0001f9d4\U0001f467\U0001f474\U0001f475"
RIGHT = 0.1  # of the distance between the outer corners of the eyes
Pixels = NDArray[np.uint8]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="a folder of portraits")
    parser.add_argument("--limit", type=int, default=24, help="how many of them are taken, evenly")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--emoji", type=Path, help="NotoColorEmoji.ttf; without it no emoji are drawn")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "found_faces.json")
    options = parser.parse_args(arguments)
    finders = {"dlib": FaceFinder(second=False), "both": FaceFinder()}
    photos = dict(chosen_photos(options.photos, options.limit))
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, photo in track(photos.items(), "photos"):
        upright = finders["dlib"].find(photo, every=False)
        if not upright:
            continue
        for condition, picture, expected in conditions(photo, upright[0].landmarks):
            rows.setdefault(condition, []).append({"photo": name, **seen(finders, picture, expected)})
        flat = np.asarray(Image.fromarray(photo).filter(ImageFilter.ModeFilter(9)).quantize(8).convert("RGB"))
        rows.setdefault("flat colours", []).append({"photo": name, **seen(finders, flat, upright[0].landmarks)})
    model = HeadModel()
    for k in track(range(options.heads), "rendered heads"):
        for yaw in YAWS:
            head = render_frame(random_identity([71, k]), {"yaw": float(yaw)}, model=model, size=256, supersampling=1)
            rows.setdefault(f"head at {yaw}", []).append({"photo": str(k), **seen(finders, np.array(head))})
    for sign in EMOJI if options.emoji else "":
        drawn = drawing(options.emoji, sign)
        rows.setdefault("emoji", []).append({"photo": f"U+{ord(sign):X}", **seen(finders, drawn)})
    summaries = {condition: summary(cases) for condition, cases in rows.items()}
    for condition, one in summaries.items():
        print(condition, one)
    write_json(options.out, {"run": describe_run(), "photos": [*photos], "conditions": summaries, "cases": rows})
    return 0


def chosen_photos(folder: Path, limit: int) -> Iterator[tuple[str, Pixels]]:
    """Yield names and photos of `SIZE` pixels."""
    import matplotlib
    from skimage import data

    paths = sorted(folder.glob("*.jpg"))
    yield "astronaut", resized(data.astronaut())
    yield "grace_hopper", resized(read_image(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"))
    for path in paths[:: max(1, -(-len(paths) // limit))]:
        yield path.stem, resized(read_image(path))


def resized(photo: Pixels, size: int = SIZE) -> Pixels:
    """Return a photo whose longer side has `size` pixels."""
    image = Image.fromarray(photo)
    ratio = size / max(image.size)
    return np.asarray(image.resize((round(image.width * ratio), round(image.height * ratio)), Image.Resampling.BOX))


def conditions(photo: Pixels, landmarks: NDArray[np.float64]) -> Iterator[tuple[str, Pixels, NDArray[np.float64]]]:
    """Yield what becomes of a photo: a name, the picture, and where the landmarks `[68, 2]` then are."""
    image = Image.fromarray(photo)
    for degrees in (0, *TURNS):
        turned = image.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=GREY)
        angle = np.deg2rad(degrees)
        clockwise = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        middle, new = np.array(image.size) / 2, np.array(turned.size) / 2
        yield f"turned by {degrees}", np.asarray(turned), (landmarks + 0.5 - middle) @ clockwise + new - 0.5
    small = resized(photo, SMALL)
    picture = np.full((WIDE, WIDE, 3), GREY, np.uint8)
    left, top = 900, 500
    picture[top : top + small.shape[0], left : left + small.shape[1]] = small
    scale = np.array(small.shape[1::-1]) / np.array(image.size)
    yield "small", picture, (landmarks + 0.5) * scale - 0.5 + (left, top)


def seen(
    finders: dict[str, FaceFinder], picture: Pixels, expected: NDArray[np.float64] | None = None
) -> dict[str, Any]:
    """Return for each finder whether the face is found, its landmarks' error where that is known, and the doubt."""
    return {name: answer(finder.find(picture, every=False), expected) for name, finder in finders.items()}


def answer(faces: list[FoundFace], expected: NDArray[np.float64] | None) -> dict[str, Any]:
    """Return what one finder says of one picture, as JSON values."""
    if not faces:
        return {"found": False, "elsewhere": False, "error": None, "doubted": False, "apart": None}
    face, error = faces[0], None
    found = True
    if expected is not None:
        middle = np.array([face.box[0] + face.box[2], face.box[1] + face.box[3]]) / 2
        spread = np.sqrt(np.square(expected - expected.mean(0)).sum(1).mean())
        found = bool(np.hypot(*(middle - expected.mean(0))) < spread)
        eyes = np.hypot(*(expected[45] - expected[36]))
        error = round(float(np.hypot(*(face.landmarks - expected).T).mean() / eyes), 4) if found else None
    doubted = face.doubt is not None
    return {"found": found, "elsewhere": not found, "error": error, "doubted": doubted, "apart": round(face.apart, 4)}


def summary(cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Return counts and errors of one condition, for each finder."""
    result: dict[str, Any] = {"cases": len(cases)}
    for name in ("dlib", "both"):
        answers = [case[name] for case in cases]
        right = [one["error"] for one in answers if one["error"] is not None and one["error"] <= RIGHT]
        wrong = [one for one in answers if one["elsewhere"] or (one["error"] or 0) > RIGHT]
        result[name] = {
            "found": sum(one["found"] for one in answers),
            "right": len(right) if any(one["error"] is not None for one in answers) else None,
            "wrong": len(wrong),
            "wrong_and_doubted": sum(one["doubted"] for one in wrong),
            "doubted": sum(one["doubted"] for one in answers),
            "median_error": round(float(np.median(right)), 4) if right else None,
            "worst_error": max(right) if right else None,
        }
    return result


def drawing(font: Path, sign: str) -> Pixels:
    """Return a face of an emoji font on a light ground."""
    image = Image.new("RGB", (220, 220), (240, 240, 240))
    drawn = ImageFont.truetype(str(font), 109)  # the only size that it has
    ImageDraw.Draw(image).text((40, 50), sign, font=drawn, embedded_color=True)
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    raise SystemExit(main())
