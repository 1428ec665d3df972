"""The paper's own rows (arXiv 2111.08419, tables 1 and 2): theirs, on other images, by networks partly unnamed."""

from __future__ import annotations

__all__ = ["PUBLISHED"]

PUBLISHED = {
    "source": "Diamant et al. 2021, arXiv 2111.08419",
    "frechet_distance": {
        "I2S": {"Light": 31.08, "Pose": 31.15, "Expression": 56.04},
        "ReStyle-pSp": {"Light": 24.38, "Pose": 27.29, "Expression": 48.13},
        "the paper": {"Light": 17.18, "Pose": 22.48, "Expression": 19.25},
    },
    "cosine": {
        "I2S": {"Light": 0.91, "Pose": 0.877, "Expression": 0.941},
        "ReStyle-pSp": {"Light": 0.939, "Pose": 0.931, "Expression": 0.966},
        "the paper": {"Light": 0.971, "Pose": 0.952, "Expression": 0.977},
    },
}
