"""How the C library treats freed memory, which decides much of the speed of large networks on CPUs."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

__all__ = ["keep_freed_memory", "return_freed_memory", "share_freed_memory"]

_M_TRIM_THRESHOLD = -1  # glibc's malloc.h
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MAPPED_FROM = (1 << 30, 1 << 25)  # bytes; a glibc that refuses the first takes half a heap, the second


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors for the next ones, and return whether that could be set.

    glibc hands large blocks back to the system when they are freed, so every activation of a generator is paged in
    anew. The price is that the process stays as large as it once was.
    `deltafast`'s commands call it; a program that imports the library may. Only glibc has the setting: elsewhere
    nothing happens and the result is False.
    """
    mallopt = _mallopt()
    if mallopt is None:
        return False
    mapped = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _MAPPED_FROM)
    trimmed = bool(mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))  # whatever came of the first
    return mapped and trimmed


def share_freed_memory() -> bool:
    """Let all threads of this process reuse each other's freed memory, and return whether that could be set.

    glibc gives threads heaps of their own, eight for each core, and what one thread frees another one cannot have: a
    program whose work goes from thread to thread keeps as much for each as one of them once took. With one heap it
    keeps that once; threads that allocate at the same moment wait for each other. Heaps that threads have by then stay:
    call it before there are any. Only glibc has the setting: elsewhere nothing happens and the result is False.
    """
    mallopt = _mallopt()
    return mallopt is not None and bool(mallopt(_M_ARENA_MAX, 1))


def return_freed_memory() -> bool:
    """Hand freed memory back to the system, and return whether some was.

    For programs that keep freed memory and run on: what stays between the blocks in use grows too small for the next
    large tensors, which go elsewhere. What is handed back is paged in anew when it is used again. At the end of heaps
    that threads have of their own (see `share_freed_memory`) glibc keeps it. Only glibc has the call: elsewhere nothing
    happens and the result is False.
    """
    trim = _of_glibc("malloc_trim")
    return trim is not None and bool(trim(0))


def _mallopt() -> Any:
    """The C library's function that sets how it allocates; None where it has none."""
    return _of_glibc("mallopt")


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
