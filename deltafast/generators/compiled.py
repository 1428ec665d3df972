"""Faster ways to run a synthesis: compiled by torch.compile, or recorded once as a CUDA graph and replayed."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from deltafast.errors import InvalidInputError
from deltafast.generators.synthesis import SynthesisNetwork

__all__ = ["CapturedSynthesis", "CompiledSynthesis", "capture_cuda_graph"]

_WARM_UP = 3

Capture = Callable[[Callable[[], Tensor], torch.device], Callable[[], Tensor]]


class CompiledSynthesis:
    """A compiled synthesis that becomes the eager one when the first compilation fails.

    Called like `synthesis`. With `second_order=True` it is the eager one: what is compiled has no second derivative.
    """

    def __init__(self, synthesis: SynthesisNetwork) -> None:
        self._eager = synthesis
        self._compiled: Callable[..., Tensor] | None = torch.compile(synthesis)

    def __call__(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        *,
        force_fp32: bool = False,
        second_order: bool = False,
        fused_modconv: bool | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        self._eager.check_inputs(ws, noise_mode)
        if self._compiled is not None and not second_order:
            try:
                return self._compiled(ws, noise_mode, force_fp32=force_fp32)
            except _compilation_errors() as error:
                self._compiled = None
                reason = str(error).strip().splitlines()[0]
                warnings.warn(
                    f"synthesis cannot be compiled here and runs uncompiled ({reason}); "
                    "a C++ compiler (g++ or clang++) and Python's headers are needed",
                    RuntimeWarning,
                    stacklevel=2,
                )
        result: Tensor = self._eager(ws, noise_mode, force_fp32=force_fp32, second_order=second_order)
        return result


def _compilation_errors() -> tuple[type[BaseException], ...]:
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    return (TorchDynamoException, CppCompileError, InvalidCxxCompiler)


class CapturedSynthesis:
    """The synthesis of up to `batch_size` images as one CUDA graph: no launch waits for Python.

    Called like `synthesis`: `ws` `[n, num_ws, w_dim]` with n <= batch_size, on the weights' device, a noise mode, and
    `force_fp32`; its other options concern gradients alone, or nothing. Returns fp32 images `[n, channels, H, W]` of
    their own memory, without gradient. A graph is recorded at the first call with each mode and precision, and again
    after the weights were cast or moved; what is derived of them is derived in the graph, so that a write to them shows
    at the next replay. A smaller batch takes as long as a full one. "random" noise is fresh at every call. To be called
    from one thread and one stream.

    Raises `InvalidInputError` for a wrong shape, device or noise mode, a larger batch, and latents that want a
    gradient.
    """

    def __init__(self, synthesis: SynthesisNetwork, batch_size: int, capture: Capture | None = None) -> None:
        if batch_size < 1:
            raise InvalidInputError(f"batch_size must be at least 1, got {batch_size}")
        self._synthesis = synthesis
        self._batch_size = batch_size
        self._capture = capture or capture_cuda_graph
        self._recorded: dict[tuple[str, bool], tuple[object, Tensor, Callable[[], Tensor]]] = {}

    def __call__(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        *,
        force_fp32: bool = False,
        second_order: bool = False,
        fused_modconv: bool | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        self._synthesis.check_inputs(ws, noise_mode)
        count, device = ws.shape[0], self._synthesis.device
        if count > self._batch_size:
            raise InvalidInputError(
                f"ws holds {count} latents, but the synthesis was captured for at most {self._batch_size}; "
                f"call it in parts, or use generator.compiled(batch_size={count})"
            )
        if ws.device != device:
            raise InvalidInputError(f"ws must be on the generator's device, {device}; got {ws.device}")
        if ws.requires_grad and torch.is_grad_enabled():
            raise InvalidInputError(
                "a captured synthesis has no gradient; use generator.synthesis or generator.compiled() without a "
                "batch size, or pass ws.detach()"
            )
        with torch.inference_mode(False), torch.no_grad():
            buffer, replay = self._graph(noise_mode, bool(force_fp32), device)
            buffer[:count].copy_(ws)
            return replay()[:count].clone()  # [n, channels, H, W]

    def _graph(self, noise_mode: str, force_fp32: bool, device: torch.device) -> tuple[Tensor, Callable[[], Tensor]]:
        """Return the graph's input `[batch_size, num_ws, w_dim]` and what runs it, recorded anew where necessary."""
        key = noise_mode, force_fp32
        state = _state(self._synthesis)
        if key not in self._recorded or self._recorded[key][0] != state:
            self._recorded.pop(key, None)  # frees the old graph's memory first
            synthesis, dtype = self._synthesis, torch.promote_types(self._synthesis.dtype, torch.float32)
            buffer = torch.zeros(self._batch_size, synthesis.num_ws, synthesis.w_dim, device=device, dtype=dtype)
            replay = self._capture(lambda: synthesis(buffer, noise_mode, force_fp32=force_fp32), device)
            self._recorded[key] = (_state(synthesis), buffer, replay)
        _, buffer, replay = self._recorded[key]
        return buffer, replay


def _state(synthesis: SynthesisNetwork) -> object:
    """Return what changes when a weight is replaced, cast or moved: a graph reads them where they were."""
    return [(t.data_ptr(), t.dtype, t.stride()) for t in (*synthesis.parameters(), *synthesis.buffers())]


def capture_cuda_graph(run: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """Record `run()`, which works on memory of its own on the CUDA `device`, as a graph.

    Returns what replays it: each call gives the same tensor, filled anew.
    """
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):  # libraries choose their kernels and allocate their workspaces
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=aside):  # its default stream is that of the device it first saw
            result = run()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay
