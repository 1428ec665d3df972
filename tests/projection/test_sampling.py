"""Sampling of training pairs: reproducible pair by pair, resumable, and refused when settings differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deltafast.errors import InvalidInputError, ResumeError
from deltafast.generators.base import Generator
from deltafast.projection.sampling import (
    SampleConfig,
    expand_codes,
    read_pairs,
    sample_codes,
    sample_pairs,
    slot_groups,
)

CONFIG = SampleConfig(count=8, resolution=32, shard=4)


def test_slot_groups_cover_every_slot_once() -> None:
    for num_ws in (2, 4, 6, 8, 10, 16, 18):
        covered = [slot for start, stop in slot_groups(num_ws) for slot in range(start, stop)]
        assert covered == list(range(num_ws))


def test_expanded_codes_repeat_each_code_over_its_slots() -> None:
    codes = torch.arange(6.0).view(1, 3, 2)
    ws = expand_codes(codes, slot_groups(10))
    assert ws.shape == (1, 10, 2)
    assert [float(w[0]) for w in ws[0]] == [0, 0, 0, 0, 2, 2, 2, 2, 4, 4]


def test_a_pair_depends_on_seed_and_index_alone(tiny_generator: Generator) -> None:
    first = sample_codes(tiny_generator, 5, CONFIG)
    sample_codes(tiny_generator, 6, CONFIG)
    assert torch.equal(first, sample_codes(tiny_generator, 5, CONFIG))
    assert not torch.equal(first, sample_codes(tiny_generator, 6, CONFIG))
    assert not torch.equal(first, sample_codes(tiny_generator, 5, replace(CONFIG, seed=7)))


def test_style_mixing_changes_later_groups_only(tiny_generator: Generator) -> None:
    never, always = replace(CONFIG, mixing=0.0), replace(CONFIG, mixing=1.0)
    plain, mixed = sample_codes(tiny_generator, 0, never), sample_codes(tiny_generator, 0, always)
    assert torch.equal(plain[0], plain[1])
    assert torch.equal(plain[0], mixed[0])
    assert not torch.allclose(mixed[0], mixed[1])


def test_interrupted_sampling_ends_with_the_same_shards(tiny_generator: Generator, tmp_path: Path) -> None:
    whole = sample_pairs(tiny_generator, tmp_path / "whole", CONFIG)
    sample_pairs(tiny_generator, tmp_path / "parts", replace(CONFIG, count=4))
    kept = (tmp_path / "parts" / "shard-00000.safetensors").stat().st_mtime_ns
    parts = sample_pairs(tiny_generator, tmp_path / "parts", CONFIG)
    assert parts[0].stat().st_mtime_ns == kept
    for (codes_a, images_a), (codes_b, images_b) in zip(read_pairs(whole), read_pairs(parts), strict=True):
        assert torch.equal(codes_a, codes_b)
        assert torch.equal(images_a, images_b)


def test_other_settings_in_the_same_folder_are_refused(tiny_generator: Generator, tmp_path: Path) -> None:
    sample_pairs(tiny_generator, tmp_path, replace(CONFIG, count=4))
    with pytest.raises(ResumeError, match="psi_low"):
        sample_pairs(tiny_generator, tmp_path, replace(CONFIG, psi_low=0.7))


def test_a_damaged_shard_is_named(tiny_generator: Generator, tmp_path: Path) -> None:
    shards = sample_pairs(tiny_generator, tmp_path, replace(CONFIG, count=4))
    shards[0].write_bytes(shards[0].read_bytes()[:100])
    with pytest.raises(InvalidInputError, match=r"shard-00000\.safetensors is damaged"):
        list(read_pairs(shards))


def test_a_resolution_that_does_not_divide_is_refused(tiny_generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not divide"):
        sample_pairs(tiny_generator, tmp_path, replace(CONFIG, resolution=48))
