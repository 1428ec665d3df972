"""What `python -m benchmarks.house` counts is what is there."""

from __future__ import annotations

from benchmarks import house

_SOURCES = {
    "deltafast/__init__.py": '__all__ = ["edit"]\n',
    "deltafast/ops/__init__.py": "",
    "deltafast/ops/blur.py": 'from deltafast.errors import E\n__all__ = ["blur", "blur_reference"]\n',
    "deltafast/errors.py": "__all__: list[str] = []\n\n",
    "deltafast/editing/batch.py": "def f():\n    from deltafast.ops import blur\n    import deltafast.files\n",
    "deltafast/files.py": "\n",
    "csrc/kernels/cpu/delta_edit.cpp": "void delta_edit();\n",
    "csrc/module.cpp": 'library.def("delta_edit()");\n',
    "tests/ops/test_blur.py": "delta_editing\n",
}


def test_lines_names_and_imports_are_counted() -> None:
    assert house.lines_by_room(_SOURCES) == {
        "csrc": 1,
        "csrc/kernels/cpu": 1,
        "deltafast": 4,
        "deltafast/editing": 3,
        "deltafast/ops": 2,
        "tests/ops": 1,
    }
    assert house.public_names(_SOURCES) == {"deltafast/ops": 2, "front door": 1}
    assert house.import_graph(_SOURCES)["editing"] == {"files": 1, "ops": 1}
    assert house.import_graph(_SOURCES)["ops"] == {"errors": 1}


def test_files_that_name_an_op_are_found() -> None:
    assert house.files_of_ops(_SOURCES)["delta_edit"] == ["csrc/kernels/cpu/delta_edit.cpp", "csrc/module.cpp"]


def test_the_page_draws_who_imports_whom() -> None:
    figures = {
        "commit": "abc",
        "lines": house.lines_by_room(_SOURCES),
        "public_names": house.public_names(_SOURCES),
        "files_of_an_op": house.files_of_ops(_SOURCES),
        "imports": house.import_graph(_SOURCES),
    }
    text = house.page([figures])
    assert "  editing -->|1| ops" in text
    assert "| deltafast/ops | 2 |" in text
