"""Work in several processes that ends with an error, and never hangs, when one of them dies."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, resource_tracker
from typing import Any, Generic, TypeVar

from deltafast.errors import WorkerError

__all__ = ["Workers"]

Job = TypeVar("Job")
Result = TypeVar("Result")


class Workers(Generic[Job, Result]):
    """A number of spawned processes that apply one function to jobs; started at the first job, kept until `close`.

    `work` and `begin` (called once in each process with `arguments`) are functions of a module. Ctrl-C is left to the
    calling process: jobs that are under way are finished, the others dropped. When the calling process ends, however it
    ends (SIGKILL too), the workers end at once. They are spawned, never forked: torch hangs in a process that was
    forked after torch's threads had run.
    """

    def __init__(
        self,
        processes: int,
        work: Callable[[Job], Result],
        begin: Callable[..., None] | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> None:
        self._work = work
        self._closed = False
        self._executor = ProcessPoolExecutor(
            processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(begin, arguments),
        )

    def run(self, jobs: Sequence[Job]) -> Iterator[Result]:
        """Yield the results of `jobs` as they come; whatever ends this early closes the workers.

        Raises what `work` or `begin` raises, and `WorkerError` where a process ends by itself, or where the workers are
        closed.
        """
        if self._closed:
            raise WorkerError("these workers are closed (by close(), or because a job failed): make new ones")
        futures: list[Future[Result]] = []
        try:
            with _without_ctrl_c():  # a process that is still at its imports would answer it itself
                futures += [self._executor.submit(_do, self._work, job) for job in jobs]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            self.close()
            raise WorkerError(
                "a worker process ended by itself: it was killed (perhaps for want of memory), or it could not start "
                "(a script must call this below `if __name__ == '__main__':`). What was finished is kept; mend the "
                "cause, or use fewer processes, and run it again"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes, after the jobs that they are at."""
        self._closed = True
        self._executor.shutdown(wait=True, cancel_futures=True)


_failed: Exception | None = None  # what `begin` raised in this process; its first job hands it on


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Let processes that are started in the block be born deaf to Ctrl-C; this one answers it when the block ends."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it inside the block would end that early
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer
    threading.Thread(target=_end_with_parent, name="deltafast-parent-watch", daemon=True).start()
    global _failed
    try:
        if begin is not None:
            begin(*arguments)
    except Exception as error:
        _failed = error


def _end_with_parent() -> None:
    """Wait until the calling process is gone, and end this one: the executor's own workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _do(work: Callable[[Job], Result], job: Job) -> Result:
    if _failed is not None:
        raise _failed
    return work(job)
