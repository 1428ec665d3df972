"""What each convolution of StyleGAN2 should take on a GPU, on paper: with kernels between cuDNN's, and fused.

python -m benchmarks.convolution_model [--out benchmarks/results/convolution_model.json]

Nothing here is measured. A kernel takes the longer of its products at a share of the data sheet's rate and its bytes at
a share of the data sheet's bandwidth, and a launch. What a tile of the implicit matrix product computes beyond the
layer (partial tiles, channels filled up, the overlap of filtered tiles) counts as products. The shares are guesses,
written into the result, to be held against measurement; so is the table of `deltafast.ops.conv_path`, which a test
holds against this.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
    "share of bandwidth": 0.85,
    "seconds of a launch in a CUDA graph": 2e-6,
}
_LAUNCH = ASSUMED["seconds of a launch in a CUDA graph"]


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


def computed(layer: Layer, *, filtered: bool) -> float:
    """Return the operations that the implicit matrix product does for one image, whole tiles."""
    rows, outputs, depth = tile_size("up" if layer.up else "plain", layer.outputs)
    columns = 16
    across = rows - 2 if filtered else rows, columns - 2 if filtered else columns
    inner = layer.resolution // 2 + (not filtered) if layer.up else layer.resolution
    tiles = math.ceil(inner / across[0]) * math.ceil(inner / across[1])
    channels = math.ceil(layer.inputs / depth) * depth * math.ceil(layer.outputs / outputs) * outputs
    return 2.0 * 9 * tiles * rows * columns * channels


def _seconds(gpu: Gpu, products: float, share: float, moved: float) -> float:
    rate = gpu.tflops * 1e12 * share
    bandwidth = gpu.gigabytes_per_second * 1e9 * ASSUMED["share of bandwidth"]
    return max(products / rate, moved / bandwidth) + _LAUNCH


def paths(layer: Layer, gpu: Gpu, batch: int) -> dict[str, float]:
    """Return the seconds of a layer with all that follows it, on each path, for a batch."""
    size = layer.resolution
    before = batch * layer.inputs * (size // 2 if layer.up else size) ** 2 * _FP16
    after = batch * layer.outputs * size**2 * _FP16
    weights = 9 * layer.inputs * layer.outputs * _FP16
    between = batch * layer.outputs * (size + 1 if layer.up else size) ** 2 * _FP16
    image = 0 if layer.up else batch * _COLOURS * (size**2 + size**2 // 4) * _IMAGE
    cudnn, mma = ASSUMED["share of products: cuDNN"], ASSUMED["share of products: ours, of what mma.sync reaches"]
    share = mma * gpu.mma_share
    behind = _seconds(gpu, 0.0, cudnn, between + after + image)  # filter, epilogue, image, next style
    result = {"cudnn": _seconds(gpu, batch * operations(layer), cudnn, before + weights + between) + behind}
    if layer.up:
        products = batch * computed(layer, filtered=False)
        result["mma, two passes"] = _seconds(gpu, products, share, before + weights + between) + behind
        products = batch * computed(layer, filtered=True)
        result["mma, one pass"] = _seconds(gpu, products, share, before + weights + after)
        return result
    products = batch * computed(layer, filtered=False)
    if layer.outputs <= tile_size("plain", layer.outputs)[1]:  # a tile holds all channels, and makes the image
        result["mma, one pass"] = _seconds(gpu, products, share, before + weights + after + image)
    else:
        result["mma, two passes"] = _seconds(gpu, products, share, before + weights + between) + behind
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
