"""What the driver of a run through Ray needs for its index: time and memory, by how many samples there are.

    python -m benchmarks.ray_index [--rows 10000 100000 1000000] [--out benchmarks/results/ray_index.json]

For each number, in a process of its own: journals of made-up rows are written, 64 a batch, as workers do; then they
become the index, the index is held against the samples as when the run is given again, and gone through once more.
Memory is the peak of the whole process, above what it has before the samples are listed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deltafast.evaluation.machine import describe_run
from deltafast.files import write_json
from deltafast.scale.fold import fold_journals
from deltafast.scale.index import INDEX, index_rows, table_of_rows
from deltafast.scale.journal import Journal
from deltafast.scale.kept import look_through, shard_ends
from deltafast.scale.samples import Sample

ROOT = Path(__file__).resolve().parent.parent
_BATCH = 64
_MIB = 1 << 20


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)  # of the process for one number
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "ray_index.json")
    options = parser.parse_args(arguments)
    if options.work is not None:
        print(json.dumps(measure(options.work, options.rows[0])))
        return 0
    found = []
    for rows in options.rows:
        with tempfile.TemporaryDirectory(prefix="deltafast-") as name:
            write_journals(Path(name), rows)
            words = [sys.executable, "-m", "benchmarks.ray_index", "--rows", str(rows), "--work", name]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        found.append({"rows": rows, **json.loads(done.stdout)})
        print(found[-1], flush=True)
    write_json(options.out, {"run": describe_run(), "sizes": found})
    return 0


def write_journals(out: Path, rows: int) -> None:
    """Write the notes of workers that have made so many sampled faces, a file each, in shards of a thousand."""
    for start in range(0, rows, _BATCH):
        numbers = range(start, min(start + _BATCH, rows))
        journal = Journal.of(out, [_name(number) for number in numbers])
        journal.path.parent.mkdir(parents=True, exist_ok=True)
        lines = [{"begun": [_name(number) for number in numbers], "settings": "0" * 16}]
        lines += [{"row": _row(number)} for number in numbers]
        # as `finish` writes it, but for a million fsyncs
        journal.path.write_text("".join(f"\n{json.dumps(line, sort_keys=True)}\n" for line in lines))
    (out / "shards").mkdir()
    for shard in range(-(-rows // 1000)):
        with open(out / "shards" / f"{shard:016d}.tar", "wb") as stream:
            stream.truncate(1000 * 2048)  # a hole: nothing is read from it


def _name(number: int) -> str:
    return f"seed{number:08d}"


def _row(number: int) -> dict[str, Any]:
    place = {"shard": f"shards/{number // 1000:016d}.tar", "start": number % 1000 * 2048 + 512, "size": 1500}
    row = {"id": _name(number), "input": f"seed {number}", "input_sha256": "0" * 64, "input_size": -1, "input_time": -1}
    row |= {"done": "edit, alpha: yaw=1.0", "settings": "0" * 16, "faces": 1, "tries": 1, "warnings": [], "error": None}
    return {**row, "files": [{"name": f"{_name(number)}.+1.png", "sha256": f"{number:064x}", **place}]}


def measure(out: Path, rows: int) -> dict[str, Any]:
    """Fold, look through and read the index of these journals; return seconds and bytes."""
    table_of_rows([])  # pyarrow is imported
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401

    seconds = {}
    before = _peak()
    samples = [Sample(_name(number), "seed", number=number) for number in range(rows)]
    listed = _peak()

    def timed(name: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = work()
        seconds[name] = round(time.perf_counter() - begun, 2)
        return result

    timed("fold", lambda: fold_journals(out, "0" * 16))
    folded = _peak()
    kept = timed("look_through", lambda: look_through(out, {one.id: one for one in samples}, "0" * 16, retry=False))
    timed("shard_ends", lambda: shard_ends(out))
    read = timed("read", lambda: sum(1 for _ in index_rows(out)))
    if read != rows or len(kept.done) != rows or kept.dropped:
        raise RuntimeError(f"{rows} rows were written, {read} read, {len(kept.done)} taken for done")
    return {
        "seconds": seconds,
        "process_mib": round(before / _MIB, 1),
        "samples_mib": round((listed - before) / _MIB, 1),
        "fold_mib": round((folded - listed) / _MIB, 1),
        "all_mib": round((_peak() - before) / _MIB, 1),
        "file_mib": round((out / INDEX).stat().st_size / _MIB, 2),
    }


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    sys.exit(main())
