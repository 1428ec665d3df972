"""Fuzz every reader of files that nobody vouches for.

    python tests/fuzz/fuzz_readers.py --inputs 1000000 --out benchmarks/results/fuzz_readers.json

A reader may give a value or raise its own error, in one printable line that names the file. Anything else is a finding:
another error, more than 10 seconds, an allocation of more than 1 GB (the address space is limited, and refused
allocations are looked for in the causes of every error), a defect of the reader among these causes, a process or a
connection, a file that is written. Findings are kept beside the JSON, in a folder of its name.

`--engine atheris` is guided by coverage, where atheris is installed (PyPI: atheris); "mutation" is seeded, and the same
seed gives the same inputs.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import importlib
import importlib.util
import json
import logging
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent)]

_READERS = ("deltafast.untrusted", "deltafast.generators.checkpoints", "deltafast.delta", "deltafast.sequence_latents")


def _instrumented() -> contextlib.AbstractContextManager[None]:
    """Where atheris is to guide the run, modules that are imported meanwhile tell it what they execute."""
    wanted = __name__ == "__main__" and "mutation" not in sys.argv and importlib.util.find_spec("atheris") is not None
    if not wanted:
        return contextlib.nullcontext()
    found: contextlib.AbstractContextManager[None] = importlib.import_module("atheris").instrument_imports(
        include=list(_READERS), enable_loader_override=False
    )
    return found


with _instrumented():
    import torch
    from mutation import mutated
    from targets import TARGETS, Target

import deltafast  # noqa: E402
from deltafast.evaluation.machine import describe_run  # noqa: E402

__all__ = ["Fuzzer", "main"]

_SECONDS = 10  # for one input
_MEMORY = 1 << 30  # bytes that one input may allocate
_FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "os.remove")
_FORBIDDEN += ("shutil.rmtree", "ctypes.dlopen", "pickle.find_class", "os.rename", "os.mkdir")


class _HangError(BaseException):
    """One input took too long."""


class _ForbiddenError(BaseException):
    """What no reader may do."""


class Fuzzer:
    """Tries inputs on readers in a folder of its own, and counts what they do."""

    def __init__(self, folder: Path, keep: Path | None = None) -> None:
        self.folder = folder
        self.keep = keep
        self.counts: dict[str, collections.Counter[str]] = {t.name: collections.Counter() for t in TARGETS}
        self.seconds: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0
        self.findings: list[dict[str, str]] = []
        self._watching = False
        sys.addaudithook(self._audit)
        signal.signal(signal.SIGALRM, _alarm)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if event in _FORBIDDEN or writes:
            raise _ForbiddenError(f"{event} {arguments!r}"[:200])

    def try_input(self, target: Target, data: bytes) -> None:
        """Give one input to a reader."""
        path = self.folder / f"input{target.suffix}"
        path.write_bytes(data)
        finding, begun = None, time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, _SECONDS)
        self._watching = True
        try:
            target.read(path)
            outcome = "read"
        except target.error as error:
            outcome = "refused"
            message = str(error)
            if type(error) is not target.error:
                finding = f"a subclass of the reader's error: {type(error).__name__}"
            elif not message.isprintable() or path.name not in message or len(message) > 2000:
                finding = f"a message of more than one printable line, or without the file: {message[:200]!r}"
            elif (cause := _suspicious(error)) is not None:
                finding = f"{cause}: {message[:200]}"
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            outcome = finding = f"{type(error).__name__}: {str(error)[:200]}"
        finally:
            self._watching = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        taken = time.perf_counter() - begun
        self.seconds[target.name] += taken  # type: ignore[assignment]
        self.slowest = max(self.slowest, taken)
        self.counts[target.name]["finding" if finding else outcome] += 1
        if finding:
            self._found(target, data, finding)

    def _found(self, target: Target, data: bytes, finding: str) -> None:
        name = f"{target.name.replace(' ', '-').replace('.', '')}-{hashlib.sha256(data).hexdigest()[:8]}{target.suffix}"
        if len(self.findings) < 1000:
            self.findings.append({"reader": target.name, "file": name, "finding": finding})
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            (self.keep / name).write_bytes(data)

    def mutate(self, inputs: int, seed: int, tell: Callable[[int], None] | None = None, seconds: float = 1e9) -> int:
        """Try `inputs` mutated seeds, or as many as `seconds` allow; return how many there were."""
        seeds = {target.name: target.seeds(self.folder) for target in TARGETS}
        for target in TARGETS:
            for data in seeds[target.name]:
                self.try_input(target, data)
        weights = [target.weight for target in TARGETS]
        everything = [data for own in seeds.values() for data in own]
        begun = time.monotonic()
        for number in range(inputs):
            choice = random.Random(f"{seed}/{number}")
            (target,) = choice.choices(TARGETS, weights)
            data = mutated(choice.choice(seeds[target.name]), choice.choice(everything), choice)
            self.try_input(target, data)
            if tell is not None and number % 10_000 == 9_999:
                tell(number + 1)
            if number % 50 == 0 and time.monotonic() - begun > seconds:
                return number + 1
        return inputs


def _alarm(*_: Any) -> None:
    raise _HangError(f"more than {_SECONDS} seconds")


def _suspicious(error: BaseException) -> str | None:
    """What an error's causes say against the reader: an allocation that the limit refused, or a defect of ours."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or "allocate memory" in str(cause):
            return f"an allocation of more than {_MEMORY} bytes"
        if isinstance(cause, (NameError, AssertionError)):
            return f"a defect of the reader, {type(cause).__name__}"
        cause = cause.__cause__ or cause.__context__
    return None


def limit_memory() -> None:
    """Let this process take 1 GB of address space beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _with_atheris(fuzzer: Fuzzer, inputs: int, seed: int, corpus: Path, report: Callable[[int], None]) -> None:
    """Guided by coverage: the first byte of an input chooses the reader. Ends the process by itself."""
    atheris = importlib.import_module("atheris")
    corpus.mkdir(parents=True, exist_ok=True)
    for number, target in enumerate(TARGETS):
        for data in target.seeds(fuzzer.folder):
            content = bytes([number]) + data
            (corpus / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)

    tried = 0

    def one(data: bytes) -> None:
        nonlocal tried
        if data:
            fuzzer.try_input(TARGETS[data[0] % len(TARGETS)], data[1:])
        tried += 1
        if tried % 10_000 == 0 or tried == inputs:
            report(tried)  # atheris ends the process without coming back

    atheris.Setup(
        [sys.argv[0], f"-runs={inputs}", f"-seed={seed}", "-max_len=20000", "-malloc_limit_mb=1024", str(corpus)], one
    )
    atheris.Fuzz()


def main() -> int:
    """Run the command line; 0 where nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("auto", "mutation", "atheris"), default="auto")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fuzz_readers.json"))
    options = parser.parse_args()
    engine = options.engine
    if engine == "auto":
        engine = "atheris" if importlib.util.find_spec("atheris") is not None else "mutation"
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)  # of foreign objects there are many here
    run, sources = describe_run(), _sources()
    begun, cpu = time.monotonic(), time.process_time()
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        fuzzer = Fuzzer(Path(folder), options.out.with_suffix(""))

        def report(inputs: int) -> None:
            value = {
                **run,
                "engine": engine,
                "inputs": inputs,
                "seed": options.seed,
                "seconds": round(time.monotonic() - begun, 1),
                "cpu_seconds": round(time.process_time() - cpu, 1),
                "slowest_input_seconds": round(fuzzer.slowest, 3),
                "largest_resident_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "limits": {"seconds": _SECONDS, "bytes": _MEMORY},
                "readers": {name: dict(sorted(found.items())) for name, found in fuzzer.counts.items()},
                "findings": fuzzer.findings,
                "sources": sources,
            }
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")

        if engine == "atheris":
            _with_atheris(fuzzer, options.inputs, options.seed, options.out.with_suffix("") / "corpus", report)
        limit_memory()
        report(fuzzer.mutate(options.inputs, options.seed, report))
    print(f"{len(fuzzer.findings)} findings; {options.out}")
    return 1 if fuzzer.findings else 0


def _sources() -> str:
    """A sha256 of the readers' own sources."""
    package = Path(deltafast.__file__).parent
    files = [*(package / "untrusted").glob("*.py"), *(package / "generators" / "checkpoints").glob("*.py")]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
