"""The synthesis recorded once and replayed: everything but the recording itself is checked without a GPU."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from unittest.mock import MagicMock

import pytest
import torch

from deltafast.errors import InvalidInputError
from deltafast.generators.compiled import CapturedSynthesis, capture_cuda_graph


class Recorder:
    """Stands for CUDA graphs: like theirs, every replay fills the same result tensor."""

    def __init__(self):
        self.recordings = 0

    def __call__(self, run, device):
        self.recordings += 1
        result = run()

        def replay():
            return result.copy_(run())

        return replay


def _ws(generator, n, seed=0):
    z = torch.randn(n, generator.z_dim, generator=torch.Generator().manual_seed(seed))
    return generator.mapping(z.to(generator.device)).detach()


def _close(images, expected, relative=1e-5):
    return images.shape == expected.shape and bool(((images - expected).abs() <= relative * expected.abs().max()).all())


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def captured(tiny, recorder):
    generator = tiny().requires_grad_(False)
    return generator, CapturedSynthesis(generator.synthesis, 3, recorder)


@pytest.mark.parametrize("noise_mode", ["const", "none"])
@pytest.mark.parametrize("count", [3, 1, 0])
def test_a_batch_up_to_the_size_gives_the_same_images(captured, count, noise_mode):
    generator, run = captured
    run(_ws(generator, 3, seed=1), noise_mode)  # leaves other latents behind
    ws = _ws(generator, count)
    images = run(ws, noise_mode)
    assert images.shape[0] == count
    if count:
        assert _close(images, generator.synthesis(ws, noise_mode))


def test_results_are_not_overwritten_by_the_next_call(captured):
    generator, run = captured
    first = run(_ws(generator, 2))
    kept = first.clone()
    run(_ws(generator, 2, seed=1))
    assert torch.equal(first, kept)


def test_each_noise_mode_is_recorded_once(captured, recorder):
    generator, run = captured
    for mode in ("const", "none", "const", "none"):
        run(_ws(generator, 2), mode)
    assert recorder.recordings == 2


def test_changed_weights_are_recorded_anew(captured, recorder):
    generator, run = captured
    ws = _ws(generator, 2)
    before = run(ws)
    with torch.no_grad():
        max(generator.synthesis.parameters(), key=torch.Tensor.numel).mul_(-1.5)
    after = run(ws)
    assert recorder.recordings == 2
    assert _close(after, generator.synthesis(ws))
    assert not _close(after, before, 1e-2)
    generator.bfloat16()
    assert _close(run(ws), generator.synthesis(ws))
    assert recorder.recordings == 3


def test_works_in_inference_mode(captured):
    generator, run = captured
    with torch.inference_mode():
        ws = _ws(generator, 2)
        assert _close(run(ws), generator.synthesis(ws))


def test_what_cannot_be_captured_is_refused(captured):
    generator, run = captured
    with pytest.raises(InvalidInputError, match=r"4 latents.*at most 3.*compiled\(batch_size=4\)"):
        run(_ws(generator, 4))
    with pytest.raises(InvalidInputError, match=r"no gradient.*generator\.synthesis"):
        run(_ws(generator, 1).requires_grad_())
    with pytest.raises(InvalidInputError, match="const, random, none"):
        run(_ws(generator, 1), "fixed")
    with pytest.raises(InvalidInputError, match="on the generator's device, cpu; got meta"):
        run(_ws(generator, 1).to("meta"))
    with pytest.raises(InvalidInputError, match="at least 1, got 0"):
        CapturedSynthesis(generator.synthesis, 0)


def test_a_cpu_generator_has_no_graph_to_record(tiny):
    with pytest.raises(InvalidInputError, match=r"records a CUDA graph, but this generator is on cpu.*compiled\(\)"):
        tiny().compiled(batch_size=4)


class CudaCalls:
    """Stands for the part of torch.cuda that records a graph; `captured_on` lists the streams of all recordings."""

    def __init__(self, monkeypatch):
        self.captured_on = []
        plain = {"device": nullcontext, "stream": nullcontext, "CUDAGraph": MagicMock, "current_stream": MagicMock}
        for name, stand_in in {**plain, "Stream": MagicMock, "graph": self.graph}.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)

    @contextmanager
    def graph(self, graph, stream=None):
        self.captured_on.append(stream)
        yield


def test_a_graph_is_captured_on_a_stream_of_its_own_device(monkeypatch):
    calls = CudaCalls(monkeypatch)
    capture_cuda_graph(lambda: torch.zeros(()), torch.device("cuda", 1))
    assert calls.captured_on != [None]  # torch's own stream for it is on the device that captured first
    assert len(calls.captured_on) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_a_graph_gives_the_images_of_the_plain_synthesis(tiny, noise_mode, dtype):
    generator = tiny().to("cuda").to(dtype).requires_grad_(False)
    run = generator.compiled(batch_size=3)
    for seed, count in enumerate((3, 2, 3)):
        ws = _ws(generator, count, seed)
        images = run(ws, noise_mode)
        # the library may choose another algorithm for another batch size
        assert _close(images, generator.synthesis(ws, noise_mode), 1e-5 if dtype is torch.float32 else 1e-2)
        assert torch.equal(run(ws, noise_mode), images)


@pytest.mark.gpu
def test_random_noise_is_fresh_at_every_replay(tiny):
    generator = tiny().to("cuda")
    run = generator.compiled(batch_size=1)
    images = [run(_ws(generator, 1), "random") for _ in range(4)]
    assert all(not torch.equal(a, b) for i, a in enumerate(images) for b in images[:i])


@pytest.mark.gpu
def test_weights_changed_in_place_reach_the_next_replay(tiny):
    generator = tiny().to("cuda").requires_grad_(False)
    run = generator.compiled(batch_size=2)
    ws = _ws(generator, 2)
    before = run(ws)
    max(generator.synthesis.parameters(), key=torch.Tensor.numel).mul_(-1.5)
    after = run(ws)
    assert _close(after, generator.synthesis(ws))
    assert not _close(after, before, 1e-2)
