"""Two processes under torchrun train the encoder that one process trains, also when one of them is killed meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deltafast.files import read_json
from deltafast.generators.base import Generator
from deltafast.generators.load import save_generator
from deltafast.peers import Peers
from deltafast.projection import load_encoder
from deltafast.projection import train_encoder as module
from deltafast.projection.sampling import SampleConfig
from deltafast.projection.train_encoder import EncoderTraining
from deltafast.projection.train_through_generator import ImageTraining

pytestmark = pytest.mark.slow

SAMPLES = SampleConfig(count=64, resolution=64, shard=16)
TRAINING = EncoderTraining(
    epochs=2,
    batch=15,  # shared as 7 and 8; of the one that is left over one process gets nothing
    input_resolution=64,
    held_out_shards=1,
    mixed_precision=False,
    images=ImageTraining(steps=2, pairs=3, heads=0, lr=1e-5),
)
_PROGRAM = """
import os
import signal
import sys
from pathlib import Path

import torch

from deltafast.generators.load import load_generator
from deltafast.peers import peers
from deltafast.projection import train_encoder as module
from deltafast.projection import train_through_generator
from deltafast.projection.train_encoder import train_encoder
from test_train_encoder_together import SAMPLES, TRAINING, gradients

folder, name = Path(sys.argv[1]), sys.argv[2]
begins = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
generator = load_generator(folder / "G.safetensors")
real = module._Run.train_epoch

def train_epoch(run):
    if run.epoch == 1 and run.group.rank == 1 and begins:
        os.kill(os.getpid(), signal.SIGKILL)
    real(run)

module._Run.train_epoch = train_epoch
train_through_generator._MEASURED = 2
if begins:
    with peers() as group:
        found = gradients(generator, folder / "first", group)
        if group.is_first:
            torch.save(found, folder / f"{name}.gradients")
train_encoder(generator, folder / name, SAMPLES, TRAINING)
"""


def gradients(generator: Generator, folder: Path, group: Peers) -> dict[str, torch.Tensor]:
    """The gradients of the first step on a batch of 15, before the optimiser has moved anything."""
    shards = module.sample_pairs(generator, folder, replace(SAMPLES, count=32), group)
    torch.manual_seed(0)
    # in float64: in float32 an activation at a kink may fall to either side, by what the sums before it were rounded to
    run = module._Run(module._new_encoder(generator, TRAINING, shards).double(), shards, TRAINING, group)
    codes, images = next(module.read_pairs(shards))
    torch.manual_seed(1)
    run._step(images[:15].double() / 127.5 - 1, codes[:15].double())
    return {name: value.grad for name, value in run.encoder.named_parameters() if value.grad is not None}


@pytest.mark.usefixtures("face_networks")
def test_two_processes_train_the_encoder_of_one_through_a_kill(tiny_generator: Generator, tmp_path: Path) -> None:
    save_generator(tiny_generator, tmp_path / "G.safetensors")
    (tmp_path / "program.py").write_text(_PROGRAM)
    words = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "1", "--monitor-interval", "0.1"]
    tests = Path(__file__).resolve().parent
    path = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    program = [str(tmp_path / "program.py"), str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, *program, "out"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "SIGKILL" in done.stderr or "exitcode: -9" in done.stderr or "Signal 9" in done.stderr, done.stderr[-4000:]

    # one process, as new as the two and with the shards that they drew: nothing but the order of sums is another
    subprocess.run([sys.executable, *program, "whole"], env=environment, timeout=600, check=True)
    expected, found = (torch.load(tmp_path / f"{name}.gradients") for name in ("whole", "out"))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert float((found[name] - gradient).norm()) <= 1e-10 * float(gradient.norm()) + 1e-14, name

    whole = load_encoder(tmp_path / "whole" / "encoder.safetensors")
    one, two = (read_json(tmp_path / name / "training.json") for name in ("whole", "out"))
    assert [row["epoch"] for row in two["history"]] == [0, 1, 2]
    losses = [[row["loss"] for row in report["history"][1:]] for report in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    for moment in ("before", "after"):
        assert two["images"][moment]["pairs"] == pytest.approx(one["images"][moment]["pairs"], abs=1e-3)
    together = load_encoder(tmp_path / "out" / "encoder.safetensors")
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    codes = whole(images)
    # Adam turns roundings of a gradient near 0 into whole steps, and the file holds halves
    assert float((together(images) - codes).norm()) <= 1e-2 * float((codes - whole.w_avg).norm())
