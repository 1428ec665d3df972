"""What the public functions are given: what they cannot use is refused by an error of ours that says what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_editors import random_editor

import deltafast
from deltafast.arguments import check_device, slots_of, tensor_of_array
from deltafast.delta import Editor
from deltafast.errors import InvalidInputError
from deltafast.generators.base import Generator
from deltafast.generators.load import load_generator, save_generator
from deltafast.generators.seeds import latents_from_seeds


@pytest.fixture(scope="module")
def editor(tiny_generator: Generator) -> Editor:
    """An editor of the small generator with random weights."""
    return random_editor(tiny_generator)


# ---- a mask is a mask, and numbers are numbers -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, np.array])
def test_a_boolean_mask_of_the_right_length_chooses_its_slots(kind: Callable[[Any], Any]) -> None:
    assert slots_of(kind([False, True, False, True]), 4) == (1, 3)
    assert slots_of(kind([False] * 4), 4) == ()
    assert slots_of(kind([3, 0, 3]), 4) == (0, 3)
    for wrong in ([True, False], [True] * 5):
        with pytest.raises(InvalidInputError, match="mask of 4"):
            slots_of(kind(wrong), 4)


@pytest.mark.parametrize("wrong", ["0-2", "12", [0, True, 1, 1], [0.0], [1.5], [None], [[0]], [4], [-1], object(), 1.5])
def test_what_is_neither_numbers_nor_a_mask_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="slots"):
        slots_of(wrong, 4)


def test_a_mask_limits_an_edit_as_its_numbers_do(tiny_generator: Generator, editor: Editor) -> None:
    ws = torch.randn(2, tiny_generator.num_ws, tiny_generator.w_dim)
    mask = torch.zeros(tiny_generator.num_ws, dtype=torch.bool)
    mask[[2, 4]] = True

    def edited(layers: Any) -> torch.Tensor:
        return deltafast.edit_batch(tiny_generator, ws, editor, 1.0, layers=layers, synthesise=False).latents

    assert torch.equal(edited(mask), edited([2, 4]))
    assert not torch.equal(edited(mask)[:, 2], ws[:, 2])
    assert torch.equal(edited(mask)[:, [0, 1]], ws[:, [0, 1]])
    with pytest.raises(InvalidInputError, match="mask"):
        edited(mask[:-1])


# ---- kinds of tensors ------------------------------------------------------------------------------------------------


def _odd_tensors(ws: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "meta": ws.to("meta"),
        "sparse": ws.to_sparse(),
        "float8": ws.to(torch.float8_e4m3fn),
        "complex": ws.to(torch.complex64),
        "int64": ws.long(),
        "bool": ws.bool(),
    }


@pytest.mark.parametrize("kind", ["meta", "sparse", "float8", "complex", "int64", "bool"])
def test_tensors_of_kinds_that_no_latents_have_are_named(kind: str, tiny_generator: Generator, editor: Editor) -> None:
    odd = _odd_tensors(torch.zeros(2, tiny_generator.num_ws, tiny_generator.w_dim))[kind]
    odd_z = _odd_tensors(torch.zeros(2, tiny_generator.z_dim))[kind]
    for call in (
        lambda: deltafast.edit_batch(tiny_generator, odd, editor, 1.0),
        lambda: list(deltafast.edit_stream(tiny_generator, odd, editor, 1.0)),
        lambda: editor.edit(odd, 1.0),
        lambda: editor.encode(odd, odd),
        lambda: tiny_generator.synthesis(odd),
        lambda: tiny_generator.mapping(odd_z),
    ):
        with pytest.raises(InvalidInputError, match=rf"(?i){kind}"):
            call()


def test_arrays_of_any_byte_order_are_the_same_latents(tiny_generator: Generator, editor: Editor) -> None:
    ws = np.random.default_rng(0).normal(size=(2, tiny_generator.num_ws, tiny_generator.w_dim)).astype(np.float32)

    def edited(array: Any) -> torch.Tensor:
        return deltafast.edit_batch(tiny_generator, array, editor, 1.0, synthesise=False).latents

    for order in ("<f4", ">f4"):
        assert torch.equal(edited(ws.astype(order)), edited(torch.from_numpy(ws)))
    assert tensor_of_array(ws[::-1].astype(">f8")[:, ::2], "x").dtype == torch.float64
    for wrong in (np.float128, np.complex64, np.int32):
        with pytest.raises(InvalidInputError, match=np.dtype(wrong).name):
            edited(ws.astype(wrong))


# ---- generators and devices ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["mobilestylegan-ffhq", None, 7, Generator, torch.nn.Linear(2, 2)])
def test_what_is_no_generator_is_named(given: Any, editor: Editor, tmp_path: Any) -> None:
    ws = torch.zeros(1, 10, 16)
    for call in (
        lambda: deltafast.edit_batch(given, ws, editor, 1.0),
        lambda: deltafast.edit_stream(given, ws, editor, 1.0),
        lambda: editor.for_generator(given),
        lambda: latents_from_seeds(given, [0]),
        lambda: save_generator(given, tmp_path / "g.safetensors"),
    ):
        with pytest.raises(InvalidInputError, match="expected a generator"):
            call()
    with pytest.raises(InvalidInputError, match="load_generator"):
        deltafast.edit_batch("mobilestylegan-ffhq", ws, editor, 1.0)


@pytest.mark.parametrize("device", ["cuda:63", "nowhere", "meta", "", 1.5, "xpu", "cpu:x"])
def test_a_device_that_is_not_there_is_named(device: Any, tiny_generator: Generator, editor: Editor) -> None:
    ws = torch.zeros(1, tiny_generator.num_ws, tiny_generator.w_dim)
    for call in (
        lambda: check_device(device),
        lambda: deltafast.edit_batch(tiny_generator, ws, editor, 1.0, output_device=device),
        lambda: load_generator("none.pkl", device=device),
    ):
        with pytest.raises(InvalidInputError, match="none that can be used here") as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["cuda:63", "nowhere", 63])
def test_a_module_is_not_moved_to_a_device_that_is_not_there(
    device: Any, tiny_generator: Generator, editor: Editor
) -> None:
    for module in (tiny_generator, tiny_generator.mapping, tiny_generator.synthesis, editor):
        for call in (
            lambda module=module: module.to(device),
            lambda module=module: module.to(device=device, dtype=torch.float16),
            lambda module=module: module.cuda(63),
        ):
            with pytest.raises(InvalidInputError, match="none that can be used here"):
                call()
        assert next(module.buffers()).device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int8, torch.float8_e4m3fn])
def test_a_generator_is_not_cast_to_numbers_that_it_cannot_have(dtype: torch.dtype, tiny_generator: Generator) -> None:
    with pytest.raises(InvalidInputError, match="dtype must be"):
        tiny_generator.to(dtype)
    assert tiny_generator.to(torch.zeros(1)).to(device="cpu", non_blocking=True).dtype == torch.float32


@pytest.mark.parametrize("given", ["abc", [[0.0]], 1.5, {}])
def test_what_is_no_tensor_is_named(given: Any, tiny_generator: Generator) -> None:
    z = torch.zeros(1, tiny_generator.z_dim)
    for call in (
        lambda: tiny_generator.synthesis(given),
        lambda: tiny_generator.mapping(given),
        lambda: tiny_generator.mapping(z, given),
        lambda: tiny_generator.mapping(z, None, {}),
        lambda: tiny_generator.mapping(z, None, 0.7, 2.5),
    ):
        with pytest.raises(InvalidInputError, match="must be a"):
            call()
