"""What is to be done: seeds, a folder, a list, webdataset shards, or a parquet file of paths or of latents."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from deltafast.delta.slots import parse_ranges
from deltafast.editing.latent_files import LATENT_SUFFIXES, read_latent_file
from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.files import IMAGE_SUFFIXES
from deltafast.inputs import find_inputs, names_of
from deltafast.scale.samples import ROW_GROUP, Kind, Sample, check_id
from deltafast.untrusted.checks import reading
from deltafast.untrusted.tar_file import TarMember, tar_members

__all__ = ["expand_pattern", "find_samples", "seed_samples"]

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_LISTS = (".txt", ".lst")


def seed_samples(text: str) -> list[Sample]:
    """Return the faces of seeds, 0-63 or 1,5,9. Raises `InvalidInputError` for what is no list of seeds."""
    seeds = parse_ranges(text, "seeds", 2**32 - 1)
    return [Sample(f"seed{seed:04d}", "seed", number=seed) for seed in seeds]


def expand_pattern(text: str) -> list[str]:
    """Return the names that a pattern as `shard-{0000..0099}.tar` stands for; another text is one name."""
    parts: list[Sequence[str]] = []
    end = 0
    for match in _RANGE.finditer(text):
        first, last = int(match[1]), int(match[2])
        if last < first:
            raise InvalidInputError(f"{match[0]} runs backwards: write the smaller number first")
        if last - first >= 10_000_000:
            raise InvalidInputError(f"{match[0]} stands for more than ten million names")
        parts += [[text[end : match.start()]], [f"{n:0{len(match[1])}d}" for n in range(first, last + 1)]]
        end = match.end()
    return ["".join(pieces) for pieces in itertools.product(*parts, [text[end:]])]


def find_samples(source: Path, out: Path, *, latents: bool = True) -> list[Sample]:
    """Return what `source` stands for, in its order, each with an id of its own and an absolute path.

    It is a folder or a file of photos or latents, named as by `deltafast edit`; a list (.txt) of files, one a line;
    webdataset shards, `shards/{0000..0099}.tar`; or a parquet file (`{0..9}` here too) with the column `path`, or `ws`
    (a latent as one flat list or nested), and where wanted `id`. `latents` False takes photos alone. What of it cannot
    be read is a sample of kind "unreadable". Raises `InvalidInputError` where there is nothing, a shard is missing, or
    two samples have one id.
    """
    suffix = source.suffix.lower()
    suffixes = (*LATENT_SUFFIXES, *IMAGE_SUFFIXES) if latents else IMAGE_SUFFIXES
    if suffix in (".tar", ".parquet"):
        found: list[Sample] = []
        for name in expand_pattern(os.fspath(source)):
            path = Path(name).absolute()
            if not path.is_file():
                raise InvalidInputError(f"{path} is not there")
            found += _in_archive(path, suffixes) if suffix == ".tar" else _in_parquet(path, suffixes)
    elif suffix in _LISTS and source.is_file():
        found = list(_listed(_lines(source), suffixes))
    else:
        preferred = LATENT_SUFFIXES if latents else ()
        what = "latents or images" if latents else "images"
        files = find_inputs(source, out, suffixes, what, preferred=preferred)
        found = [one for file in files for one in _in_file(file.path.absolute(), file.name)]
    if not found:
        raise InvalidInputError(f"{source} holds nothing that can be worked on ({', '.join(suffixes)})")
    found = [one if _is_text(one) else _unnamed(one) for one in found]
    seen: set[str] = set()
    for sample in found:
        if check_id(sample.id) in seen:
            raise InvalidInputError(f"two samples of {source} are called {sample.id}; ids must differ")
        seen.add(sample.id)
    return found


def _is_text(sample: Sample) -> bool:
    try:
        f"{sample.id}{sample.path}{sample.name}".encode()
    except UnicodeEncodeError:
        return False
    return True


def _unnamed(sample: Sample) -> Sample:
    """What stands in the index for a file whose name no table can hold."""
    told = [text.encode("ascii", "backslashreplace").decode().replace("\\", "%") for text in (sample.id, sample.path)]
    return Sample(told[0], "unreadable", told[1], note=f"{told[1]} has a name that is not UTF-8; give it another one")


def _in_file(path: Path, name: str) -> Iterator[Sample]:
    """The samples of one file: a photo, or each of its latents."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        yield Sample(name, "photo", os.fspath(path), name=path.name)
        return
    try:
        count = len(read_latent_file(path))
    except DeltafastError as error:
        yield Sample(name, "unreadable", os.fspath(path), name=path.name, note=str(error))
        return
    for number in range(count):
        own = name if count == 1 else f"{name}-{number:04d}"
        yield Sample(own, "latents", os.fspath(path), number=number, name=path.name)


def _lines(path: Path) -> list[Path]:
    with reading(lambda reason: InvalidInputError(f"{path} cannot be read as a list: {reason}")):
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        return [path.absolute().parent / line for line in lines if line and not line.startswith("#")]


def _listed(paths: Sequence[Path], suffixes: Sequence[str], ids: Sequence[str] | None = None) -> Iterator[Sample]:
    """The samples of some files, called by their places below the folder that they share, or by `ids`."""
    if ids is None and paths:
        top = Path(os.path.commonpath([path.parent for path in paths]))
        ids = _names([path.relative_to(top) for path in paths])
    for path, name in zip(paths, ids or (), strict=True):
        if path.suffix.lower() in suffixes:
            yield from _in_file(path, name)
        else:
            note = f"{path} is no file of {', '.join(suffixes)}"
            yield Sample(name, "unreadable", os.fspath(path), name=path.name, note=note)


def _names(paths: Sequence[Path]) -> list[str]:
    """The names of results of files given by their relative paths, as `find_inputs` gives them."""
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    named = {path: name for inside in folders.values() for path, name in names_of(inside).items()}
    return [(path.parent / named[path]).as_posix() for path in paths]


def _in_archive(path: Path, suffixes: Sequence[str]) -> Iterator[Sample]:
    """The photos or latents in a shard, called SHARD/NAME; of a shard with both its latents alone."""
    members: list[TarMember] = []
    damaged = ""
    try:
        members += (member for member in tar_members(path) if Path(member.name).suffix.lower() in suffixes)
    except InvalidInputError as error:
        damaged = str(error)
    chosen = [one for one in members if Path(one.name).suffix.lower() in LATENT_SUFFIXES] or members
    for member, name in zip(chosen, _names([Path(member.name) for member in chosen]), strict=True):
        kind: Kind = "photo" if Path(member.name).suffix.lower() in IMAGE_SUFFIXES else "latents"
        yield Sample(f"{path.stem}/{name}", kind, os.fspath(path), member.start, member.size, name=member.name)
    if damaged:
        yield Sample(f"{path.stem}/damaged", "unreadable", os.fspath(path), name=path.name, note=damaged)


def _in_parquet(path: Path, suffixes: Sequence[str]) -> Iterator[Sample]:
    import pyarrow.parquet as parquet

    with reading(lambda reason: InvalidInputError(f"{path} cannot be read as parquet: {reason}")):
        file = parquet.ParquetFile(path)
        columns = set(file.schema_arrow.names)
        if not columns & {"path", "ws"}:
            raise InvalidInputError(f"{path} has the columns {', '.join(columns)}; expected path or ws, and maybe id")
        ids = [check_id(one) for one in file.read(columns=["id"])["id"].to_pylist()] if "id" in columns else None
        rows = [
            (group, row)
            for group in range(file.num_row_groups)
            for row in range(file.metadata.row_group(group).num_rows)
        ]
        paths = None if "ws" in columns else [str(one) for one in file.read(columns=["path"])["path"].to_pylist()]
    if paths is not None:
        yield from _listed([path.parent / one for one in paths], suffixes, ids)
        return
    names = ids or [f"{path.stem}/{number:08d}" for number in range(len(rows))]
    for name, (group, row) in zip(names, rows, strict=True):
        yield Sample(name, "row", os.fspath(path), number=group * ROW_GROUP + row, name=path.name)
