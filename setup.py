"""Builds deltafast._C with CMake and Ninja; everything else about the package is in pyproject.toml.

build_backend/toolchain.py finds torch and nvcc, and names the environment variables that it reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).resolve().parent / "build_backend"))
import toolchain


class CMakeBuild(build_ext):
    """Configures and builds the CMake project, and puts the module where setuptools wants it."""

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        toolchain.build(target, Path(self.build_temp).resolve() / "cmake", debug=bool(self.debug))


setup(ext_modules=[Extension("deltafast._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
