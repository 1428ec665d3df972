"""A run in which everything dies: every sample must be in the index once, with the bytes of a run without faults.

    python -m benchmarks.ray_faults [--samples 20000] [--kill-every 20] [--out benchmarks/results/ray_faults.json]

Edits latents and photos through a small generator, by `deltafast edit --ray ADDRESS`, on a cluster of two nodes on the
loopback. Meanwhile a worker chosen at random is killed every so many seconds (from when something is done again after
the last one: on a busy machine a worker takes longer to start than that), the driver is killed twice and given again,
one node is lost and another joins; damaged files lie among the inputs, and such whose reading never ends. The run
without faults is one worker in this process. Exit code 1 where a sample is lost, there twice, or has other bytes.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.ray_cluster import Cluster
from deltafast.evaluation.machine import describe_run
from deltafast.files import write_json
from deltafast.scale.index import INDEX
from deltafast.scale.journal import FOLDER, Journal

if TYPE_CHECKING:
    from deltafast.scale import EditJob

ROOT = Path(__file__).resolve().parent.parent
_PER_FILE = 100  # latents
_PER_SHARD = 500
_LOST_AT, _JOINED_AT, _DRIVER_KILLED_AT = 0.4, 0.5, (0.25, 0.7)  # shares of the samples that are done


@dataclass(frozen=True)
class Inputs:
    """What is edited: a list of files, and what is to become of it."""

    listed: Path
    words: list[str]  # of `deltafast edit`
    good: int
    damaged: set[str]
    hanging: set[str]


@dataclass
class Told:
    """What was done to the run."""

    workers_killed: int = 0
    drivers_killed: int = 0
    nodes_stopped: int = 0
    nodes_joined: int = 0
    drivers: int = 0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--kill-every", type=float, default=20.0, help="seconds of work before the next worker dies")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds after which a sample counts as hanging")
    parser.add_argument("--damaged", type=int, default=20)
    parser.add_argument("--hanging", type=int, default=2)
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds after which the run counts as failed")
    parser.add_argument("--work", type=Path, help="a folder to work in and to leave; goes on after a stop")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "ray_faults.json")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="deltafast-") as name:
        folder = options.work or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        inputs = make_inputs(folder, options.samples, options.damaged, options.hanging)
        is_new = not (folder / "plain").exists()
        shutil.rmtree(folder / "out", ignore_errors=True)
        begun = time.monotonic()
        plain = without_faults(inputs, folder / "plain")
        plain_seconds = time.monotonic() - begun
        told = with_faults(inputs, folder / "out", options)
        found = compare(inputs, folder / "out", plain)
    result = {
        "run": describe_run(),
        "samples": options.samples,
        "damaged": len(inputs.damaged),
        "hanging": len(inputs.hanging),
        "kill_every_seconds": options.kill_every,
        "faults": {name: value for name, value in vars(told).items() if name not in ("seconds", "errors", "drivers")},
        "drivers": told.drivers,
        "seconds": round(told.seconds, 1),
        "seconds_without_faults_in_one_process": round(plain_seconds, 1) if is_new else None,
        **found,
    }
    write_json(options.out, result)
    for key, value in result.items():
        if key != "run":
            print(f"{key:<40} {value}")
    wrong = [*told.errors, *(key for key in ("lost", "twice", "differing", "wrong_errors") if result[key])]
    for one in wrong:
        print(f"error: {one}", file=sys.stderr)
    return 1 if wrong else 0


def make_inputs(folder: Path, samples: int, damaged: int, hanging: int) -> Inputs:
    """Write a generator, an editor, an encoder, and a list of inputs that become so many samples; keep those there."""
    listed = folder / "list.txt"
    if not listed.exists():
        _write_inputs(folder, samples, damaged, hanging)
    names = [Path(line).stem for line in listed.read_text().splitlines()]
    words = ["--generator", str(folder / "G.safetensors"), "--editor", str(folder / "yaw.safetensors"), "--alpha", "1"]
    words += ["--encoder", str(folder / "encoder.safetensors"), "--align", "never", "--batch-size", "16"]
    spoilt = [{name for name in names if name.startswith(word)} for word in ("damaged", "hanging")]
    return Inputs(listed, words, samples - damaged - hanging, *spoilt)


def _write_inputs(folder: Path, samples: int, damaged: int, hanging: int) -> None:
    import numpy as np
    import torch
    from safetensors.torch import save_file

    sys.path.insert(0, str(ROOT / "tests"))
    from small_editors import random_editor
    from small_generators import stylegan2_tensors

    from deltafast.files import write_png
    from deltafast.generators.build import build_generator
    from deltafast.generators.load import save_generator
    from deltafast.generators.seeds import latents_from_seeds
    from deltafast.projection.encoder import Encoder, EncoderConfig

    G = build_generator(stylegan2_tensors(resolution=64), {"architecture": "stylegan2", "img_resolution": 64}, "small")
    save_generator(G, folder / "G.safetensors")
    random_editor(G).save(folder / "yaw.safetensors")
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(64, G.num_ws, G.w_dim, ((0, 4), (4, G.num_ws)), 16), G.w_space, G.name)
    encoder.save(folder / "encoder.safetensors")

    inputs = folder / "in"
    inputs.mkdir()
    photos = min(50, samples // 10)
    latents = samples - photos - damaged - hanging
    names: list[str] = []
    for start in range(0, latents, _PER_FILE):
        names.append(f"w{start:08d}.safetensors")
        ws = latents_from_seeds(G, range(start, min(start + _PER_FILE, latents)), 0.7)  # [n, num_ws, w_dim]
        save_file({"ws": ws.contiguous()}, inputs / names[-1])
    draw = np.random.default_rng(0)
    for number in range(photos):
        names.append(f"photo{number:04d}.png")
        write_png(inputs / names[-1], draw.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for number in range(damaged):
        names.append(f"damaged{number:04d}.png")
        (inputs / names[-1]).write_bytes((inputs / "photo0000.png").read_bytes()[: 100 + number])
    for number in range(hanging):
        names.append(f"hanging{number:04d}.png")
        os.mkfifo(inputs / names[-1])  # as a file on a server that does not answer
    random.Random(0).shuffle(names)
    (folder / "list.txt").write_text("".join(f"in/{name}\n" for name in names))


def job_of(inputs: Inputs) -> EditJob:
    """Return what `deltafast edit` does with the words of these inputs."""
    from deltafast.editing import EditOptions
    from deltafast.scale import EditJob

    given = dict(zip(inputs.words[::2], inputs.words[1::2], strict=True))
    options = EditOptions(batch_size=16, align=False, encoder=given["--encoder"])
    return EditJob((given["--editor"],), (1.0,), generator=given["--generator"], options=options)


def without_faults(inputs: Inputs, out: Path) -> dict[str, dict[str, str]]:
    """Edit all but what hangs in this process; return the sha256 of each file by its name, for each sample."""
    from deltafast.scale import FaceWorker
    from deltafast.scale.samples import table_of_samples
    from deltafast.scale.sources import find_samples

    worker = FaceWorker(job_of(inputs), out, per_shard=_PER_SHARD)
    samples = [one for one in find_samples(inputs.listed, out) if one.id not in inputs.hanging]
    rows: dict[str, dict[str, str]] = {}
    for start in range(0, len(samples), 1000):
        for row in worker(table_of_samples(samples[start : start + 1000])).to_pylist():
            rows[row["id"]] = {file["name"]: file["sha256"] for file in row["files"]}
    return rows


def with_faults(inputs: Inputs, out: Path, options: argparse.Namespace) -> Told:
    """Edit everything on a cluster while its parts die."""
    told = Told()
    total, done = options.samples, Done(out)
    draw = random.Random(1)
    cluster = Cluster()
    second = cluster.join()
    driver: subprocess.Popen[bytes] | None = None
    begun = time.monotonic()
    share_then, goes_on = 0.0, None  # when the last worker was killed; since when something was done again
    try:
        while True:
            if driver is None:
                driver = _driver(inputs, out, cluster, options)
                told.drivers += 1
            share = done.count() / total
            if driver.poll() is not None:
                break
            now = time.monotonic()
            if now - begun > options.limit:
                told.errors.append(f"not done after {options.limit:g} s")
                break
            if told.drivers_killed < len(_DRIVER_KILLED_AT) and share >= _DRIVER_KILLED_AT[told.drivers_killed]:
                driver.send_signal(signal.SIGKILL)
                driver.wait()
                driver = None
                told.drivers_killed += 1
            elif not told.nodes_stopped and share >= _LOST_AT:
                cluster.stop(second)
                told.nodes_stopped += 1
            elif told.nodes_stopped and not told.nodes_joined and share >= _JOINED_AT:
                cluster.join()
                told.nodes_joined += 1
            elif share > share_then and goes_on is None:
                goes_on = now
            elif goes_on is not None and now >= goes_on + options.kill_every:
                workers = cluster.workers()
                if workers:
                    os.kill(draw.choice(workers), signal.SIGKILL)
                    told.workers_killed += 1
                    share_then, goes_on = share, None
            time.sleep(1.0)
        told.seconds = time.monotonic() - begun
        if driver is not None and driver.poll() not in (1, None):  # 1: some inputs could not be edited
            told.errors.append(f"the last driver ended with {driver.poll()}")
        log = out.with_name("driver.log").read_text()
        if "could not be edited; the rest is done" not in log:
            told.errors.append(f"the last driver said {log[-1000:]!r}")
    finally:
        if driver is not None and driver.poll() is None:
            driver.kill()
        cluster.close()
    return told


def _driver(inputs: Inputs, out: Path, cluster: Cluster, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    words = ["edit", str(inputs.listed), str(out), *inputs.words, "--ray", cluster.address, "--workers", "2"]
    words += ["--per-shard", str(_PER_SHARD), "--timeout", str(options.timeout)]
    with open(out.with_name("driver.log"), "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "deltafast", *words], env=cluster.environment, stdout=log, stderr=log
        )


class Done:
    """How many samples below a folder are done: in the index, and in journals that it has not taken over.

    A journal is read again when it grew.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._known: dict[Path, tuple[int, int]] = {}  # size and rows

    def count(self) -> int:
        """Return it as of now."""
        from pyarrow import parquet

        index = self._out / INDEX
        try:
            written = index.stat().st_mtime_ns
            kept = parquet.read_metadata(index).num_rows
        except OSError:
            written = kept = 0
        return kept + sum(self._rows(path, written) for path in (self._out / FOLDER).glob("*/*.jsonl"))

    def _rows(self, path: Path, since: int) -> int:
        try:
            size, changed = path.stat().st_size, path.stat().st_mtime_ns
        except OSError:
            return 0
        if changed <= since:  # nobody writes while the index is written
            return 0
        if self._known.get(path, (-1, 0))[0] != size:
            self._known[path] = size, len(Journal(path).rows)
        return self._known[path][1]


def compare(inputs: Inputs, out: Path, plain: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Hold the index and the shards of the run with faults against the run without."""
    from deltafast.scale import read_index

    rows = read_index(out).to_pylist()
    counted = Counter(row["id"] for row in rows)
    members: Counter[str] = Counter()
    for path in (out / "shards").glob("*.tar"):
        with tarfile.open(path, "r:") as archive:
            members.update(archive.getnames())
    made = {row["id"]: {file["name"]: file["sha256"] for file in row["files"]} for row in rows}
    expected = {*plain, *inputs.hanging}
    listed = {name for files in made.values() for name in files}
    errors = {row["id"]: row["error"] for row in rows if row["error"]}
    return {
        "rows": len(rows),
        "edited": sum(1 for row in rows if row["error"] is None),
        "lost": len(expected - set(counted)) + len(listed - set(members)),
        "twice": sum(count - 1 for count in (*counted.values(), *members.values())) + len(set(members) - listed),
        "differing": sum(made.get(name) != files for name, files in plain.items()) + _unlike(out, rows),
        "wrong_errors": len(set(errors) ^ (inputs.damaged | inputs.hanging))
        + sum("given up after" not in errors.get(name, "") for name in inputs.hanging),
        "tries": {str(tries): count for tries, count in sorted(Counter(row["tries"] for row in rows).items())},
    }


def _unlike(out: Path, rows: list[dict[str, Any]]) -> int:
    """How many files in the shards are not the bytes that the index says."""
    import hashlib

    wrong = 0
    for row in rows:
        for file in row["files"]:
            with open(out / file["shard"], "rb") as stream:
                stream.seek(file["start"])
                wrong += hashlib.sha256(stream.read(file["size"])).hexdigest() != file["sha256"]
    return wrong


if __name__ == "__main__":
    sys.exit(main())
