"""The activations of StyleGAN2's layers."""

from __future__ import annotations

import math

__all__ = ["ACTIVATIONS"]

# name: the slope below zero, and the gain that keeps the variance; all are leaky ReLUs to a kernel
ACTIVATIONS = {"lrelu": (0.2, math.sqrt(2)), "relu": (0.0, math.sqrt(2)), "linear": (1.0, 1.0)}
