"""form="flow": what its algebra promises, its training, its file; and jumps stay what they were."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sequences import make_sequences

from deltafast.delta import DeltaConfig, Editor, edit_together, load_editor, train_editor
from deltafast.delta.flow_step import FlowTrainingStep, split_flat
from deltafast.delta.held_out import held_out_errors
from deltafast.delta.training_step import TrainingStep
from deltafast.errors import EditorError, InvalidInputError
from deltafast.ops import philox_normal
from deltafast.sequence_latents import SequenceLatents

FLOW = DeltaConfig(slots=(0, 2, 3), dim=4, width=16, steps=100, pairs=4, lr=1e-2, form="flow")
MOVED = [0, 2, 3]
BEFORE = {  # editor: sum, and sum of squares, of what it changes
    "brows-raised": [4.485833, 5.834724],
    "eyes-closed": [9.369633, 33.04938],
    "light": [-2.473678, 24.44737],
    "light-elevation": [-5.53045, 28.32625],
    "mouth-open": [4.709393, 17.87959],
    "pitch": [0.2727037, 11.266],
    "smile": [1.061433, 9.822274],
    "yaw": [4.311366, 15.75155],
}
YAW_WEIGHTS = "7e2b55bbd9eaa4b18d1c4d398a6b439815e5e7bd53c9e8296640dd820127cb34"


@pytest.fixture(scope="module")
def flow(sequences: SequenceLatents) -> Editor:
    return train_editor(sequences, "yaw", FLOW)


@pytest.fixture
def ws(sequences: SequenceLatents) -> torch.Tensor:
    return sequences.stack("yaw")[:, 2] + 0.3 * torch.randn(6, 6, 16, generator=torch.Generator().manual_seed(0))


def share(left: torch.Tensor, of: torch.Tensor) -> float:
    return float(left.norm() / of.norm())


def test_the_way_back_undoes_and_amounts_add_up_where_a_jump_does_neither(
    flow: Editor, sequences: SequenceLatents, ws: torch.Tensor
) -> None:
    jump = train_editor(sequences, "yaw", replace(FLOW, form="jump"))
    for editor, holds in ((flow, True), (jump, False)):
        for alpha in (1.0, -0.8):
            there = editor.edit(ws, alpha)
            change = there - ws
            assert share(editor.edit(there, -alpha) - ws, change) < 0.01 or not holds
            halfway = editor.edit(editor.edit(ws, 0.4 * alpha), 0.6 * alpha)
            assert share(halfway - there, change) < 0.01 or not holds
        assert (share(editor.edit(there, -alpha) - ws, change) < 0.01) == holds
        assert (share(halfway - there, change) < 0.01) == holds
    far = flow.edit(flow.edit(ws, 2.7), -2.7)
    assert share(far - ws, flow.edit(ws, 2.7) - ws) < 0.01


def test_the_chart_turns_round_and_adds_up(flow: Editor, sequences: SequenceLatents) -> None:
    first, middle, last = sequences.stack("yaw")[:, [0, 2, 4]].unbind(1)
    torch.testing.assert_close(flow.encode(first, last), -flow.encode(last, first))
    together = flow.encode(first, middle) + flow.encode(middle, last)
    torch.testing.assert_close(flow.encode(first, last), together)
    torch.testing.assert_close(flow.delta_negative, -flow.delta)


def test_alpha_zero_and_raw_change_nothing_and_other_slots_keep_their_bits(flow: Editor, ws: torch.Tensor) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert torch.equal(flow.edit(ws.to(dtype), 0.0), ws.to(dtype))
    edited = flow.edit(ws, 1.3)
    assert torch.equal(edited, flow.edit(ws, 1.3, raw=True))
    assert not flow.offset(ws).any()
    assert torch.equal(edited[:, [1, 4, 5]], ws[:, [1, 4, 5]])
    limited = flow.edit(ws, 1.3, slots=[2, 4])
    assert torch.equal(limited[:, 2], edited[:, 2])
    assert torch.equal(limited[:, [0, 1, 3, 4, 5]], ws[:, [0, 1, 3, 4, 5]])
    torch.testing.assert_close(flow.edit(ws, 1.0), ws + flow.decode(ws, flow.delta[None]), rtol=1e-4, atol=1e-4)


def test_the_edit_of_a_batch_is_that_of_each_and_is_differentiable(flow: Editor, ws: torch.Tensor) -> None:
    alpha = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, 0.3])
    together = flow.edit(ws, alpha)
    alone = torch.cat([flow.edit(ws[k : k + 1], float(alpha[k])) for k in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    amount = torch.tensor(0.4, requires_grad=True)
    (slope,) = torch.autograd.grad(flow.edit(ws, amount).square().sum(), amount)
    near = [flow.edit(ws.double(), a).square().sum() for a in (0.39, 0.41)]
    torch.testing.assert_close(slope.double(), (near[1] - near[0]) / 0.02, rtol=2e-3, atol=1e-2)


def test_the_loss_is_the_papers_along_the_flow(flow: Editor, sequences: SequenceLatents) -> None:
    stack = sequences.stack("yaw")[:, :, MOVED].double()
    editor = Editor(flow.info).double()
    editor.load_state_dict(flow.state_dict())
    x = editor.normalisation(stack.flatten(0, 1)).reshape(3, 6, 5, 16)  # [S, K, n, w_dim]
    config = replace(FLOW, lambda_a=0.7, lambda_b=1.6)
    weights = torch.cat([p.detach().flatten() for p in editor.parameters()])
    step = FlowTrainingStep(weights, x, config, editor.encoder, editor.decoder)  # type: ignore[arg-type]
    step.step += 3
    first, second = step._pairs[3]
    zero = torch.zeros((), dtype=torch.int64)
    noise = [
        philox_normal(4, 3 * 16, seed=zero, step=zero + 3, first_sample=zero, stream=k).reshape(4, 3, 16).double()
        for k in (0, 1)
    ]
    expected, count = torch.zeros((), dtype=torch.float64), 0
    for p in range(4):
        a, b = x[:, first[p]], x[:, second[p]]  # [S, n, w_dim]
        n_a, n_b = (config.noise_encoder * noise[0][p], config.noise_decoder * noise[1][p])
        for i in range(5):
            for j in range(5):
                if i == j:
                    continue
                delta = editor.encoder((a[:, i] + n_a)[:, None], (a[:, j] + n_a)[:, None])
                for x_i, x_j, weight in ((a[:, i], a[:, j], 0.7), (b[:, i], b[:, j], 1.6)):
                    change = editor.decoder((x_i + n_b)[:, None], delta)[:, 0]
                    expected += weight * (x_i + change - x_j).square().sum()
                count += 1
    torch.testing.assert_close(step.loss(), expected / (count * 3 * 16), rtol=1e-5, atol=1e-7)
    assert step.loss().requires_grad


def test_it_predicts_identities_it_never_saw_about_as_well_as_a_jump() -> None:
    everything = make_sequences(40)
    seen, unseen = everything.select(everything.identities[:30]), everything.select(everything.identities[30:])
    found = {}
    for form in ("jump", "flow"):
        editor = train_editor(seen, "yaw", replace(FLOW, form=form, steps=150, width=32))
        found[form] = held_out_errors(editor, seen, unseen)
    assert found["flow"].offset == 0
    assert found["flow"].transfer < found["flow"].linear_transfer
    assert found["flow"].transfer < 1.3 * found["jump"].transfer
    assert found["flow"].edit < 1.3 * found["jump"].edit


def test_same_seed_same_bits_and_a_stopped_training_goes_on_to_them(sequences: SequenceLatents, tmp_path: Path) -> None:
    config = replace(FLOW, steps=30)
    whole = train_editor(sequences, "yaw", config)

    class StoppedError(Exception):
        pass

    def stop_at_20(step: FlowTrainingStep) -> None:
        if int(step.step) == 20:
            raise StoppedError
        TrainingStep.advance(step)

    out = tmp_path / "yaw.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FlowTrainingStep, "advance", stop_at_20)
        with pytest.raises(StoppedError):
            train_editor(sequences, "yaw", config, out=out, save_every=10, plot=False)
    resumed = train_editor(sequences, "yaw", config, out=out, save_every=10, plot=False)
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    for name, tensor in load_editor(out).state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name]), name


def test_a_flow_is_no_larger_than_the_jump_of_its_config(flow: Editor) -> None:
    jump = Editor(replace(flow.info, config=replace(FLOW, form="jump")))
    for part in ("encoder", "decoder"):
        sizes = [sum(p.numel() for p in getattr(editor, part).parameters()) for editor in (flow, jump)]
        assert sizes[0] <= sizes[1]


@pytest.fixture(scope="module")
def smile(sequences: SequenceLatents) -> Editor:
    return train_editor(sequences, "smile", replace(FLOW, slots=(2, 3, 5), width=8, steps=100, negative="scale"))


def test_summed_fields_leave_no_order_and_undo(flow: Editor, smile: Editor, ws: torch.Tensor) -> None:
    alpha = torch.tensor([1.0, -0.5, 0.3, 0.0, 0.0, 1.2])
    there = edit_together([flow, smile], ws, [alpha, 0.8])
    change = there - ws
    assert share(edit_together([smile, flow], ws, [0.8, alpha]) - there, change) < 1e-4
    assert share(edit_together([flow, smile], there, [-alpha, -0.8]) - ws, change) < 0.01
    one, other = smile.edit(flow.edit(ws, alpha), 0.8), flow.edit(smile.edit(ws, 0.8), alpha)
    torch.testing.assert_close(there[:, 0], one[:, 0], rtol=1e-3, atol=1e-3)  # a slot of yaw alone
    torch.testing.assert_close(there[:, 5], one[:, 5], rtol=1e-3, atol=1e-3)  # and of smile
    middle = (one + other) / 2
    assert share(there - middle, one - other) < 0.6  # between the two orders


def test_summed_fields_with_one_amount_are_that_editor(flow: Editor, smile: Editor, ws: torch.Tensor) -> None:
    torch.testing.assert_close(edit_together([flow, smile], ws, [1.3, 0.0]), flow.edit(ws, 1.3), rtol=1e-5, atol=1e-5)
    assert torch.equal(edit_together([flow, smile], ws, [0.0, 0.0]), ws)
    limited = edit_together([flow, smile], ws, [1.0, 1.0], slots=[0, 5])
    assert torch.equal(limited[:, 1:5], ws[:, 1:5])
    deep = [
        train_editor(make_sequences(), name, replace(FLOW, steps=20, layers=2, width=width, negative="scale"))
        for name, width in (("yaw", 8), ("smile", 6))
    ]
    torch.testing.assert_close(edit_together(deep, ws, [0.0, 0.9]), deep[1].edit(ws, 0.9), rtol=1e-5, atol=1e-5)


def test_what_cannot_be_summed_is_said(flow: Editor, editor: Editor, smile: Editor, ws: torch.Tensor) -> None:
    with pytest.raises(InvalidInputError, match="yaw is a jump"):
        edit_together([flow, editor], ws, [1.0, 1.0])
    with pytest.raises(InvalidInputError, match="one alpha for each"):
        edit_together([flow, smile], ws, [1.0])
    with pytest.raises(InvalidInputError, match=r"alpha must be a number or \[N\]"):
        edit_together([flow, smile], ws, [1.0, torch.ones(2)])


def _head(path: Path) -> dict[str, object]:
    with safe_open(str(path), framework="pt") as stream:
        head: dict[str, object] = json.loads(stream.metadata()["deltafast"])
    return head


def test_files_of_version_2_name_their_form_and_of_version_1_are_jumps_with_the_same_bits(
    flow: Editor, editor: Editor, ws: torch.Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "flow.safetensors"
    flow.save(path)
    head = _head(path)
    assert (head["version"], head["form"]) == (2, "flow")
    read = load_editor(path)
    assert read.info == flow.info
    assert torch.equal(read.edit(ws, 0.9), flow.edit(ws, 0.9))

    jump = tmp_path / "jump.safetensors"
    editor.save(jump)
    head = _head(jump)
    assert (head["version"], head["form"]) == (2, "jump")
    assert "form" not in head["info"]["config"]  # type: ignore[index]
    old = {**head, "version": 1}
    del old["form"]
    tensors = {name: tensor for name, tensor in _tensors(jump).items()}
    save_file(tensors, jump, metadata={"deltafast": json.dumps(old)})
    assert torch.equal(load_editor(jump).edit(ws, 0.9), editor.edit(ws, 0.9))
    save_file(_tensors(path), path, metadata={"deltafast": json.dumps({**_head(path), "form": "jump"})})
    with pytest.raises(EditorError, match="said to be a 'jump'"):
        load_editor(path)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(str(path), framework="pt") as stream:
        return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118


def test_the_bundled_editors_of_version_1_edit_as_they_did() -> None:
    """Sums taken with the last deltafast that knew no flows; on other processors rounding may differ."""
    random = torch.Generator().manual_seed(11)
    ws = torch.randn(2, 16, 512, generator=random)
    for name, expected in BEFORE.items():
        editor = load_editor(name)
        assert editor.info.config.form == "jump"
        change = (editor.edit(ws, torch.tensor([0.7, -0.4])) - ws).double()
        found = [float(change.sum()), float(change.square().sum())]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    stored = hashlib.sha256()
    for tensor in load_editor("yaw").state_dict().values():
        stored.update(tensor.numpy().tobytes())
    assert stored.hexdigest() == YAW_WEIGHTS


def test_flows_are_asked_for_in_words_that_fit() -> None:
    for wrong, words in (
        ({"form": "leap"}, "form must be one of jump, flow"),
        ({"form": "flow", "negative": "other-end"}, "leads back the way it came"),
        ({"form": "flow", "flow_steps": 0}, "flow_steps must be"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            DeltaConfig(**wrong)  # type: ignore[arg-type]
    assert DeltaConfig.from_json(FLOW.as_json()) == FLOW
    assert split_flat(torch.arange(6), {"a": (2, 2), "b": (2,)})["b"].tolist() == [4, 5]
