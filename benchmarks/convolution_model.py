"""What each convolution of StyleGAN2 should take on a GPU, on paper: with kernels between cuDNN's, and fused.

python -m benchmarks.convolution_model [--out benchmarks/results/convolution_model.json]

Nothing here is measured. A kernel takes the longest of its products at a share of the data sheet's rate, its bytes at a
share of the data sheet's bandwidth, and, with wgmma, what its tiles read through L2; and a launch. What a tile of the
implicit matrix product computes beyond the layer (partial tiles, channels filled up, the overlap of filtered tiles)
counts as products. The shares are guesses, written into the result, to be held against measurement; so is the table of
`deltafast.ops.conv_path`, which a test holds against this.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deltafast.ops.conv_path import ConvPath
from deltafast.ops.implicit_conv import tile_size

_FP16 = 2  # bytes of a value
_IMAGE = 4
_COLOURS = 3


@dataclass(frozen=True)
class Gpu:
    """A GPU's data sheet: dense fp16 products with fp32 sums, memory; and what share `mma.sync` has of the products."""

    capability: str
    tflops: float
    gigabytes_per_second: float
    mma_share: float  # 1 where tensor cores have no other instruction

    @property
    def has_wgmma(self) -> bool:
        """Whether the kernels for sm_90a run on it."""
        return self.capability == "9.0"


# NVIDIA's data sheets. mma_share is a guess where there is wgmma, too: about half of its rate.
GPUS = {
    "A100 SXM 80 GB": Gpu("8.0", 312.0, 2039.0, 1.0),
    "RTX 4090": Gpu("8.9", 165.2, 1008.0, 1.0),
    "H100 SXM": Gpu("9.0", 989.4, 3350.0, 0.55),
    "H200": Gpu("9.0", 989.4, 4800.0, 0.55),
}
ASSUMED = {
    "share of products: cuDNN": 0.7,
    "share of products: ours, of what mma.sync reaches": 0.65,
    "share of products: ours with wgmma": 0.65,
    "share of bandwidth": 0.85,
    "gigabytes per second of L2 where there is wgmma": 5500.0,
    "seconds of a launch in a CUDA graph": 2e-6,
}
_LAUNCH = ASSUMED["seconds of a launch in a CUDA graph"]
_L2 = ASSUMED["gigabytes per second of L2 where there is wgmma"] * 1e9
_TAPS = 9


@dataclass(frozen=True)
class Layer:
    """A 3x3 convolution to `resolution`; an up-sampling one reads half of that."""

    name: str
    inputs: int
    outputs: int
    resolution: int
    up: bool


def stylegan2_layers(img_resolution: int, channel_base: int, channel_max: int = 512) -> Iterator[Layer]:
    """Yield the convolutions of StyleGAN2: config F has channel_base 32768, config E 16384."""
    width = {2**k: min(channel_base // 2**k, channel_max) for k in range(2, img_resolution.bit_length())}
    yield Layer("b4.conv1", width[4], width[4], 4, False)
    for resolution in list(width)[1:]:
        yield Layer(f"b{resolution}.conv0", width[resolution // 2], width[resolution], resolution, True)
        yield Layer(f"b{resolution}.conv1", width[resolution], width[resolution], resolution, False)


NETWORKS = {
    "StyleGAN2 config F, 1024": tuple(stylegan2_layers(1024, 32768)),
    "StyleGAN2 config E, 256": tuple(stylegan2_layers(256, 16384)),
}


def operations(layer: Layer) -> float:
    """Return the operations of a layer for one image; a transposed convolution is counted on its inputs."""
    inner = layer.resolution // 2 if layer.up else layer.resolution
    return 2.0 * 9 * inner**2 * layer.inputs * layer.outputs


def _tiles(layer: Layer, path: ConvPath, *, filtered: bool) -> tuple[float, int]:
    """Return how many tiles of positions, phase by phase, a path takes for one image, and the rows of one.

    The phases of up-sampling, with 4, 2, 2 and 1 taps of the nine, count by their taps.
    """
    inner = layer.resolution // 2 if layer.up else layer.resolution
    rows, columns = tile_size("up" if layer.up else "plain", layer.outputs, path)[0], 16
    across = (rows - 2, columns - 2) if filtered else (rows, columns)

    def of(height: int, width: int) -> int:
        return math.ceil(height / across[0]) * math.ceil(width / across[1])

    if not layer.up:
        return of(inner, inner), rows
    if path == "mma":  # all phases in one tile
        return of(inner + (not filtered), inner + (not filtered)), rows
    sizes = ((inner + 1, inner + 1, 4), (inner + 1, inner, 2), (inner, inner + 1, 2), (inner, inner, 1))
    return sum(of(height, width) * taps for height, width, taps in sizes) / _TAPS, rows


def computed(layer: Layer, path: ConvPath = "mma", *, filtered: bool = False) -> float:
    """Return the operations that an implicit matrix product does for one image, whole tiles."""
    tiles, rows = _tiles(layer, path, filtered=filtered)
    _, outputs, depth = tile_size("up" if layer.up else "plain", layer.outputs, path)
    channels = math.ceil(layer.inputs / depth) * depth * math.ceil(layer.outputs / outputs) * outputs
    return 2.0 * _TAPS * tiles * rows * 16 * channels


def through_l2(layer: Layer) -> float:
    """Return the bytes that the tiles of wgmma read for one image: a box for each column of taps, weights for each tap.

    Those of an up-sampling layer are taken as a plain one's with as many taps.
    """
    tiles, rows = _tiles(layer, "wgmma", filtered=False)
    _, outputs, depth = tile_size("up" if layer.up else "plain", layer.outputs, "wgmma")
    of_chunk = (3 * (rows + 2) * 16 + _TAPS * outputs) * depth * _FP16
    return tiles * math.ceil(layer.outputs / outputs) * math.ceil(layer.inputs / depth) * of_chunk


def _seconds(gpu: Gpu, products: float, share: float, moved: float, l2: float = 0.0) -> float:
    rate = gpu.tflops * 1e12 * share
    bandwidth = gpu.gigabytes_per_second * 1e9 * ASSUMED["share of bandwidth"]
    return max(products / rate, moved / bandwidth, l2 / _L2) + _LAUNCH


def paths(layer: Layer, gpu: Gpu, batch: int) -> dict[str, float]:
    """Return the seconds of a layer with all that follows it, on each path, for a batch."""
    size = layer.resolution
    before = batch * layer.inputs * (size // 2 if layer.up else size) ** 2 * _FP16
    after = batch * layer.outputs * size**2 * _FP16
    weights = 9 * layer.inputs * layer.outputs * _FP16
    between = batch * layer.outputs * (size + 1 if layer.up else size) ** 2 * _FP16
    image = 0 if layer.up else batch * _COLOURS * (size**2 + size**2 // 4) * _IMAGE
    cudnn, mma = ASSUMED["share of products: cuDNN"], ASSUMED["share of products: ours, of what mma.sync reaches"]
    behind = _seconds(gpu, 0.0, cudnn, between + after + image)  # filter, epilogue, image, next style
    result = {"cudnn": _seconds(gpu, batch * operations(layer), cudnn, before + weights + between) + behind}
    wgmma = ASSUMED["share of products: ours with wgmma"]
    shares: dict[ConvPath, float] = {"mma": mma * gpu.mma_share}
    if gpu.has_wgmma:
        shares["wgmma"] = wgmma
    for path, share in shares.items():
        products = batch * computed(layer, path)
        l2 = batch * through_l2(layer) if path == "wgmma" else 0.0
        # A tile that holds all channels makes the image.
        if not layer.up and layer.outputs <= tile_size("plain", layer.outputs, path)[1]:
            result[f"{path}, one pass"] = _seconds(gpu, products, share, before + weights + after + image, l2)
        else:
            result[f"{path}, two passes"] = _seconds(gpu, products, share, before + weights + between, l2) + behind
        if layer.up and path == "mma":
            products = batch * computed(layer, filtered=True)
            result["mma, one pass"] = _seconds(gpu, products, share, before + weights + after)
    return result


def model(batches: tuple[int, ...] = (1, 16)) -> dict[str, Any]:
    """Return the whole model as JSON takes it."""
    report: dict[str, Any] = {
        "what": "a model on paper; nothing in it is measured",
        "assumed": ASSUMED,
        "gpus": {name: asdict(gpu) for name, gpu in GPUS.items()},
        "networks": {},
    }
    for network, layers in NETWORKS.items():
        for batch in batches:
            for name, gpu in GPUS.items():
                rows, totals = [], {"cudnn": 0.0, "the faster": 0.0}
                for layer in layers:
                    seconds = paths(layer, gpu, batch)
                    totals["cudnn"] += seconds["cudnn"]
                    totals["the faster"] += min(seconds.values())
                    rows.append({**asdict(layer), "faster": min(seconds, key=seconds.__getitem__), "seconds": seconds})
                key = f"{network}, batch {batch}, {name}"
                totals["speed-up"] = totals["cudnn"] / totals["the faster"]
                report["networks"][key] = {"layers": rows, "seconds": totals}
    return report


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    """Write the model as JSON, and print the totals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/convolution_model.json"))
    options = parser.parse_args()
    report = _rounded(model())
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for key, entry in report["networks"].items():
        seconds = entry["seconds"]
        print(f"{key}: cuDNN {seconds['cudnn'] * 1e3:.3f} ms, the faster of both {seconds['the faster'] * 1e3:.3f} ms")


if __name__ == "__main__":
    main()
