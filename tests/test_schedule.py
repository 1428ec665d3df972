"""The one schedule: it warms up, falls like a cosine, and ends at nothing."""

from __future__ import annotations

import math

import pytest

from deltafast.schedule import cosine_rate


def test_rates_rise_then_fall_to_zero() -> None:
    rates = [cosine_rate(step, 100, 5) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[4] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.04)))
    assert rates[50] == pytest.approx(0.5)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[100] == cosine_rate(130, 100, 5) == 0
