"""The generator in a checkpoint: found under the keys and prefixes that people save it with, its modules laid out flat.

A checkpoint is a generator's module or state dict, or a dict or tuple around it. What lies beside the generator is not
looked at; inside it, only modules that a StyleGAN2 is made of are taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.generators.checkpoints.refused import refuse_by_name
from deltafast.untrusted.pickled_values import PickledArray, Record, RecordClass, foreign_name

__all__ = ["Found", "TF_NETWORK", "find_generator"]

TF_NETWORK = "dnnlib.tflib.network.Network"
_KEYS = (
    *(
        "G_ema",
        "g_ema",
        "Gs",
        "netG_ema",
        "generator_ema",
        "ema",
        "params_ema",
        "model_ema",
        "ema_model",
        "G_synthesis",
    ),
    *("G", "g", "netG", "generator", "gen", "params", "model", "network", "net", "module"),
    *("state_dict", "model_state_dict", "weights"),
)
_MARKERS = {"nvidia": "synthesis.b4.const", "rosinality": "style.1.weight"}  # a name that only such a generator has
_LAYERS = ("FullyConnectedLayer", "Conv2dLayer", "SynthesisLayer", "ToRGBLayer", "SynthesisBlock")
_ROSINALITY = (
    *("PixelNorm", "EqualLinear", "ConstantInput", "StyledConv", "ModulatedConv2d", "Blur", "NoiseInjection"),
    *("FusedLeakyReLU", "ScaledLeakyReLU", "ToRGB", "Upsample", "Module", "Sequential", "ModuleList", "LeakyReLU"),
)
_CLASSES = {
    "nvidia": {"Generator", "MappingNetwork", "SynthesisNetwork", *_LAYERS},
    "rosinality": {"Generator", *_ROSINALITY},
}
_MAX_MODULES = 10_000
_MAX_DEPTH = 10
_MAX_VALUES = 2_000_000  # that are looked at, those that a file names again and again counted each time
_MAX_NAME = 1000  # characters of a weight's name
_MAX_TUPLE = 8
_MAX_OTHERS = 100


@dataclass(frozen=True)
class Found:
    """A generator as plain data: whose names its weights have, `values` by name, and the attributes of its modules.

    `attributes` is empty for a state dict, which says nothing of them. `around` are the dicts in which it lay, the
    nearest first; `network` is TensorFlow's.
    """

    kind: Literal["nvidia", "rosinality", "tensorflow"]
    values: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    around: tuple[Mapping[Any, Any], ...] = ()
    network: Record | None = None
    classes: frozenset[str] = frozenset()


def find_generator(content: Any, path: str | os.PathLike[str]) -> Found:
    """Return the generator in what a checkpoint holds, its moving average before others.

    Raises `CheckpointError` that says what the checkpoint is, where it is known and not supported, and for foreign
    objects in the generator or in its place.
    """
    refuse_by_name(content, path, before=True)
    in_its_place: str | None = None
    looked = _Looked(path)
    for value, around, named in _candidates(content, (), True, 0, looked):
        foreign = foreign_name(value)
        found = _recognised(value, around, looked)
        if found is not None:
            return found
        if foreign is not None and named and in_its_place is None:
            in_its_place = foreign
            if not _is_module(value):
                break
    refuse_by_name(content, path, before=False)
    if in_its_place is not None:
        raise CheckpointError(
            path, f"where the generator would be stands the foreign object {in_its_place!r}, which is not looked into"
        )
    raise CheckpointError(
        path,
        f"no StyleGAN2 generator in it ({_shown(content)}); expected a network under G_ema, g_ema, decoder.* or such, "
        "or its state dict",
    )


class _Looked:
    """What was looked at already: a file of some bytes can name one dict in more places than time or memory hold."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self._count = 0
        self._seen: set[tuple[int, bool, int]] = set()

    def at(self, count: int) -> None:
        """Count values. Raises `CheckpointError` beyond `_MAX_VALUES`."""
        self._count += count
        if self._count > _MAX_VALUES:
            raise CheckpointError(self.path, f"more than {_MAX_VALUES} values to look at where a generator may be")

    def before(self, value: Any, named: bool, depth: int) -> bool:
        """Whether a value was met before as deep in the file; if not, it has been from here on."""
        key = (id(value), named, depth)
        known = key in self._seen
        self._seen.add(key)
        return known


def _candidates(
    value: Any, around: tuple[Mapping[Any, Any], ...], named: bool, depth: int, looked: _Looked
) -> Iterator[tuple[Any, tuple[Mapping[Any, Any], ...], bool]]:
    """Yield what may be the generator, the likeliest first, with the dicts around it."""
    if looked.before(value, named, depth):
        return
    looked.at(len(value) if isinstance(value, Mapping) else 1)
    if isinstance(value, (Record, RecordClass)):
        yield value, around, named
    elif isinstance(value, (tuple, list)) and len(value) <= _MAX_TUPLE and depth < 4:
        for item in reversed(value):  # (G, D, Gs) and (G, D, G_ema): the average is the last
            yield from _candidates(item, around, len(value) == 1, depth + 1, looked)
    elif isinstance(value, Mapping) and depth < 4:
        if any(_is_tensor(item) for item in value.values()):
            yield value, around, named
        for key in _KEYS:
            if key in value:
                yield from _candidates(value[key], (value, *around), True, depth + 1, looked)
        others = [key for key in value if isinstance(key, str) and key not in _KEYS]
        for key in sorted(others, key=lambda other: "ema" not in other.lower())[:_MAX_OTHERS]:
            if isinstance(value[key], (Record, Mapping, tuple, list)):
                yield from _candidates(value[key], (value, *around), False, depth + 1, looked)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (Tensor, PickledArray))


def _is_module(value: Any) -> bool:
    return isinstance(value, Record) and isinstance(value.state.get("_modules"), Mapping)


def _recognised(value: Any, around: tuple[Mapping[Any, Any], ...], looked: _Looked) -> Found | None:
    if isinstance(value, Record) and value.class_name == TF_NETWORK:
        components = value.state.get("components")
        whole = isinstance(components, Mapping) and {"mapping", "synthesis"} <= set(components)
        return Found("tensorflow", around=around, network=value) if whole else None
    modules: dict[str, Record] = {}
    if _is_module(value):
        modules = dict(_walk(value, looked))
        values = _values(modules, looked)
    elif isinstance(value, Mapping):
        looked.at(len(value))
        values = {name: item for name, item in value.items() if isinstance(name, str)}
        around = (value, *around)
    else:
        return None
    for kind, marker in _MARKERS.items():
        prefixes = [name.removesuffix(marker) for name in values if name == marker or name.endswith(f".{marker}")]
        if not prefixes:
            continue
        prefix = min(prefixes, key=lambda p: ("ema" not in p.lower(), "decoder" not in p, len(p), p))
        own = {n.removeprefix(prefix): record for n, record in modules.items() if f"{n}.".startswith(prefix)}
        own = {n.removeprefix(prefix.removesuffix(".")) if f"{n}." == prefix else n: r for n, r in own.items()}
        seen: set[int] = set()
        for name, record in own.items():
            _check_module(name, record, kind, seen, looked)
        return Found(
            "nvidia" if kind == "nvidia" else "rosinality",
            {name.removeprefix(prefix): item for name, item in values.items() if name.startswith(prefix)},
            {name: record.state for name, record in own.items()},
            around,
            classes=frozenset(record.class_name for record in own.values()),
        )
    return None


def _walk(root: Record, looked: _Looked) -> Iterator[tuple[str, Record]]:
    """Yield all modules below (and with) `root` by their dotted names."""
    waiting = [("", root)]
    count = 0
    while waiting:
        name, record = waiting.pop()
        count += 1
        looked.at(1)
        if count > _MAX_MODULES or name.count(".") > _MAX_DEPTH:
            raise CheckpointError(looked.path, f"more than {_MAX_MODULES} modules, or modules that contain themselves")
        yield name, record
        children = record.state.get("_modules")
        looked.at(len(children) if isinstance(children, Mapping) else 0)
        for key, child in children.items() if isinstance(children, Mapping) else ():
            if isinstance(key, str) and child is not None:
                below = _below(name, key, looked)
                if not isinstance(child, Record):
                    raise CheckpointError(looked.path, f"the module {below} is {_shown(child)}")
                waiting.append((below, child))


def _below(name: str, key: str, looked: _Looked) -> str:
    """The dotted name of what a module calls `key`."""
    if len(name) + len(key) > _MAX_NAME:
        raise CheckpointError(looked.path, f"a module or weight with a name of more than {_MAX_NAME} characters")
    return f"{name}.{key}" if name else key


def _values(modules: Mapping[str, Record], looked: _Looked) -> dict[str, Any]:
    """All parameters and buffers of some modules by their dotted names."""
    found: dict[str, Any] = {}
    for prefix, record in modules.items():
        for group in ("_parameters", "_buffers"):
            values = record.state.get(group)
            looked.at(len(values) if isinstance(values, Mapping) else 0)
            for name, value in values.items() if isinstance(values, Mapping) else ():
                if isinstance(name, str) and value is not None:
                    found[_below(prefix, name, looked)] = value
    return found


def _check_module(name: str, record: Record, kind: str, seen: set[int], looked: _Looked) -> None:
    """Refuse a module of the generator that is of no known class, or that holds a foreign object.

    `seen` are the containers that were looked into for other modules.
    """
    path = looked.path
    if record.class_name.rpartition(".")[2] not in _CLASSES[kind] or not _is_module(record):
        what = "foreign object" if record.foreign else "module of the unknown class"
        raise CheckpointError(
            path, f"the {what} {record.class_name!r} is part of the generator (at {name or 'its root'})"
        )
    if id(record.state) in seen:
        return
    seen.add(id(record.state))
    looked.at(len(record.state))
    waiting: list[Any] = [value for key, value in record.state.items() if key != "_modules"]
    while waiting:
        value = waiting.pop()
        foreign = foreign_name(value)
        if foreign is not None:
            raise CheckpointError(
                path, f"the foreign object {foreign!r} is part of the generator (in {name or 'its root'})"
            )
        if id(value) in seen or not isinstance(value, (Mapping, list, tuple, set, frozenset, Record)):
            continue
        seen.add(id(value))
        looked.at(1 if isinstance(value, Record) else len(value))
        if isinstance(value, Record):
            waiting += [*value.state.values(), *value.items, *value.arguments]
        elif isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()]
        else:
            waiting += list(value)


def _shown(content: Any) -> str:
    """What a checkpoint holds, for a message."""
    if isinstance(content, Mapping):
        keys = [str(key)[:40] for key in list(content)[:6] if isinstance(key, (str, int))]
        return f"a dict with the keys {', '.join(keys)}" if keys else "an empty dict"
    if isinstance(content, Record):
        return f"an object of the class {content.class_name!r}"
    return f"a {type(content).__name__}"
