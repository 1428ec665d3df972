"""How much memory one 1024 x 1024 image takes, beyond the weights, measured by the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What a 1024 x 1024 image needs at least is the last block's input and the image: 32 + 12 MiB. With gradients, every
# layer's result, 277 MiB, and two gradients.
_PROGRAM = """
import torch
from pathlib import Path
from deltafast.generators.load import load_generator

def status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024

def peak(call):
    call()
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    call()
    return status("VmHWM") - before

torch.set_num_threads(2)
G = load_generator("mobilestylegan-ffhq")
ws = G.mapping(torch.zeros(1, 512))
leaf = ws.clone().requires_grad_()
with torch.no_grad():
    print(peak(lambda: G.synthesis(ws)))
print(peak(lambda: torch.autograd.grad(G.synthesis(leaf).square().mean(), leaf)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self")
def test_one_image_of_mobilestylegan_takes_little_more_than_its_last_block(mobilestylegan):
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    forward, both = (float(line) for line in done.stdout.split())
    print(f"one image: {forward:.0f} MiB, with its gradient: {both:.0f} MiB")
    assert forward < 64
    assert both < 420
