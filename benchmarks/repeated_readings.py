"""How far two readings of one face lie apart: every measure off a picture and off its mirror image.

    python -m benchmarks.repeated_readings --faces 16

Sampled faces from seed 1000 on, which no report shows. The deviation of one reading is the root mean square difference
of the two over the square root of two; yaw and shading change their sign in the mirror, and are turned back.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from deltafast.evaluation.machine import describe_run
from deltafast.evaluation.readings import IMAGE_SIZE, to_pixels
from deltafast.faces.attributes import MEASURES, attribute_table
from deltafast.faces.meter import FaceMeter
from deltafast.files import write_json
from deltafast.generators.load import load_generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.progress import track

FIRST_SEED = 1000
TURNED_BY_MIRRORS = ("yaw", "shading")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "repeated_readings.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator, meter = load_generator("mobilestylegan-ffhq"), FaceMeter()
    images = []
    for ws in latents_from_seeds(generator, range(FIRST_SEED, FIRST_SEED + options.faces), 0.7):
        with torch.inference_mode():
            image = to_pixels(generator.synthesis(ws[None], noise_mode="const"), IMAGE_SIZE)[0]
        images += [image, np.ascontiguousarray(image[:, ::-1])]
    table = attribute_table(images, [meter.measure(image) for image in track(images, "faces and mirror images")])
    deviation = {}
    for name in MEASURES:
        once, mirrored = table[name][0::2], table[name][1::2] * (-1 if name in TURNED_BY_MIRRORS else 1)
        deviation[name] = float(np.sqrt(np.nanmean((once - mirrored) ** 2) / 2))
        print(f"{name}: {deviation[name]:.4g} ({MEASURES[name]})")
    write_json(options.out, {"run": describe_run(), "faces": options.faces, "deviation": deviation})


if __name__ == "__main__":
    main()
