"""What the extension module says of itself is what its stub says, and every op is there whole."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from deltafast import ops
from deltafast.errors import NativeOpError
from deltafast.ops import _library

_STUB = Path(_library.__file__).parent.parent / "_C.pyi"


def _stub() -> tuple[set[str], set[str]]:
    """The functions of the stub, and the keys of a build's description."""
    body = ast.parse(_STUB.read_text(encoding="utf-8")).body
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    (described,) = (node for node in body if isinstance(node, ast.ClassDef))
    return functions, {ast.unparse(node.target) for node in described.body if isinstance(node, ast.AnnAssign)}


def test_the_stub_lists_what_the_module_has() -> None:
    functions, keys = _stub()
    assert functions == {name for name in dir(_library._C) if not name.startswith("_")}
    assert keys == set(_library._C.build_info())


def _schemas() -> set[str]:
    own = {schema.name for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("deltafast::")}
    return {name.removeprefix("deltafast::") for name in own}


def test_every_op_has_a_fake() -> None:
    names = _schemas()
    assert {"modulated_epilogue", "modulated_epilogue_backward", "philox_normal"} <= names
    without = {
        name
        for name in names
        if not torch._library.simple_registry.singleton.find(f"deltafast::{name}").fake_impl.kernel
    }
    assert not without


def test_every_native_op_has_a_reference_beside_it() -> None:
    public = {name for name in _schemas() if not name.endswith(("_backward", "_stored")) and hasattr(ops, name)}
    assert len(public) > 10
    assert not {name for name in public if name != "pack_conv3x3" and not hasattr(ops, f"{name}_reference")}


def test_what_no_kernel_takes_is_refused_before_memory_is_read() -> None:
    half = torch.zeros(1, 4, 2, 2, dtype=torch.float16)
    call = torch.ops.deltafast.modulated_epilogue
    with pytest.raises(RuntimeError, match=r"modulated_epilogue: the (CPU|CUDA) kernels take"):
        call(half.to(torch.int32), None, None, None, None, None, 0.2, 1.0, None)
    if _library._KERNELS["cpu"] == "cpu":
        with pytest.raises(RuntimeError, match="modulated_epilogue: the CPU kernels take float32 and float64"):
            call(half, None, None, None, None, None, 0.2, 1.0, None)


def test_a_kernel_without_a_gradient_says_what_to_call() -> None:
    weight = torch.zeros(2, 2, 3, 3, requires_grad=True)
    with pytest.raises(NativeOpError, match=r"pack_conv3x3: the native kernel has no gradient\. Call modulated_conv2d"):
        torch.ops.deltafast.pack_conv3x3(weight, False).sum().backward()
