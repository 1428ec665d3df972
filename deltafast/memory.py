"""How the C library treats freed memory, which decides much of the speed of large networks on CPUs."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD = -1  # glibc's malloc.h
_M_MMAP_THRESHOLD = -3
_MAPPED_FROM = (1 << 30, 1 << 25)  # bytes; a glibc that refuses the first takes half a heap, the second


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors for the next ones, and return whether that could be set.

    glibc hands large blocks back to the system when they are freed, so every activation of a generator is paged in
    anew. The price is that the process stays as large as it once was.
    `deltafast`'s commands call it; a program that imports the library may. Only glibc has the setting: elsewhere
    nothing happens and the result is False.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    mapped = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _MAPPED_FROM)
    trimmed = bool(mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))  # whatever came of the first
    return mapped and trimmed
