"""Packed weights are those of the weight as it is now, however it was written to."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from deltafast.ops import PackedConv3x3, _library, pack_conv3x3


def _weight(o: int = 5, c: int = 7, layout: torch.memory_format = torch.contiguous_format) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randn(o, c, 3, 3, generator=random).contiguous(memory_format=layout)


layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
ups = pytest.mark.parametrize("up", [1, 2])


@layouts
@ups
def test_it_is_what_packing_makes(up: int, layout: torch.memory_format) -> None:
    weight = _weight(33, 18, layout=layout)
    packed, squares = PackedConv3x3(up=up).of(weight)
    assert torch.equal(packed, pack_conv3x3(weight, up=up))
    assert torch.allclose(squares, weight.square().sum((2, 3)), rtol=1e-6)


@layouts
@ups
def test_every_number_is_compared(up: int, layout: torch.memory_format) -> None:
    weight = _weight(2, 3, layout=layout)
    kept = PackedConv3x3(up=up)
    kept.of(weight)
    for index in range(weight.numel()):
        at = [int(i) for i in torch.unravel_index(torch.tensor(index), weight.shape)]
        weight.data[at[0], at[1], at[2], at[3]] *= 1.5
        packed, squares = kept.of(weight)
        fresh = PackedConv3x3(up=up).of(weight)
        assert torch.equal(packed, fresh[0])
        assert torch.equal(squares, fresh[1])


def test_an_unchanged_weight_is_packed_once() -> None:
    weight = _weight()
    kept = PackedConv3x3()
    packed, _ = kept.of(weight)
    packed.fill_(7)  # shows whether it is made again
    assert bool((kept.of(weight)[0] == 7).all())
    weight.data.mul_(2)
    assert not bool((kept.of(weight)[0] == 7).any())


def test_another_shape_or_layout_is_another_weight() -> None:
    kept = PackedConv3x3()
    for weight in (_weight(), _weight(6), _weight(layout=torch.channels_last)):
        assert torch.equal(kept.of(weight)[0], pack_conv3x3(weight))


def test_not_a_number_and_large_weights_are_compared_too() -> None:
    weight = _weight(300, 200)  # 2 MB: compared in parts
    kept = PackedConv3x3()
    kept.of(weight)
    weight.data[299, 199, 2, 2] = torch.nan
    assert bool(kept.of(weight)[1][299, 199].isnan())


def test_copies_and_pickles_begin_empty() -> None:
    kept, weight = PackedConv3x3(up=2), _weight()
    expected = kept.of(weight)
    for other in (copy.deepcopy(kept), pickle.loads(pickle.dumps(kept))):
        assert other.of(weight)[0] is not expected[0]
        assert torch.equal(other.of(weight)[0], expected[0])


def test_inference_mode_leaves_nothing_that_cannot_be_written_outside() -> None:
    kept, weight = PackedConv3x3(), _weight()
    with torch.inference_mode():
        kept.of(weight)
    weight.mul_(3)
    assert torch.equal(kept.of(weight)[0], pack_conv3x3(weight))


@pytest.mark.parametrize("instruction_set", _library._C.build_info()["cpu_instruction_sets"])
def test_changes_that_products_alone_would_lose_are_seen(instruction_set: str) -> None:
    in_use = _library._C.build_info()["cpu_instruction_set"]
    weight, kept = _weight(64, 32), PackedConv3x3()
    try:
        _library._C.use_instruction_set(instruction_set)
        kept.of(weight)
        numbers = weight.data.view(-1)
        for change in (
            lambda: numbers[1::2].neg_(),  # the upper bits of 64-bit words, an even number of times
            lambda: numbers.copy_(numbers.flip(0)),
            lambda: numbers.copy_(numbers.roll(64)),
            lambda: numbers[:128].copy_(torch.cat([numbers[64:128], numbers[:64]])),
            lambda: numbers[-1:].zero_(),
        ):
            change()
            assert torch.equal(kept.of(weight)[0], pack_conv3x3(weight))
    finally:
        _library._C.use_instruction_set(in_use)


def test_the_kernel_refuses_results_of_another_size() -> None:
    weight = _weight()
    packed, squares = pack_conv3x3(weight), weight.new_empty(weight.shape[:2])
    known = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="known"):
        torch.ops.deltafast.refresh_conv3x3(weight, weight, packed, squares, False)
    with pytest.raises(RuntimeError, match="packed"):
        torch.ops.deltafast.refresh_conv3x3(weight, known, packed[:1], squares, False)


@ups
def test_opcheck(up: int) -> None:
    weight = _weight()
    packed, squares = pack_conv3x3(weight, up=up), weight.new_empty(weight.shape[:2])
    arguments = (weight, torch.zeros(1, dtype=torch.int64), packed, squares, up == 2)
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(torch.ops.deltafast.refresh_conv3x3, arguments, test_utils=tests)


def test_a_compiled_graph_compares_in_every_call() -> None:
    kept, weight = PackedConv3x3(), _weight()
    run = torch.compile(lambda w: kept.of(w)[0] + 1, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        assert torch.equal(run(weight), pack_conv3x3(weight) + 1)
        kept.of(weight)  # from now on there is a checksum to compare with
    weight.data.mul_(2)
    assert torch.equal(run(weight), pack_conv3x3(weight) + 1)
