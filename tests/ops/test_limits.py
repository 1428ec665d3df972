"""What kernels take at most is said once more in Python, by numbers that are those of the kernels' own files."""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path

import pytest

_LIMITS = [  # module of deltafast.ops, its name; file below csrc/kernels, the constant there
    ("conv_to_rgb", "_MAX_COLOURS", "implicit_conv.h", "kConvColours"),
    ("delta_edit", "_CHUNK", "cuda/delta_edit.cu", "kChunk"),
    ("delta_edit", "_SHARED", "cuda/delta_rows.cuh", "kMaxShared"),
    ("delta_edit", "_WARPS", "cuda/delta_rows.cuh", "kWarps"),
    ("delta_edit", "_MAX_GRID", "cuda/launch.cuh", "kMaxRows"),
    ("delta_flow", "MAX_FLOW_STEPS", "shared/flow.h", "kMaxFlowSteps"),
    ("delta_flow", "_RUNS", "delta_flow.h", "kFlowRuns"),
    ("delta_flow", "_SHARED", "cuda/delta_rows.cuh", "kMaxShared"),
    ("delta_flow", "_WARPS", "cuda/delta_rows.cuh", "kWarps"),
    ("filtered_epilogue", "_MAX_TAPS", "filtered_epilogue.h", "kMaxEpilogueTaps"),
    ("modulated_conv2d", "_INPUT_STEP", "modulated_conv3x3.h", "kConvInputStep"),
    ("modulated_conv2d", "_KERNEL_TAPS", "cuda/up_filter.cuh", "kUpTaps"),
    ("modulated_conv2d", "_MAX_TAPS", "filtered_epilogue.h", "kMaxEpilogueTaps"),
    ("modulated_conv2d", "_OUTPUT_STEP", "modulated_conv3x3.h", "kConvOutputStep"),
    ("to_rgb", "MAX_COLOURS", "to_rgb.h", "kMaxImageChannels"),
    ("to_rgb", "_MAX_TAPS", "to_rgb.h", "kMaxSkipTaps"),
]


@pytest.mark.parametrize(("module", "name", "file", "constant"), _LIMITS)
def test_a_limit_is_the_same_in_python_and_in_its_kernel(
    module: str, name: str, file: str, constant: str, repository_root: Path
) -> None:
    text = (repository_root / "csrc/kernels" / file).read_text(encoding="utf-8")
    values = re.findall(rf"constexpr \w+ (?:[^;]*, )?{constant} = ([\d* ]+)[;,]", text)
    assert len(values) == 1, f"{constant} is {len(values)} times a product of numbers in {file}"
    product = math.prod(int(factor) for factor in values[0].split("*"))
    assert getattr(importlib.import_module(f"deltafast.ops.{module}"), name) == product
