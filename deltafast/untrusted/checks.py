"""The checks that all readers share, and the one place where what they raise is caught."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from deltafast.errors import DeltafastError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["UnreadableError", "check_finite", "check_growth", "check_name", "one_line", "reading", "reason_of", "shown"]

_MAX_REASON = 200  # characters
_MAX_NAME = 200
_MAX_GROWTH = 64  # how many times its size a file may unpack to ...
_FREE_BYTES = 1 << 24  # ... beyond these, which do no harm


class UnreadableError(ValueError):
    """What is wrong with a file, in words; inside a reader only, `reading` makes of it an error of deltafast."""


@contextlib.contextmanager
def reading(refuse: Callable[[str], DeltafastError]) -> Iterator[None]:
    """Turn whatever is raised while a file is read into `refuse(reason)`, `reason` being one printable line.

    Errors of the type that `refuse` makes pass as they are; `MemoryError` and `RecursionError` are turned as well.
    """
    try:
        yield
    except Exception as error:  # decoders meet hostile bytes with errors of nearly every type
        refusal = refuse(reason_of(error))
        if type(error) is type(refusal):
            raise
        raise refusal from error


def reason_of(error: BaseException) -> str:
    """What an error says, as one printable line of at most 200 characters, never empty."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, MemoryError):
        return "claims more than memory holds"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, KeyError) and error.args:
        return f"{shown(error.args[0])} is missing"
    return one_line(str(error)) or type(error).__name__


def one_line(text: str) -> str:
    """The first line of a text with anything to read in it, printable, at most 200 characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return "".join(c if c.isprintable() else "?" for c in line[:_MAX_REASON])


def shown(value: Any) -> str:
    """A value for a message: plain ones as they are written, at most 60 characters; of a container its kind alone."""
    if isinstance(value, (str, bytes)):
        return repr(value[:60])
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of over 40 digits"
    return repr(value)[:60] if isinstance(value, (bool, int, float, type(None))) else f"a {type(value).__name__}"


def check_name(value: Any, what: str) -> str:
    """Return a name out of a file: a string of 1 to 200 printable characters. Raises `UnreadableError`."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or not value.isprintable():
        raise UnreadableError(f"{what} is {shown(value)}; expected a name of 1 to {_MAX_NAME} printable characters")
    return value


def check_finite(tensor: Tensor, what: str) -> None:
    """Raise `UnreadableError` where a dense floating-point tensor holds NaN or infinity."""
    import torch  # only here: what reads JSON alone does without

    if tensor.is_floating_point():
        wide = tensor.float() if tensor.element_size() == 1 else tensor  # 8-bit floats know no isfinite
        if not bool(torch.isfinite(wide).all()):
            raise UnreadableError(f"{what} holds NaN or infinity")


def check_growth(claimed: int, held: int, what: str) -> None:
    """Raise `UnreadableError` where `what` claims far more bytes than the `held` ones it is made of (a bomb)."""
    if claimed > _MAX_GROWTH * held + _FREE_BYTES:
        size = f"10^{math.log10(claimed):.0f}" if claimed >= 10**12 else str(claimed)
        raise UnreadableError(f"{what} claims {size} bytes but is made of {held}, more than {_MAX_GROWTH} times fewer")
