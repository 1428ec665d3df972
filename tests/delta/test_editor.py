"""The edit: nothing at 0, continuous, only in its slots, on any dtype; and the file that holds it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from deltafast.delta import (
    DeltaConfig,
    Editor,
    LinearEditor,
    editor_file,
    linear_editor,
    list_editors,
    load_editor,
    train_editor,
)
from deltafast.delta.editor import ends_of
from deltafast.delta.editor_file import MAX_BYTES
from deltafast.delta.slots import map_slots, parse_slots
from deltafast.errors import EditorError, InvalidInputError
from deltafast.generators.mobilestylegan import mobilestylegan_names
from deltafast.sequence_latents import SequenceLatents


@pytest.fixture
def ws() -> torch.Tensor:
    return torch.randn(5, 6, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_alpha_zero_changes_no_bit(editor: Editor, ws: torch.Tensor, dtype: torch.dtype) -> None:
    latents = ws.to(dtype)
    edited = editor.edit(latents, 0.0)
    assert edited.dtype == dtype
    assert torch.equal(edited, latents)
    assert not torch.equal(editor.edit(latents, 1.0), latents)


def test_edit_is_d_of_alpha_delta_minus_d_of_zero(editor: Editor, ws: torch.Tensor) -> None:
    for alpha in (-2.0, -0.3, 0.7, 1.0, 1.9):
        expected = ws + editor.decode(ws, alpha * editor.delta[None]) - editor.offset(ws)
        torch.testing.assert_close(editor.edit(ws, alpha), expected, rtol=1e-5, atol=1e-5)
        raw = ws + editor.decode(ws, alpha * editor.delta[None])
        torch.testing.assert_close(editor.edit(ws, alpha, raw=True), raw, rtol=1e-5, atol=1e-5)
    assert float(editor.offset(ws).abs().max()) > 0


def test_negative_alpha_can_go_to_the_other_end(
    sequences: SequenceLatents, config: DeltaConfig, ws: torch.Tensor
) -> None:
    both_ways = train_editor(sequences, "yaw", replace(config, negative="other-end"))
    expected = ws + both_ways.decode(ws, 0.7 * both_ways.delta_negative[None]) - both_ways.offset(ws)
    torch.testing.assert_close(both_ways.edit(ws, -0.7), expected, rtol=1e-5, atol=1e-5)
    near = both_ways.edit(ws, -1e-4) - ws
    assert float(near.norm()) < 1e-3 * float((expected - ws).norm())
    neutral, first = sequences.stack("yaw")[:, 2], sequences.stack("yaw")[:, 0]
    scaled = train_editor(sequences, "yaw", config)
    slots = list(config.slots or ())

    def error(editor: Editor) -> float:
        return float((editor.edit(neutral, -1.0) - first)[:, slots].norm())

    assert error(both_ways) < error(scaled)  # these paths are bent, as real ones are


def test_edit_is_continuous(editor: Editor, ws: torch.Tensor) -> None:
    alphas = torch.linspace(-1.5, 1.5, 601)
    path = torch.stack([editor.edit(ws, float(a)) for a in alphas])
    steps = (path[1:] - path[:-1]).flatten(1).norm(dim=1)
    assert float(steps.max()) < 5 * float(steps.mean())
    near = editor.edit(ws, 1e-4) - ws
    assert float(near.norm()) < 1e-3 * float((editor.edit(ws, 1.0) - ws).norm())


def test_slots_outside_the_mask_keep_their_bits(editor: Editor, ws: torch.Tensor) -> None:
    assert editor.slots == (0, 2, 3)
    edited = editor.edit(ws, 1.3, raw=True)
    assert torch.equal(edited[:, [1, 4, 5]], ws[:, [1, 4, 5]])
    assert all(not torch.equal(edited[:, s], ws[:, s]) for s in editor.slots)
    limited = editor.edit(ws, 1.3, raw=True, slots=[2, 4])
    assert torch.equal(limited[:, 2], edited[:, 2])
    assert torch.equal(limited[:, [0, 1, 3, 4, 5]], ws[:, [0, 1, 3, 4, 5]])
    assert torch.equal(editor.edit(ws, 1.0, slots=[]), ws)
    outside = torch.ones(6, dtype=torch.bool)
    outside[[0, 2, 3]] = False
    assert not editor.delta[outside].any()
    assert not editor.encode(ws, ws + 1)[:, outside].any()


def test_each_sample_has_its_own_alpha(editor: Editor, ws: torch.Tensor) -> None:
    alpha = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0])
    together = editor.edit(ws, alpha)
    alone = torch.cat([editor.edit(ws[k : k + 1], float(alpha[k])) for k in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert torch.equal(together[1], ws[1])


def test_a_delta_of_two_latents_can_replace_the_bundled_one(editor: Editor, sequences: SequenceLatents) -> None:
    stack = sequences.stack("yaw")
    delta = editor.encode(stack[:1, 2], stack[:1, 4])
    ws = stack[1:2, 2]
    edited = editor.edit(ws, 1.0, delta=delta)
    torch.testing.assert_close(edited, ws + editor.decode(ws, delta) - editor.offset(ws), rtol=1e-5, atol=1e-5)
    true, moved = (stack[1:2, 4] - ws)[:, [0, 2, 3]], (edited - ws)[:, [0, 2, 3]]
    assert float(torch.nn.functional.cosine_similarity(true.flatten(), moved.flatten(), dim=0)) > 0.9
    with pytest.raises(InvalidInputError, match="delta must be"):
        editor.edit(ws, 1.0, delta=delta[:, :3])


def test_edit_is_differentiable_in_latents_and_alpha(editor: Editor, ws: torch.Tensor) -> None:
    latents = ws.clone().requires_grad_()
    alpha = torch.tensor(0.0, requires_grad=True)
    editor.edit(latents, alpha).square().sum().backward()
    assert latents.grad is not None
    assert alpha.grad is not None
    torch.testing.assert_close(latents.grad, 2 * ws)  # at α = 0 the edit is the identity, also to first order
    assert float(alpha.grad.abs()) > 0


def test_autocast_and_inference_mode_change_nothing(editor: Editor, ws: torch.Tensor) -> None:
    expected = editor.edit(ws, 0.8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(editor.edit(ws, 0.8), expected)
    with torch.inference_mode():
        assert torch.equal(editor.edit(ws, 0.8), expected)


def test_no_samples_give_no_samples(editor: Editor) -> None:
    assert editor.edit(torch.zeros(0, 6, 16), 1.0).shape == (0, 6, 16)


@pytest.mark.parametrize(
    ("bad", "alpha", "words"),
    [
        (torch.zeros(2, 5, 16), 1.0, r"\[2, 5, 16\]"),
        (torch.zeros(2, 16), 1.0, r"\[2, 16\]"),
        (torch.zeros(2, 6, 16, dtype=torch.int32), 1.0, "int32"),
        (torch.zeros(2, 6, 16), torch.zeros(3), r"\[3\]"),
        (torch.zeros(2, 6, 16), "much", "alpha"),
        ([1, 2], 1.0, "list"),
    ],
)
def test_wrong_inputs_are_named(editor: Editor, bad: torch.Tensor, alpha: float, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        editor.edit(bad, alpha)


def test_file_round_trip_is_exact_and_small(editor: Editor, ws: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "yaw.safetensors"
    editor.save(path)
    read = load_editor(path)
    assert torch.equal(read.edit(ws, 0.9), editor.edit(ws, 0.9))
    assert torch.equal(read.encode(ws, ws + 1), editor.encode(ws, ws + 1))
    assert read.info == editor.info
    assert path.stat().st_size < 50_000
    assert not any(parameter.requires_grad for parameter in read.parameters())
    editor.save(tmp_path / "again.safetensors")
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_half_precision_storage_is_harmless(sequences: SequenceLatents, config: DeltaConfig, ws: torch.Tensor) -> None:
    from deltafast.delta import training

    rounded = train_editor(sequences, "yaw", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "round_weights", lambda editor: None)
        exact = train_editor(sequences, "yaw", config)
    change = exact.edit(ws, 1.0) - ws
    assert float((rounded.edit(ws, 1.0) - exact.edit(ws, 1.0)).norm() / change.norm()) < 2e-3


def test_damaged_files_are_refused(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "yaw.safetensors"
    editor.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(EditorError, match=r"yaw\.safetensors is damaged"):
        load_editor(path)
    flipped = bytearray(whole)
    flipped[-50] ^= 1
    path.write_bytes(bytes(flipped))
    with pytest.raises(EditorError, match="sha256"):
        load_editor(path)
    path.write_bytes(b"")
    with pytest.raises(EditorError, match="damaged"):
        load_editor(path)


def _rewrite(editor: Editor, path: Path, change: dict[str, object], tensors: dict[str, torch.Tensor]) -> None:
    editor.save(path)
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as stream:
        head = json.loads(stream.metadata()["deltafast"])
    changed = {**load_file(path), **tensors}
    head["sha256"] = editor_file.tensors_digest(changed)  # whoever alters a file can do that too
    save_file(changed, path, {"deltafast": json.dumps({**head, **change})})


def test_other_versions_and_kinds_are_refused_in_words(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "yaw.safetensors"
    _rewrite(editor, path, {"version": 3}, {})
    with pytest.raises(EditorError, match="format version 3"):
        load_editor(path)
    _rewrite(editor, path, {"format": "something"}, {})
    with pytest.raises(EditorError, match="no editor file"):
        load_editor(path)
    _rewrite(editor, path, {}, {"delta": torch.full((6, 4), float("nan"))})
    with pytest.raises(EditorError, match="NaN"):
        load_editor(path)
    _rewrite(editor, path, {}, {"surprise": torch.zeros(1)})
    with pytest.raises(EditorError, match="surprise"):
        load_editor(path)
    huge = {**editor.info.as_json(), "config": {**editor.info.config.as_json(), "width": 10**9}}
    _rewrite(editor, path, {"info": huge}, {})  # takes no memory on the file's word
    with pytest.raises(EditorError, match="its config says"):
        load_editor(path)
    _rewrite(editor, path, {"info": {"attribute": "yaw"}}, {})
    with pytest.raises(EditorError, match="config"):
        load_editor(path)
    save_file({"delta": torch.zeros(1)}, path)
    with pytest.raises(EditorError, match="lacks an editor's metadata"):
        load_editor(path)


def test_unknown_names_say_what_is_bundled(tmp_path: Path) -> None:
    with pytest.raises(EditorError, match="neither a file nor a bundled one"):
        load_editor("no-such-editor")
    with pytest.raises(EditorError, match=r"holds no editor\.safetensors"):
        load_editor(tmp_path)
    with pytest.raises(EditorError, match="int"):
        load_editor(3)


def test_bundled_editors_load_and_fit_the_size() -> None:
    from deltafast.delta.editor_file import bundled_editors

    for name, path in bundled_editors().items():
        assert name in list_editors()
        assert path.stat().st_size <= MAX_BYTES
        assert load_editor(name).attribute == name


def test_an_editor_too_large_for_its_file_is_refused(sequences: SequenceLatents, tmp_path: Path) -> None:
    wide = train_editor(sequences, "yaw", DeltaConfig(slots=(0, 1, 2, 3, 4, 5), width=600, layers=3, steps=1, pairs=1))
    with pytest.raises(EditorError, match="5 MB"):
        wide.save(tmp_path / "yaw.safetensors")
    assert not list(tmp_path.iterdir())


def _generator(num_ws: int, w_space: str, slots: tuple[str, ...] = (), w_dim: int = 16) -> SimpleNamespace:
    identity = {"name": "other", "fingerprint": "1" * 64, "w_space": w_space}
    return SimpleNamespace(**identity, num_ws=num_ws, w_dim=w_dim, device=torch.device("cpu"), slots=slots)


def _stylegan2_slots(num_ws: int) -> tuple[str, ...]:
    names, resolution = ["b4.conv1"], 8
    while len(names) < num_ws - 1:
        names += [f"b{resolution}.conv0", f"b{resolution}.conv1"]
        resolution *= 2
    return (*names, f"b{resolution // 2}.torgb")


def test_an_editor_drives_the_same_layers_of_a_generator_with_more_slots(editor: Editor, ws: torch.Tensor) -> None:
    larger = _generator(8, "made-up-w", _stylegan2_slots(8))
    mapped = editor.for_generator(larger)
    assert (mapped.slots, mapped.num_ws) == ((0, 2, 3), 8)
    wide = torch.cat([ws, torch.randn(5, 2, 16)], 1)
    edited = mapped.edit(wide, 0.7)
    torch.testing.assert_close(edited[:, :6], editor.edit(ws, 0.7))
    assert torch.equal(edited[:, 6:], wide[:, 6:])
    back = mapped.for_generator(_generator(6, "made-up-w", _stylegan2_slots(6)))
    torch.testing.assert_close(back.edit(ws, 0.7), editor.edit(ws, 0.7))


def test_other_w_spaces_are_refused_unless_vouched_for(editor: Editor) -> None:
    with pytest.raises(EditorError, match=r"trained on made-up .* does not fit other"):
        editor.for_generator(_generator(6, "another"))
    assert editor.for_generator(_generator(6, "another"), same_w_space=True).slots == editor.slots
    with pytest.raises(EditorError, match="w_dim"):
        editor.for_generator(_generator(6, "made-up-w", w_dim=8))


def test_ffhq_slots_map_between_sixteen_and_eighteen() -> None:
    mobile, full = tuple(mobilestylegan_names(1024)[2]), _stylegan2_slots(18)
    assert map_slots(range(15), 16, mobile, 18, full) == tuple((s, s) for s in range(15))
    assert map_slots(range(15), 18, full, 16, mobile) == tuple((s, s) for s in range(15))
    assert map_slots([15], 16, mobile, 18, full) == ((15, 15), (16, 15), (17, 15))
    with pytest.raises(EditorError, match=r"slots \[16\]"):
        map_slots([16], 18, full, 16, mobile)
    assert map_slots(range(15), 16, (), 18, full) == tuple((s, s) for s in range(15))  # names not known
    with pytest.raises(EditorError, match=r"slots \[15\]"):
        map_slots([15], 16, (), 18, full)


def test_slots_are_read_as_people_write_them() -> None:
    assert parse_slots("0-2,5") == (0, 1, 2, 5)
    for wrong in ("", "a", "3-1", "1,,2", "-1", "0-5000"):
        with pytest.raises(InvalidInputError, match="0-5,8"):
            parse_slots(wrong)


@pytest.mark.parametrize(
    ("values", "ends"),
    [((-30, -15, 0, 15, 30), (2, 4, 0)), ((0, 0.5, 1), (0, 2, None)), ((-1, -0.5, 0), (2, 0, None))],
)
def test_ends_of_a_sequence(values: tuple[float, ...], ends: tuple[int, int, int | None]) -> None:
    assert ends_of(values) == ends


def test_linear_is_the_mean_difference_in_the_same_slots(sequences: SequenceLatents, ws: torch.Tensor) -> None:
    linear = linear_editor(sequences, "yaw", (0, 2, 3), negative="scale")
    stack = sequences.stack("yaw")
    direction = (stack[:, 4] - stack[:, 2]).mean(0)
    edited = linear.edit(ws, -0.5)
    torch.testing.assert_close(edited[:, [0, 2, 3]], (ws - 0.5 * direction)[:, [0, 2, 3]])
    other = (stack[:, 0] - stack[:, 2]).mean(0)
    symmetric = linear_editor(sequences, "yaw", (0, 2, 3))
    torch.testing.assert_close(symmetric.edit(ws, -0.5)[:, 2], (ws - 0.25 * (direction - other))[:, 2])
    both_ways = linear_editor(sequences, "yaw", (0, 2, 3), negative="other-end")
    torch.testing.assert_close(both_ways.edit(ws, -0.5)[:, 2], (ws + 0.5 * other)[:, 2])
    torch.testing.assert_close(both_ways.edit(ws, 0.5)[:, 2], (ws + 0.5 * direction)[:, 2])
    assert torch.equal(edited[:, [1, 4, 5]], ws[:, [1, 4, 5]])
    assert torch.equal(linear.edit(ws.half(), 0.0), ws.half())
    assert torch.equal(linear.edit(ws, 1.0, slots=[2])[:, 0], ws[:, 0])
    assert not linear.offset(ws).any()
    larger: LinearEditor = linear.for_generator(_generator(8, "made-up-w", _stylegan2_slots(8)))
    assert larger.edit(torch.zeros(1, 8, 16), 1.0).shape == (1, 8, 16)
    with pytest.raises(EditorError, match="does not fit"):
        linear.for_generator(_generator(6, "another"))
