"""The in-tree build backend: setuptools' own, and torch asked for where the target environment has none.

pip builds in an environment of its own that holds no torch. Asking for one there would download a second torch,
perhaps another one than the user's. So the torch of the *target* environment is looked for first (pip runs the target's
interpreter, whose `sysconfig` still names its site-packages), and torch is asked for only where there is none.
"""

from __future__ import annotations

from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401  (the hooks that a frontend calls)
    build_editable,
    build_sdist,
    build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from toolchain import MINIMUM_TORCH, find_torch


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return build_meta.get_requires_for_build_wheel(config_settings) + _torch_requirement()


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    return build_meta.get_requires_for_build_editable(config_settings) + _torch_requirement()


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    return build_meta.get_requires_for_build_sdist(config_settings)


def _torch_requirement() -> list[str]:
    return [] if find_torch() else ["torch>=" + ".".join(map(str, MINIMUM_TORCH))]
