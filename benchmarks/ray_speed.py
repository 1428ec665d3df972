"""How fast many machines are, seen on one: two one-thread workers against one, and Ray against a single process.

    python -m benchmarks.ray_speed [--faces 40] [--out benchmarks/results/ray_speed.json]

Edits sampled faces (MobileStyleGAN, 1024 x 1024, PNG files): by `edit_stream` in this process on as many threads as
there are workers, then by `run_job` with one worker of one thread, and with that many. The speed of a run is that from
the moment when each of its workers has finished something to the last samples, when one may wait for another: what
starting takes stands beside it. The memory of each worker is read with every sample. For what a million faces take,
the part that no GPU makes faster, a PNG file, is timed by itself; the index is `benchmarks.ray_index`'s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.ray_cluster import workers_below
from deltafast.delta.loading import load_editor
from deltafast.editing import EditOptions, edit_stream
from deltafast.editing.provenance import Provenance
from deltafast.editing.result_files import ResultFiles
from deltafast.evaluation.machine import describe_run
from deltafast.files import write_json, write_png
from deltafast.generators.load import load_generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.pixels import to_arrays
from deltafast.scale import EditJob, RayOptions, run_job
from deltafast.scale.cluster import ray_session
from deltafast.scale.journal import journals
from deltafast.scale.sources import seed_samples

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=40, help="of the runs with all workers; one worker gets half")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--generator", default="mobilestylegan-ffhq")
    parser.add_argument("--editor", default="yaw")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "ray_speed.json")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="deltafast-") as name:
        folder = Path(name)
        alone, parts = in_this_process(options, folder / "alone")
        with ray_session("local", options.workers):
            one = on_ray(options, folder / "one", 1, options.faces // 2)
            all_ = on_ray(options, folder / "all", options.workers, options.faces)
    result = {
        "run": describe_run(),
        "generator": options.generator,
        "batch_size": options.batch_size,
        "edit_stream": {"threads": options.workers, "faces_per_second": round(alone, 4)},
        "one_worker": one,
        "all_workers": all_,
        "parts": parts,
        "workers_against_one": round(all_["faces_per_second"] / one["faces_per_second"], 3),
        "ray_against_edit_stream": round(all_["faces_per_second"] / alone, 3),
    }
    write_json(options.out, result)
    for key, value in result.items():
        if key != "run":
            print(f"{key:<28} {value}")
    return 0


def in_this_process(options: argparse.Namespace, out: Path) -> tuple[float, dict[str, float]]:
    """Faces a second of `edit_stream`, files written, after the first two; and what a file takes."""
    torch.set_num_threads(options.workers)
    G = load_generator(options.generator)
    editor = load_editor(options.editor).for_generator(G)
    files = ResultFiles(["_+1"], [Provenance.of(G, [{"attribute": options.editor, "alpha": 1.0}])])
    edit = EditOptions(batch_size=options.batch_size, output="uint8", output_device="cpu")
    ws = latents_from_seeds(G, range(options.faces // 2), 0.7)  # [N, num_ws, w_dim]
    times = []
    done = 0
    for result in edit_stream(G, ws, [editor], [[[1.0]]], edit):
        files.write_rows(out, [f"seed{done + row:04d}" for row in range(len(result))], result)
        done += len(result)
        times.append((time.perf_counter(), done))
    (start, first), (end, last) = times[1], times[-1]
    assert result.images is not None
    image = to_arrays(result.images[0])[0]  # [H, W, C]
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        write_png(out / "one.png", image)
        seconds.append(time.perf_counter() - begun)
    sizes = [path.stat().st_size for path in out.glob("seed*.png")]
    file = {"png_seconds": round(statistics.median(seconds), 4), "png_mib": round(statistics.mean(sizes) / 2**20, 3)}
    return (last - first) / (end - start), file


def on_ray(options: argparse.Namespace, out: Path, workers: int, faces: int) -> dict[str, Any]:
    """Edit so many faces on workers of one thread; return faces a second, and the seconds and bytes around it."""
    edit = EditOptions(batch_size=options.batch_size)
    job = EditJob((options.editor,), (1.0,), generator=options.generator, options=edit)
    with _Watch(out) as seen:
        begun = time.perf_counter()
        spread = RayOptions(workers=workers, per_shard=1_000_000)  # a shard for each worker
        run_job(job, seed_samples(f"0-{faces - 1}"), out, {"command": "edit"}, spread)
        ended = time.perf_counter()
    rows = seen.rows
    start = next(row for row in rows if row[2] == workers)
    near = max(start[1] + 1, faces - 2 * workers * options.batch_size)  # the last ones may leave a worker without work
    end = next(row for row in rows if row[1] >= near)
    memory = [max(row[3]) for row in rows if row[1] >= start[1] and row[3]]
    quarter = max(1, len(memory) // 4)
    return {
        "workers": workers,
        "faces": faces,
        "faces_per_second": round((end[1] - start[1]) / (end[0] - start[0]), 4),
        "faces_timed": end[1] - start[1],
        "seconds_until_all_work": round(start[0] - begun, 1),
        "seconds": round(ended - begun, 1),
        "largest_worker_mib": {
            "first_quarter": round(statistics.median(memory[:quarter]) / 2**20, 1),
            "last_quarter": round(statistics.median(memory[-quarter:]) / 2**20, 1),
        },
    }


class _Watch:
    """Notes in a thread of its own whenever samples are done: when, how many, how many workers have a shard, memory."""

    def __init__(self, out: Path) -> None:
        self.rows: list[tuple[float, int, int, list[int]]] = []
        self._out = out
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        before = 0
        while not self._ended.wait(0.05):
            count = sum(len(journal.rows) for journal in journals(self._out))
            if count > before:
                before = count
                shards = sum(1 for _ in (self._out / "shards").glob("*.tar"))
                memory = [resident_bytes(one) for one in workers_below(os.getpid())]
                self.rows.append((time.perf_counter(), count, shards, memory))


def resident_bytes(process: int) -> int:
    """Return the memory that a process has of its own; 0 where it is gone."""
    try:
        fields = Path("/proc", str(process), "statm").read_bytes().split()
    except OSError:
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
