"""The synthesis recorded once and replayed: everything but the recording itself is checked without a GPU."""

from __future__ import annotations

import copy
from contextlib import contextmanager, nullcontext
from unittest.mock import MagicMock

import pytest
import torch

from benchmarks.contenders import torch_itself
from deltafast.errors import InvalidInputError
from deltafast.generators.compiled import CapturedSynthesis, capture_cuda_graph
from deltafast.ops.tolerance import FLOOR, max_error


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


def test_the_options_of_a_synthesis_are_taken(tiny, captured, recorder, monkeypatch):
    generator, run = captured
    generator.bfloat16()
    ws = _ws(generator, 2)
    for whole in (False, True, False):
        assert _close(run(ws, force_fp32=whole), generator.synthesis(ws, force_fp32=whole), 1e-6)
    assert recorder.recordings == 2
    assert run(ws, fused_modconv=False, update_emas=True, second_order=True).shape[0] == 2
    monkeypatch.setattr(torch, "compile", lambda module: module)  # what it makes of it takes tens of seconds
    run = generator.compiled()
    assert torch.equal(run(ws, force_fp32=True), generator.synthesis(ws, force_fp32=True))
    ws.requires_grad_()
    (first,) = torch.autograd.grad(run(ws, second_order=True).square().sum(), ws, create_graph=True)
    assert first.requires_grad


def test_changed_weights_show_and_moved_ones_are_recorded_anew(captured, recorder):
    generator, run = captured
    ws = _ws(generator, 2)
    before = run(ws)
    with torch.no_grad():
        max(generator.synthesis.parameters(), key=torch.Tensor.numel).mul_(-1.5)
    after = run(ws)
    assert recorder.recordings == 1
    assert _close(after, generator.synthesis(ws))
    assert not _close(after, before, 1e-2)
    generator.bfloat16()
    assert _close(run(ws), generator.synthesis(ws))
    assert recorder.recordings == 2


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
    with pytest.raises(InvalidInputError, match="meta"):
        run(_ws(generator, 1).to("meta"))
    with pytest.raises(InvalidInputError, match="at least 1, got 0"):
        CapturedSynthesis(generator.synthesis, 0)


def test_a_cpu_generator_has_no_graph_to_record(tiny):
    with pytest.raises(InvalidInputError, match=r"records a CUDA graph, but this generator is on cpu.*compiled\(\)"):
        tiny().compiled(batch_size=4)


class CudaCalls:
    """Stands for the part of torch.cuda that records a graph; streams are told by the device that they are made on.

    `captured_on` lists the streams of all recordings; one that is not given is device 0's, as torch's own may be.
    """

    def __init__(self, monkeypatch):
        self.captured_on = []
        self.now = torch.device("cuda", 0)
        plain = {"stream": nullcontext, "CUDAGraph": MagicMock, "current_stream": MagicMock}
        for name, stand_in in {**plain, "device": self.device, "Stream": self.stream, "graph": self.graph}.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)

    @contextmanager
    def device(self, device):
        before, self.now = self.now, device
        yield
        self.now = before

    def stream(self):
        return MagicMock(made_on=self.now)

    @contextmanager
    def graph(self, graph, stream=None):
        self.captured_on.append(torch.device("cuda", 0) if stream is None else stream.made_on)
        yield


def test_a_graph_is_captured_on_a_stream_of_its_own_device(monkeypatch):
    calls = CudaCalls(monkeypatch)
    capture_cuda_graph(lambda: torch.zeros(()), torch.device("cuda", 1))
    assert calls.captured_on == [torch.device("cuda", 1)]


@pytest.fixture
def deterministic(monkeypatch):
    """cuDNN sums in one order: the gradient of a convolution, which up-samples, otherwise differs from run to run."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def _exact(generator, ws, noise_mode="const"):
    """The images in float64 on a CPU, and the error that they may have: see test_on_cuda.py."""
    on_cpu = copy.deepcopy(generator).cpu().float()
    exact = on_cpu.double().synthesis(ws.cpu().double(), noise_mode)
    own = 0.0
    if noise_mode == "const":  # what torch itself makes of the same weights in the same precision
        own = max_error(torch_itself(copy.deepcopy(generator).float(), generator.dtype)(ws), exact)
    else:
        own = max_error(generator.synthesis(ws, noise_mode), exact)
    return exact, max(2 * own, FLOOR * float(exact.abs().max()))


def _captured(generator, batch_size, recorder):
    """The graph on a GPU; on a CPU, and in the emulation of the kernels, what stands for it."""
    if generator.device.type == "cuda":
        return generator.compiled(batch_size=batch_size)
    return CapturedSynthesis(generator.synthesis, batch_size, recorder)


_ON_CUDA = pytest.mark.gpu
_DEVICES = ["cpu", pytest.param("cuda", marks=_ON_CUDA)]
_ON_GPU = [pytest.param("cuda", dtype, marks=_ON_CUDA) for dtype in (torch.float32, torch.float16)]
_PRECISIONS = [("cpu", torch.float32), *_ON_GPU]


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize(("device", "dtype"), _PRECISIONS, ids=str)
@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_a_graph_gives_the_images_of_the_plain_synthesis(tiny, recorder, noise_mode, device, dtype):
    generator = tiny().to(device).to(dtype).requires_grad_(False)
    run = _captured(generator, 3, recorder)
    for seed, count in enumerate((3, 2, 3)):  # cuDNN may choose another algorithm for another batch size
        ws = _ws(generator, count, seed)
        images = run(ws, noise_mode)
        exact, allowed = _exact(generator, ws, noise_mode)
        error = max_error(images, exact)
        assert error <= allowed, f"graph: error {error:.3e}, allowed {allowed:.3e}"
        assert torch.equal(run(ws, noise_mode), images)


@pytest.mark.parametrize("device", _DEVICES)
def test_random_noise_is_fresh_at_every_replay(tiny, recorder, device):
    generator = tiny().to(device)
    run = _captured(generator, 1, recorder)
    images = [run(_ws(generator, 1), "random") for _ in range(4)]
    assert all(not torch.equal(a, b) for i, a in enumerate(images) for b in images[:i])


@pytest.mark.parametrize("device", _DEVICES)
def test_weights_changed_in_place_reach_the_next_replay(tiny, recorder, device):
    generator = tiny().to(device).requires_grad_(False)
    run = _captured(generator, 2, recorder)
    ws = _ws(generator, 2)
    before = run(ws)
    max(generator.synthesis.parameters(), key=torch.Tensor.numel).mul_(-1.5)
    after = run(ws)
    exact, allowed = _exact(generator, ws)
    error = max_error(after, exact)
    assert error <= allowed, f"graph: error {error:.3e}, allowed {allowed:.3e}"
    assert not _close(after, before, 1e-2)
