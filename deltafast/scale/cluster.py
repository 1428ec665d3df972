"""Ray as it is started and joined: on the loopback alone, without a dashboard, telling nobody that it is used."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sys
from collections.abc import Iterator
from typing import Any

from deltafast.errors import DeltafastError, WorkerError

__all__ = ["import_ray", "ray_session"]

_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_STORE = 128 << 20  # bytes; only records travel, pictures do not


def import_ray() -> Any:
    """Return the module `ray`, with `ray.data`. Raises `DeltafastError` that says what to install."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import pyarrow  # noqa: F401
        import ray
        import ray.data
    except ImportError as error:
        raise DeltafastError(
            f'work on more than one machine needs the extra `scale`: pip install "deltafast[scale]" ({error})'
        ) from error
    return ray


@contextlib.contextmanager
def ray_session(address: str, cpus: int | None = None) -> Iterator[Any]:
    """Yield `ray`, connected to the cluster at `address`, or for "local" to one of this machine that ends with it.

    The local one listens on the loopback alone, and asks for a token that only its own processes know. A session that
    is there already is used and left. Raises `DeltafastError` where there is no Ray, `WorkerError` where no cluster
    answers.
    """
    if address == "local":
        _take_loopback()
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    yield from _begun(ray, address, cpus)


def _take_loopback() -> None:
    """Set what Ray reads at its import: to stay on this machine, and to ask for a token of this process.

    What keeps Ray from clusters on some systems makes it take the loopback for its address.
    """
    if os.environ.get(_LOOPBACK) == "0":
        return
    loaded = sys.modules.get("ray")
    if loaded is None:
        os.environ.update({_LOOPBACK: "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
        os.environ.setdefault("RAY_worker_niceness", "0")  # workers are the work here, not something beside it
    elif not loaded.is_initialized():
        raise WorkerError(
            "Ray was imported before, and would listen on the network: call ray.init() yourself as you want it, or "
            "leave its import to deltafast"
        )


def _begun(ray: Any, address: str, cpus: int | None) -> Iterator[Any]:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    local = {"num_cpus": cpus, "object_store_memory": _STORE, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, **quiet, **local)
    except Exception as error:  # of Ray's, some are of no type of their own
        ray.shutdown()
        what = "Ray cannot be started here" if local else f"no Ray at {address}"
        raise WorkerError(f"{what}: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()
