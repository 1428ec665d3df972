"""Registers an op with torch: its fake, its gradient, and the refusals where it has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch

from deltafast.errors import NativeOpError

_BACKWARD = "_backward"


def register(
    op: str,
    *,
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., None] | None = None,
    differentiable: bool = True,
    instead: str = "",
) -> None:
    """Give `torch.ops.deltafast.<op>` its fake and its gradient.

    - `fake`: what `torch.library.register_fake` takes: the results' shapes, dtypes and layouts.
    - `backward`, `setup_context`: what `torch.library.register_autograd` takes.
    - `differentiable=False`: a gradient through the op raises `NativeOpError`. Of `<name>_backward` it says that the
      native kernel of `<name>` can be differentiated once only; of others, that the kernel has no gradient, and what
      to call `instead`.

    An op with neither (one on integers, say) is left as torch takes it.
    """
    name = f"deltafast::{op}"
    torch.library.register_fake(name, fake)
    if backward is not None:
        torch.library.register_autograd(name, backward, setup_context=setup_context)
    elif not differentiable:

        def refuse(ctx: Any, *_: Any) -> NoReturn:
            if op.endswith(_BACKWARD):
                raise second_order(op.removesuffix(_BACKWARD))
            raise NativeOpError(f"{op}: the native kernel has no gradient. {instead}".strip())

        torch.library.register_autograd(name, refuse)


def second_order(op: str) -> NativeOpError:
    """Return the error for whoever differentiates the native gradient of `op` again."""
    return NativeOpError(
        f"{op}: the native kernel can be differentiated once only. "
        "Use impl='reference' where a second-order gradient is needed; through a generator, "
        "generator.synthesis(ws, second_order=True)."
    )
