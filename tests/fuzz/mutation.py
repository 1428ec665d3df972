"""Seeded mutation: bytes, and the structures that a reader checks before it looks at anything else."""

from __future__ import annotations

import io
import json
import random
import re
import zipfile

__all__ = ["mutated"]

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1)
_OPCODES = b"(.012BCEGIJKLMNPQRSTUVX]abcdeghijlopqrstu}\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91"
_OPCODES += b"\x92\x93\x94\x95\x96\x97\x98"
_TEXTS = (
    *("NaN", "Infinity", "1e999", "-1", "0", "1e18", "999999999999999999999", "null", "true", '""', '"\\u0000"', "{}"),
    *("[]", "[" * 80 + "]" * 80, "[" * 3000, '"\\u001b[31m"', "0.5", '"' + "x" * 300 + '"', "-0.0", "[[0, 1]]"),
)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|\[\]|\{\}')
_MAX_BYTES = 20_000


def mutated(data: bytes, other: bytes, choice: random.Random) -> bytes:
    """Return `data` with a few mutations, `other` being another seed to take parts of."""
    kind = choice.random()
    if kind < 0.25 and data[8:9] == b"{":
        return _in_header(data, choice)
    if kind < 0.5 and data[:2] == b"PK":
        changed = _in_entry(data, choice)
        if changed is not None:
            return changed
    if kind < 0.3 and data[:1] in b"{[":
        return _in_text(data, choice)
    result = bytearray(data)
    for _ in range(choice.choice((1, 1, 1, 2, 3, 6))):
        _change(result, other, choice)
    return bytes(result[:_MAX_BYTES])


def _change(data: bytearray, other: bytes, choice: random.Random) -> None:
    at = choice.randrange(len(data) + 1)
    kind = choice.randrange(9)
    if kind == 0 and data:
        data[at % len(data)] ^= 1 << choice.randrange(8)
    elif kind == 1 and data:
        data[at % len(data)] = choice.randrange(256)
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        del data[at : at + choice.randrange(1, 16)]
    elif kind == 4:
        length = choice.randrange(1, 64)
        start = choice.randrange(len(data) + 1)
        data[at:at] = data[start : start + length] * choice.choice((1, 1, 2, 20))
    elif kind == 5:
        width = choice.choice((1, 2, 4, 8))
        number = choice.choice(_NUMBERS) & ((1 << 8 * width) - 1)
        data[at : at + width] = number.to_bytes(width, choice.choice(("little", "big")))
    elif kind == 6:
        start = choice.randrange(len(other) + 1)
        data[at : at + choice.randrange(32)] = other[start : start + choice.randrange(1, 64)]
    elif kind == 7:
        data[at:at] = bytes(choice.choice(_OPCODES) for _ in range(choice.choice((1, 1, 2, 4))))
    elif data:
        data[at % len(data)] = choice.choice(_OPCODES)


def _in_text(data: bytes, choice: random.Random) -> bytes:
    """JSON with some of its values replaced."""
    tokens = list(_TOKEN.finditer(data))
    if not tokens:
        return data
    token = choice.choice(tokens)
    return data[: token.start()] + choice.choice(_TEXTS).encode() + data[token.end() :]


def _in_header(data: bytes, choice: random.Random) -> bytes:
    """A safetensors file with another header, of the right length, or with other JSON inside its metadata."""
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    if choice.random() < 0.6:
        try:
            parsed = json.loads(header)
            metadata = parsed["__metadata__"]
            key = choice.choice(sorted(metadata))
            metadata[key] = _in_text(metadata[key].encode(), choice).decode()
            header = json.dumps(parsed).encode()
        except (KeyError, ValueError, IndexError):
            header = _in_text(header, choice)
    else:
        header = _in_text(header, choice)
    return len(header).to_bytes(8, "little") + header + rest


def _in_entry(data: bytes, choice: random.Random) -> bytes | None:
    """A zip file with one entry changed, its checksum right; None for what is no zip file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(entry.filename, archive.read(entry), entry.compress_type) for entry in archive.infolist()]
    except zipfile.BadZipFile:
        return None
    likely = [k for k, (name, _, _) in enumerate(entries) if name.endswith((".pkl", ".npy"))] or range(len(entries))
    chosen = choice.choice(list(likely) if choice.random() < 0.8 else range(len(entries)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, (name, content, compression) in enumerate(entries):
            if number == chosen:
                changed = bytearray(content)
                _change(changed, content, choice)
                content = bytes(changed[:_MAX_BYTES])
            archive.writestr(name, content, compression)
    return buffer.getvalue()
