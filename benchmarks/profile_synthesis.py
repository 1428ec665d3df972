"""Profile one synthesis: a trace for torch's tools, the per-kernel table as JSON and as a picture, the layers' floor.

    python -m benchmarks.profile_synthesis FOLDER [--subject stylegan2-f-1024] [--batch 16] [--dtype float16]

Writes FOLDER/NAME.trace.json.gz (for chrome://tracing or Perfetto), NAME.kernels.json and NAME.kernels.png.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.ceilings import measure_ceilings
from benchmarks.contenders import Subject, load_subject
from benchmarks.evidence import Evidence
from benchmarks.floor import floor_seconds, floor_table, synthesis_layers
from benchmarks.kernel_table import kernel_table, profile_call, read_trace
from benchmarks.picture import draw_kernel_table
from benchmarks.precision import float32_is_exact

_PASSES = 10
_SHRINK = 32  # the ceilings' sizes, where they are rehearsed


def profile_synthesis(subject: Subject, device: torch.device, folder: Path, *, rehearse: bool) -> dict[str, Any]:
    """Profile the plain (uncaptured, uncompiled) synthesis and write the three files; return the table."""
    generator = load_subject(subject.name, device, tiny=rehearse)
    layers = synthesis_layers(generator.tensors(), subject.batch, subject.dtype.itemsize)
    z = torch.randn(subject.batch, generator.z_dim, generator=torch.Generator().manual_seed(1000)).to(device)
    with torch.no_grad():
        ws = generator.mapping(z, truncation_psi=0.7)  # [N, L, w_dim]
    generator.to(subject.dtype)
    ceilings = measure_ceilings(device, subject.dtype, shrink=_SHRINK if rehearse else 1)
    stem = f"{subject.name}-{str(subject.dtype).removeprefix('torch.')}-batch{subject.batch}"
    trace = folder / f"{stem}.trace.json.gz"
    operations = profile_call(lambda: generator.synthesis(ws), device, trace, 2 if rehearse else _PASSES)
    table = {
        "subject": subject.case,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "ceilings": asdict(ceilings),
        **kernel_table(operations, read_trace(trace), ceilings),
        "layers": floor_table(layers, ceilings),
        "floor_of_layers_s": floor_seconds(layers, ceilings),
    }
    (folder / f"{stem}.kernels.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    draw_kernel_table(table, subject.case, folder / f"{stem}.kernels.png")
    return table


def main() -> None:
    """Read the command line and profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subject", default="stylegan2-f-1024", help="or stylegan2-e-256, mobilestylegan-1024")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--dtype", default="float16", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--evidence", type=Path, help="file for the table as a JSON row")
    parser.add_argument("--rehearse", action="store_true", help="a tiny generator: to see whether everything runs")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    float32_is_exact()
    subject = Subject(options.subject, options.batch, getattr(torch, options.dtype))
    device = torch.device(options.device)
    table = profile_synthesis(subject, device, options.folder, rehearse=options.rehearse)
    Evidence(options.evidence).add(name=subject.case, **table)
    print(
        f"{subject.case}: {1e3 * table['seconds']:.3f} ms in kernels, {1e3 * table['floor_of_layers_s']:.3f} ms floor"
    )


if __name__ == "__main__":
    main()
