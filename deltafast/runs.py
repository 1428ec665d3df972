"""What a run keeps so that it can be interrupted: its settings, what it has finished and of what, unfinished state."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from deltafast.errors import DiskError, InvalidInputError, ResumeError
from deltafast.files import atomic_write, hold_folder, read_json, remove_leftovers, sha256_file, write_json
from deltafast.untrusted.checks import reading
from deltafast.untrusted.json_text import parse_json
from deltafast.untrusted.torch_file import read_torch_bytes

__all__ = [
    "Run",
    "adopt_settings",
    "begin_or_resume",
    "digest_of",
    "file_identity",
    "forget_results",
    "load_state",
    "remove_results",
    "result_names",
    "save_state",
    "say_made_anew",
]

_LEDGER = "finished.jsonl"
_OWN = (_LEDGER, "settings.json", "report.json", "manifest.json", "index.parquet")


def begin_or_resume(path: str | os.PathLike[str], settings: dict[str, Any]) -> None:
    """Write a training's settings as JSON to `path` when it begins, and compare with those there when it goes on.

    A setting that is not there counts as None, so that folders of earlier releases go on. Raises `ResumeError` that
    names what differs when it was begun with other settings: what it has learned, or sampled, in hours would be lost.
    """
    target = Path(path)
    plain = _as_they_come_back(settings)
    if not target.exists():
        write_json(target, plain)
        return
    found = read_json(target)
    known = found if isinstance(found, dict) else {}
    names = _differing(known, plain)
    if names or known is not found:
        raise ResumeError(
            f"{target.parent} was begun with other settings ({', '.join(names)}): choose another folder or delete it"
        )


def _as_they_come_back(settings: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(settings))  # tuples are lists
    return plain


def _differing(known: dict[str, Any], plain: dict[str, Any]) -> list[str]:
    return sorted(key for key in {*known, *plain} if known.get(key) != plain.get(key))


def digest_of(value: Any) -> str:
    """Return the sha256 of a JSON value, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_identity(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what tells an input from another under the same name: its size in bytes and sha256."""
    return {"size": os.path.getsize(path), "sha256": sha256_file(path)}


class Run:
    """A folder of results, each of which knows its input and the settings that it was made with.

    `command` says what makes them; `settings` (JSON values; with the generator's fingerprint, where there is one) and
    what is only `noted` are written to `folder/settings.json`; what is finished stands in `folder/finished.jsonl`, one
    line each. Results of other settings are no longer finished, and are made anew when their turn comes, which is said
    once on stderr; all others are kept. Temporary files that a killed run left in the folder are removed.

    Two processes never work on one folder: it is held while the run is kept, by nothing that can be seen in it.

    Raises `ResumeError` where the folder is that of another command or program, whose files would be overwritten, and
    where another process is at work in it; `DiskError` where it cannot be written.
    """

    def __init__(
        self, folder: Path, command: str, settings: dict[str, Any], *, noted: dict[str, Any] | None = None
    ) -> None:
        self.folder = folder
        self._held = hold_folder(folder)
        if self._held is None:
            raise ResumeError(f"another run is at work in {folder}: wait until it ends, or choose another folder")
        self._settings, differing = adopt_settings(folder, {"command": command, **settings}, noted=noted)
        remove_leftovers(folder)
        self._finished = _read_ledger(folder / _LEDGER)
        others = [one for one in self._finished.values() if one.get("settings") not in (None, self._settings)]
        say_made_anew(folder, len(others), differing)

    def is_finished(self, name: str, source: dict[str, Any]) -> bool:
        """Whether the results called `name` are there, made of `source` (`file_identity`, say) with these settings.

        Where they are of another input or other settings, they no longer count as finished from here on: a run that is
        killed while it makes them anew leaves no new file under an old record. That is noted in the folder, so this
        raises `DiskError` where it cannot be written.
        """
        record = self._finished.get(name)
        if record is None:
            return False
        if record.get("input") != source or record.get("settings") != self._settings:
            if record.get("settings") is not None:
                self._note({**record, "settings": None})
            return False
        return all((self.folder / file).exists() for file in record["files"])

    def finish(self, name: str, source: dict[str, Any], files: Iterable[Path]) -> None:
        """Note that the results called `name`, which are `files` in the folder, are made. Raises `DiskError`.

        What else was made of another input of that name (the faces of another photo) is removed.
        """
        made = [path.relative_to(self.folder).as_posix() for path in files]
        before = self._finished.get(name)
        self._note({"output": name, "input": source, "settings": self._settings, "files": made})
        if before is not None and before.get("input") != source:
            remove_results(self.folder, {*before["files"]} - {*made})

    def _note(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, sort_keys=True) + "\n"
        path = self.folder / _LEDGER
        try:
            with open(path, "ab") as stream:
                stream.write(line.encode())
        except OSError as error:
            raise DiskError(f"cannot write {path}: {error.strerror or error}") from error
        self._finished[record["output"]] = record


def adopt_settings(
    folder: Path, settings: dict[str, Any], *, noted: dict[str, Any] | None = None, optional: Iterable[str] = ()
) -> tuple[str, list[str]]:
    """Write what results are made with to `folder/settings.json`; return its digest, and what was different before.

    `settings` (JSON values) with their "command", and what is only `noted`; names that are `optional` may stand there
    too. What is None counts as not there. Raises `ResumeError` where the folder is that of another command or program,
    whose files would be overwritten, `DiskError` where it cannot be written.
    """
    path = folder / "settings.json"
    plain, more = _as_they_come_back(settings), noted or {}
    known = _known_settings(path, {*plain, *more, *optional}, plain["command"])
    if known is None or _differing(known, {**plain, **more}):
        write_json(path, {**plain, **more})
    digest = digest_of({key: value for key, value in plain.items() if value is not None})[:16]
    return digest, [name for name in _differing(known or plain, plain) if name not in ("command", *more)]


def say_made_anew(folder: Path, count: int, differing: Iterable[str]) -> None:
    """Say in one line on stderr that `count` results, where there are any, were made with other settings."""
    if count:
        names = ", ".join(differing)
        print(
            f"deltafast: {count} finished outputs in {folder} were made with other settings"
            f"{f' ({names})' if names else ''}: those of this run's inputs are made anew",
            file=sys.stderr,
        )


def remove_results(folder: Path, files: Iterable[str]) -> None:
    """Remove results, given by their paths below `folder`; what a record says that lies elsewhere stays."""
    for file in files:
        if _lies_below(file) and Path(file).name not in _OWN:
            with contextlib.suppress(OSError, ValueError):
                (folder / file).unlink()


def result_names(folder: Path) -> set[str]:
    """Return the names of the results that `folder/finished.jsonl` has records of; none where there is no such file."""
    return {*_read_ledger(folder / _LEDGER)}


def forget_results(folder: Path, names: Iterable[str] | None = None) -> list[Path]:
    """Remove what a run made of the inputs called `names`, of all where None, and return the files that are gone.

    Those are the files that `finished.jsonl` names, unfinished state beside them, and their records there and in
    `report.json`. Raises `InvalidInputError` where the folder holds no run, or none of that name; `ResumeError` where a
    process is at work in it; `DiskError` where something cannot be removed.
    """
    ledger = folder / _LEDGER
    if not ledger.is_file():
        raise InvalidInputError(f"{folder} holds no results of a run: there is no {_LEDGER} in it")
    held = hold_folder(folder)
    if held is None:
        raise ResumeError(f"a run is at work in {folder}: wait until it ends")
    found = _read_ledger(ledger)
    chosen = [*found] if names is None else [*dict.fromkeys(names)]
    unknown = [name for name in chosen if name not in found]
    if unknown:
        raise InvalidInputError(f"{folder} holds nothing called {unknown[0]!r}; there are {', '.join(sorted(found))}")
    removed = []
    for name in chosen:
        files = {folder / file for file in found[name]["files"] if _lies_below(file) and Path(file).name not in _OWN}
        states = {file.with_name(f".{file.stem}.state") for file in files}
        for path in sorted(files | states):
            try:
                path.unlink()
                removed.append(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise DiskError(f"cannot remove {path}: {error.strerror or error}") from error
    kept = [record for name, record in found.items() if name not in chosen]
    with atomic_write(ledger) as temporary:
        temporary.write_text("".join(json.dumps(record, sort_keys=True) + "\n" for record in kept))
    report = folder / "report.json"
    if report.is_file():
        values = read_json(report)
        if isinstance(values, dict):
            write_json(report, {key: value for key, value in values.items() if key not in chosen})
    return removed


def _known_settings(path: Path, names: set[str], command: str) -> dict[str, Any] | None:
    """The settings of the run that a folder holds, None where it holds none; those of version 0.1 name no command.

    Raises `ResumeError` where they are another command's or program's.
    """
    if not path.exists():
        return None
    found = read_json(path)
    known = found if isinstance(found, dict) else {"": found}
    if known.get("command", command) != command or not {*known} <= names:
        whose = f"`deltafast {known['command']}`" if isinstance(known.get("command"), str) else "another program"
        raise ResumeError(
            f"{path.parent} holds what {whose[:60]} made, some of which would be overwritten: choose another folder"
        )
    return known


def _lies_below(file: str) -> bool:
    """Whether a path out of a ledger stays in its folder."""
    path = Path(file)
    return not path.is_absolute() and ".." not in path.parts


def _read_ledger(path: Path) -> dict[str, dict[str, Any]]:
    """Return name to its last record; a line that a crash has torn only means that its result is made again."""
    found: dict[str, dict[str, Any]] = {}
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return found
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            record = parse_json(line.decode())
            if isinstance(record["files"], list) and all(isinstance(file, str) for file in record["files"]):
                found[str(record["output"])] = record
    if lines[-1]:  # the torn line gets its end, so that the next one stands on its own
        with contextlib.suppress(OSError), open(path, "ab") as stream:
            stream.write(b"\n")
    return found


def save_state(path: Path, state: dict[str, Any], made_for: Any) -> None:
    """Write the state of unfinished work (tensors, numbers, text, lists, dictionaries), atomically.

    `made_for`: JSON values that say which work it is. Raises `DiskError`.
    """
    with atomic_write(path) as temporary:
        torch.save({"state": state, "made_for": digest_of(made_for)}, temporary)


def load_state(path: Path, made_for: Any, *, advice: str = "delete it to begin anew") -> dict[str, Any] | None:
    """Return what `save_state` wrote, its tensors on the CPU; None where there is nothing.

    Raises `ResumeError` with `advice` when the file is damaged, or was made for other work.
    """
    if not path.exists():
        return None
    with reading(lambda reason: ResumeError(f"{path} is damaged or of another release ({reason}); {advice}")):
        saved = read_torch_bytes(path.read_bytes())
        state, found = saved["state"], saved["made_for"]
    if found != digest_of(made_for) or not isinstance(state, dict):
        raise ResumeError(f"{path} is the state of a run with other settings or inputs; {advice}")
    return state
