"""edit_batch: every form of alpha, composition in order, bounded memory, and mistakes told in words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matrix_generator import C, L, MatrixGenerator, train
from torch import Tensor

import deltafast
from deltafast.delta import Editor, edit_together
from deltafast.errors import DeltafastError, EditorError, ImageError, InvalidInputError


@pytest.fixture
def ws() -> Tensor:
    return torch.randn(5, L, C, generator=torch.Generator().manual_seed(7))


def _same(first: Tensor | None, second: Tensor) -> None:
    assert first is not None
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


def test_alpha_zero_gives_the_same_latents_and_image(generator: Any, yaw: Editor, ws: Tensor) -> None:
    result = deltafast.edit_batch(generator, ws, yaw, 0.0)
    assert torch.equal(result.latents, ws)
    assert torch.equal(result.sources, ws)
    assert torch.equal(result.images, generator.synthesis(ws))
    assert result.offsets is None
    assert len(result) == 5


def test_a_number_is_for_all(generator: Any, yaw: Editor, ws: Tensor) -> None:
    result = deltafast.edit_batch(generator, ws, yaw, 1)
    assert result.images is not None
    assert result.images.shape == (5, 3, 4, 4)
    assert result.images.dtype == torch.float32
    _same(result.latents, yaw.edit(ws, 1.0))
    _same(result.images, generator.synthesis(yaw.edit(ws, 1.0)))


@pytest.mark.parametrize("wrap", [list, tuple, np.array, torch.tensor, lambda v: iter(v)])
def test_one_alpha_for_each_sample(generator: Any, yaw: Editor, ws: Tensor, wrap: Any) -> None:
    alpha = [-1.0, -0.5, 0.0, 0.5, 1.0]
    result = deltafast.edit_batch(generator, ws, yaw, wrap(alpha), batch_size=2)
    assert result.latents.shape == (5, L, C)
    _same(result.latents, yaw.edit(ws, torch.tensor(alpha)))


@pytest.mark.parametrize("alpha", [[-1.0, 0.0, 1.0], [[-1.0, 0.0, 1.0]], torch.tensor([-1.0, 0, 1]), range(-1, 2)])
def test_a_sweep_gives_every_sample_every_alpha(generator: Any, yaw: Editor, ws: Tensor, alpha: Any) -> None:
    result = deltafast.edit_batch(generator, ws, yaw, alpha)
    assert result.images is not None
    assert result.images.shape == (5, 3, 3, 4, 4)
    for k, value in enumerate((-1.0, 0.0, 1.0)):
        _same(result.latents[:, k], yaw.edit(ws, value))
        _same(result.images[:, k], generator.synthesis(yaw.edit(ws, value)))
    assert torch.equal(result.latents[:, 1], ws)


def test_as_many_alphas_as_samples_are_one_each_unless_written_as_a_row(
    generator: Any, yaw: Editor, ws: Tensor
) -> None:
    alpha = [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert deltafast.edit_batch(generator, ws, yaw, alpha).latents.shape == (5, L, C)
    assert deltafast.edit_batch(generator, ws, yaw, [alpha]).latents.shape == (5, 5, L, C)


def test_a_sweep_of_its_own_for_each_sample(generator: Any, yaw: Editor, ws: Tensor) -> None:
    alpha = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    result = deltafast.edit_batch(generator, ws, yaw, alpha, batch_size=4)
    for k in range(2):
        _same(result.latents[:, k], yaw.edit(ws, alpha[:, k]))


def test_editors_compose_in_the_order_given(generator: Any, yaw: Editor, smile: Editor, ws: Tensor) -> None:
    there = deltafast.edit_batch(generator, ws, [yaw, smile], [1.0, 2.0]).latents
    _same(there, smile.edit(yaw.edit(ws, 1.0), 2.0))
    back = deltafast.edit_batch(generator, ws, [smile, yaw], [2.0, 1.0]).latents
    _same(back, yaw.edit(smile.edit(ws, 2.0), 1.0))
    assert not torch.allclose(there, back, atol=1e-4)  # both move slot 2


def test_flows_side_by_side_are_one_flow_of_their_sum_unless_a_sequence_is_asked_for(
    generator: Any, yaw: Editor, ws: Tensor
) -> None:
    turn, tilt, other = (
        train(name, slots, generator, form="flow")
        for name, slots in (("yaw", (0, 1, 2)), ("pitch", (2, 3)), ("light", (1, 2)))
    )
    together = deltafast.edit_batch(generator, ws, [turn, tilt], [1.0, -0.5]).latents
    _same(together, edit_together([turn, tilt], ws, [1.0, -0.5]))
    _same(deltafast.edit_batch(generator, ws, [tilt, turn], [-0.5, 1.0]).latents, together)  # whatever the order
    one_by_one = deltafast.edit_batch(generator, ws, [turn, tilt], [1.0, -0.5], order="sequence").latents
    _same(one_by_one, tilt.edit(turn.edit(ws, 1.0), -0.5))
    assert not torch.allclose(one_by_one, together, atol=1e-3)  # both move slot 2
    mixed = deltafast.edit_batch(
        generator, ws, [turn, yaw, tilt, other], [1.0, 0.5, -0.5, 0.3], layers=[1, 2, 3]
    ).latents
    jumped = yaw.edit(turn.edit(ws, 1.0, slots=[1, 2, 3]), 0.5, slots=[1, 2, 3])
    _same(mixed, edit_together([tilt, other], jumped, [-0.5, 0.3], slots=[1, 2, 3]))
    deep = train("smile", (3, 4), generator, form="flow", layers=2)  # cannot be summed with the others
    _same(deltafast.edit_batch(generator, ws, [turn, deep], [1.0, 1.0]).latents, deep.edit(turn.edit(ws, 1.0), 1.0))
    sweep = deltafast.edit_batch(generator, ws, [turn, tilt], [[[0.0, 1.0]], [0.0] * 5])
    assert torch.equal(sweep.latents[:, 0], ws)
    with pytest.raises(InvalidInputError, match="order must be"):
        deltafast.edit_batch(generator, ws, [turn, tilt], [1, 1], order="first")


def test_each_editor_has_its_own_form_of_alpha(generator: Any, yaw: Editor, smile: Editor, ws: Tensor) -> None:
    each = [0.1, 0.2, 0.3, 0.4, 0.5]
    result = deltafast.edit_batch(generator, ws, [yaw, smile], [each, [[-1.0, 1.0]]])
    for k, value in enumerate((-1.0, 1.0)):
        _same(result.latents[:, k], smile.edit(yaw.edit(ws, torch.tensor(each)), value))
    with pytest.raises(InvalidInputError, match="equally many"):
        deltafast.edit_batch(generator, ws, [yaw, smile], [[[1, 2]], [[1, 2, 3]]])


def test_memory_is_bounded_by_the_batch_size(generator: Any, yaw: Editor) -> None:
    ws = torch.randn(23, L, C)
    result = deltafast.edit_batch(generator, ws, yaw, [[-1.0, 0.0, 1.0]], batch_size=7)
    assert max(generator.batches) <= 7
    assert sum(generator.batches) == 23 * 3
    whole = deltafast.edit_batch(generator, ws, yaw, [[-1.0, 0.0, 1.0]], batch_size=500)
    _same(result.images, whole.images)
    generator.batches.clear()
    deltafast.edit_batch(generator, ws[:2], yaw, [[0.1 * k for k in range(20)]], batch_size=8)  # K > batch_size
    assert max(generator.batches) <= 8


def test_a_stream_reads_its_source_only_as_it_goes(generator: Any, yaw: Editor, ws: Tensor) -> None:
    taken = 0

    def endless() -> Iterator[Tensor]:
        nonlocal taken
        while True:
            taken += 1
            yield ws[(taken - 1) % 5]

    stream = deltafast.edit_stream(generator, endless(), yaw, 1.0, batch_size=4)
    chunks = [next(stream) for _ in range(3)]
    assert taken == 12
    _same(torch.cat([c.latents for c in chunks]), yaw.edit(torch.cat([ws, ws, ws[:2]]), 1.0))
    sweep = next(deltafast.edit_stream(generator, iter(ws[:, 0]), yaw, [0.0, 1.0], batch_size=4))
    assert sweep.latents.shape == (2, 2, L, C)


def test_a_stream_of_a_tensor_is_the_batch_in_pieces(generator: Any, yaw: Editor, ws: Tensor) -> None:
    alpha = [0.1, 0.2, 0.3, 0.4, 0.5]
    chunks = list(deltafast.edit_stream(generator, ws, yaw, alpha, batch_size=2))
    assert [len(c) for c in chunks] == [2, 2, 1]
    assert torch.equal(
        torch.cat([c.latents for c in chunks]), deltafast.edit_batch(generator, ws, yaw, alpha, batch_size=2).latents
    )


def test_a_stream_refuses_mistakes_before_its_first_result(generator: Any, yaw: Editor, ws: Tensor) -> None:
    with pytest.raises(InvalidInputError, match="alpha"):
        deltafast.edit_stream(generator, iter(ws), yaw, [[1.0], [2.0]])
    with pytest.raises(EditorError):
        deltafast.edit_stream(generator, iter(ws), "nobody", 1.0)
    with pytest.raises(InvalidInputError, match="NaN"):
        next(deltafast.edit_stream(generator, iter(ws * float("nan")), yaw, 1.0))


def test_w_codes_are_taken_for_all_slots(generator: Any, yaw: Editor, ws: Tensor) -> None:
    result = deltafast.edit_batch(generator, ws[:, 0], yaw, 1.0)
    _same(result.latents, yaw.edit(ws[:, :1].expand(-1, L, -1), 1.0))
    arrays = deltafast.edit_batch(generator, ws.numpy(), yaw, 1.0)
    _same(arrays.latents, yaw.edit(ws, 1.0))


def test_layers_limit_the_edit(generator: Any, yaw: Editor, ws: Tensor) -> None:
    result = deltafast.edit_batch(generator, ws, yaw, 1.0, layers=[1, 5], raw=True)
    _same(result.latents[:, 1], yaw.edit(ws, 1.0, raw=True)[:, 1])
    untouched = [0, 2, 3, 4, 5]
    assert torch.equal(result.latents[:, untouched], ws[:, untouched])
    assert result.offsets is not None
    assert not result.offsets[:, untouched].any()
    with pytest.raises(InvalidInputError, match="0 to 5"):
        deltafast.edit_batch(generator, ws, yaw, 1.0, layers=[6])


def test_raw_is_the_papers_edit_and_reports_what_it_adds_at_zero(generator: Any, yaw: Editor, ws: Tensor) -> None:
    result = deltafast.edit_batch(generator, ws, yaw, [[0.0, 1.0]], raw=True)
    assert result.offsets is not None
    _same(result.offsets[:, 0], yaw.offset(ws))
    _same(result.latents[:, 0] - result.offsets[:, 0], ws)
    _same(result.latents[:, 1] - result.offsets[:, 1], yaw.edit(ws, 1.0))


def test_uint8_output_and_no_images(generator: Any, yaw: Editor, ws: Tensor) -> None:
    result = deltafast.edit_batch(generator, ws, yaw, 1.0, output="uint8")
    expected = (generator.synthesis(yaw.edit(ws, 1.0)) * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    assert result.images is not None
    assert result.images.dtype == torch.uint8
    assert int((result.images.int() - expected.int()).abs().max()) <= 1
    generator.batches.clear()
    assert deltafast.edit_batch(generator, ws, yaw, 1.0, synthesise=False).images is None
    assert not generator.batches
    other = deltafast.edit_batch(
        generator, ws, yaw, 1.0, synthesise=lambda ws, noise_mode: ws.new_ones(len(ws), 3, 4, 4)
    )
    assert other.images is not None
    assert bool((other.images == 1).all())


def test_no_samples_give_an_empty_result(generator: Any, yaw: Editor) -> None:
    result = deltafast.edit_batch(generator, torch.zeros(0, L, C), yaw, [[-1, 0, 1]], raw=True, output="uint8")
    assert result.images is not None
    assert (result.images.shape, result.images.dtype) == ((0, 3, 3, 4, 4), torch.uint8)
    assert result.latents.shape == (0, 3, L, C)
    assert deltafast.edit_batch(generator, [], yaw, 1.0).latents.shape == (0, L, C)
    assert list(deltafast.edit_stream(generator, iter([]), yaw, 1.0)) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_latents_of_other_precisions(generator: Any, yaw: Editor, ws: Tensor, dtype: torch.dtype) -> None:
    if dtype == torch.float64:
        generator = generator.double()
    result = deltafast.edit_batch(generator, ws.to(dtype), yaw, 0.0)
    assert result.latents.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(result.latents, ws.to(dtype).to(result.latents.dtype))


def test_gradients_are_not_recorded_and_contexts_do_not_matter(generator: Any, yaw: Editor, ws: Tensor) -> None:
    expected = deltafast.edit_batch(generator, ws, yaw, 1.0).latents
    assert not deltafast.edit_batch(generator, ws.requires_grad_(), yaw, 1.0).images.requires_grad  # type: ignore[union-attr]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(deltafast.edit_batch(generator, ws, yaw, 1.0).latents, expected)
    with torch.inference_mode():
        assert torch.equal(deltafast.edit_batch(generator, ws, yaw, 1.0).latents, expected)


def test_threads_share_an_editor(generator: Any, yaw: Editor, ws: Tensor) -> None:
    expected = deltafast.edit_batch(generator, ws, yaw, 1.0).latents
    results: dict[int, Tensor] = {}

    def work(k: int) -> None:
        results[k] = deltafast.edit_batch(generator, ws, yaw, 1.0).latents

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(torch.equal(result, expected) for result in results.values())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"latents_or_images": torch.full((2, L, C), float("inf"))}, InvalidInputError, "sample 0"),
        ({"latents_or_images": torch.zeros(2, L + 1, C)}, InvalidInputError, r"\[N, 6, 16\]"),
        ({"latents_or_images": torch.zeros(2, L, C, dtype=torch.int64)}, InvalidInputError, "int64"),
        ({"latents_or_images": torch.zeros(C)}, InvalidInputError, r"\[16\]"),
        ({"latents_or_images": {"ws": 1}}, InvalidInputError, "dict"),
        ({"latents_or_images": [torch.zeros(L, C)]}, InvalidInputError, "torch.stack"),
        ({"latents_or_images": "no/such/picture.png", "align": False}, ImageError, "no such file"),
        ({"latents_or_images": [torch.zeros(4, 5, 5)]}, InvalidInputError, r"Tensor \[4, 5, 5\]"),
        ({"align": "maybe"}, InvalidInputError, "align"),
        ({"align": 1}, InvalidInputError, "align"),
        ({"face": "both"}, InvalidInputError, "number of a face"),
        ({"face": -1}, InvalidInputError, "number of a face"),
        ({"refine_steps": -1}, InvalidInputError, "refine_steps"),
        ({"feather": 2}, InvalidInputError, "feather"),
        ({"paste_back": "hair"}, InvalidInputError, "face or head or crop"),
        ({"paste_back": True}, InvalidInputError, "latents come without one"),
        ({"paste_back": True, "synthesise": False}, InvalidInputError, "paste_back"),
        ({"alpha": float("nan")}, InvalidInputError, "NaN"),
        ({"alpha": "much"}, InvalidInputError, "alpha"),
        ({"alpha": None}, InvalidInputError, "alpha"),
        ({"alpha": []}, InvalidInputError, "alpha"),
        ({"alpha": torch.zeros(3, 2)}, InvalidInputError, r"\[3, 2\] for 5 samples"),
        ({"alpha": torch.zeros(1, 1, 1)}, InvalidInputError, "alpha"),
        ({"alpha": [[1, 2], [3]]}, InvalidInputError, "alpha"),
        ({"editor": "no-such-editor"}, EditorError, "no-such-editor"),
        ({"editor": []}, InvalidInputError, "at least one"),
        ({"editor": 3}, InvalidInputError, "int"),
        ({"batch_size": 0}, InvalidInputError, "batch_size"),
        ({"noise_mode": "loud"}, InvalidInputError, "noise_mode"),
        ({"output": "jpeg"}, InvalidInputError, "output"),
        ({"output_device": "moon"}, InvalidInputError, "moon"),
    ],
)
def test_mistakes_are_told_in_words(
    generator: Any, yaw: Editor, ws: Tensor, change: dict[str, Any], error: type[DeltafastError], words: str
) -> None:
    arguments: dict[str, Any] = {"latents_or_images": ws, "editor": yaw, "alpha": 1.0, **change}
    with pytest.raises(error, match=words):
        deltafast.edit_batch(generator, **arguments)


def test_several_editors_need_as_many_alphas(generator: Any, yaw: Editor, smile: Editor, ws: Tensor) -> None:
    with pytest.raises(InvalidInputError, match="one for each"):
        deltafast.edit_batch(generator, ws, [yaw, smile], 1.0)
    with pytest.raises(InvalidInputError, match="2 editors, but 3 alphas"):
        deltafast.edit_batch(generator, ws, [yaw, smile], [1.0, 2.0, 3.0])


def test_an_editor_of_another_generator_is_refused(generator: Any, yaw: Editor, ws: Tensor) -> None:
    generator.w_space, generator.fingerprint = "another", "3" * 64
    with pytest.raises(EditorError, match="does not fit"):
        deltafast.edit_batch(generator, ws, yaw, 1.0)
    vouched = yaw.for_generator(generator, same_w_space=True)
    assert deltafast.edit_batch(generator, ws, vouched, 1.0).latents.shape == (5, L, C)


def test_a_real_stylegan2_is_edited(shared_dir: Path) -> None:
    real = deltafast.load_generator(shared_dir / "fixtures" / "rosinality-64-narrow.pt")
    editor = train("yaw", (0, 1, 2), real, num_ws=real.num_ws, w_dim=real.w_dim)
    ws = real.mapping(torch.randn(3, real.z_dim, generator=torch.Generator().manual_seed(0)), truncation_psi=0.7)
    result = deltafast.edit_batch(real, ws, editor, [[-1.0, 0.0, 1.0]], batch_size=2)
    assert result.images is not None
    assert result.images.shape == (3, 3, 3, real.img_resolution, real.img_resolution)
    assert torch.equal(result.latents[:, 1], ws)
    torch.testing.assert_close(result.images[:, 1], real.synthesis(ws), rtol=1e-4, atol=1e-4)
    assert float((result.images[:, 2] - result.images[:, 0]).abs().mean()) > 1e-3
    half = deltafast.edit_batch(real.to(torch.bfloat16), ws, editor, 0.0)
    assert half.images is not None
    assert half.images.dtype == torch.float32
    assert torch.equal(half.latents, ws)


def test_one_w_plus_latent_is_not_taken_for_many_w_codes(generator: Any, yaw: Editor, ws: Tensor) -> None:
    with pytest.raises(InvalidInputError, match=r"latents\[None\]"):
        deltafast.edit_batch(generator, ws[0], yaw, 1.0)


def test_layers_given_once_serve_every_session(generator: Any, yaw: Editor, ws: Tensor) -> None:
    options = deltafast.EditOptions(layers=(slot for slot in (0, 1)))
    results = [deltafast.edit_batch(generator, ws, yaw, 1.0, options) for _ in range(2)]
    assert torch.equal(results[0].latents, results[1].latents)
    assert not torch.equal(results[0].latents, ws)
    assert options.as_json()["layers"] == [0, 1]
    mask = [True, True, *[False] * (L - 2)]
    assert deltafast.EditOptions(layers=mask).as_json()["layers"] == mask


@pytest.mark.parametrize("alpha", [torch.tensor([1 + 2j] * 5), "5", b"5", ["a"]], ids=str)
def test_an_alpha_that_is_no_real_number_is_refused(generator: Any, yaw: Editor, ws: Tensor, alpha: Any) -> None:
    with pytest.raises(InvalidInputError, match="alpha must be a number"):
        deltafast.edit_batch(generator, ws, yaw, alpha)


def test_nothing_has_the_shape_and_type_of_something(yaw: Editor) -> None:
    wide = MatrixGenerator().double()
    none = deltafast.edit_batch(wide, torch.zeros(0, L, C, dtype=torch.float64), yaw, 1.0)
    some = deltafast.edit_batch(wide, torch.zeros(1, L, C, dtype=torch.float64), yaw, 1.0)
    assert none.images is not None
    assert some.images is not None
    assert (none.images.shape[1:], none.images.dtype) == (some.images.shape[1:], some.images.dtype)
    assert none.latents.dtype == some.latents.dtype
    assert none.photo_index is None
    photos = deltafast.edit_batch(wide, [], yaw, 1.0)
    assert (photos.alignments, photos.photo_index) == ([], [])
