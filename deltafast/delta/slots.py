"""W+ slots: how people write them, and how those of one generator correspond to those of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deltafast.arguments import slots_of
from deltafast.errors import EditorError, InvalidInputError
from deltafast.generators.base import match_slots
from deltafast.sequence_latents import GeneratorId

__all__ = ["check_slots", "check_w_space", "map_slots", "parse_ranges", "parse_slots"]


def parse_ranges(text: str, what: str, largest: int) -> tuple[int, ...]:
    """Read whole numbers 0 .. largest written like "0-5,8", sorted, each once: ranges include both ends.

    `what` is what the numbers are called in the `InvalidInputError` for anything else, or for over a million of them.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InvalidInputError(f"{what} are written like 0-5,8; cannot read {text!r}")
        low, high = int(first), int(last if dash else first)
        if high < low or high > largest:
            raise InvalidInputError(f"{what} are written like 0-5,8, up to {largest}; {part.strip()!r} does not fit")
        if high - low >= 1_000_000:
            raise InvalidInputError(f"{part.strip()!r} are more than a million {what}; split them over several calls")
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def parse_slots(text: str) -> tuple[int, ...]:
    """Read W+ slots written like "0-5,8"; see `parse_ranges`."""
    return parse_ranges(text, "slots", 999)


def check_slots(slots: Iterable[int], num_ws: int) -> tuple[int, ...]:
    """Return slots sorted, each once: of their numbers in 0 .. num_ws - 1, or of a mask of num_ws booleans.

    Raises `InvalidInputError` for anything else.
    """
    return slots_of(slots, num_ws)


def map_slots(
    moved: Sequence[int], num_ws: int, names: Sequence[str], target_num_ws: int, target_names: Sequence[str]
) -> tuple[tuple[int, int], ...]:
    """Return pairs (target slot, slot of ours that drives it) for a generator of the same W space.

    `moved`: the slots of ours that matter, of `num_ws`; `names`: their layers' names (see `Generator.slots`), empty
    where not known: then all but the last are the convolutions of StyleGAN2 in order, and the last one cannot be
    mapped. Raises `EditorError` when a slot that matters drives nothing there.
    """
    if num_ws == target_num_ws and (not names or not target_names or tuple(names) == tuple(target_names)):
        return tuple((slot, slot) for slot in moved)
    ours = list(names) or _convolutions(num_ws)
    theirs = list(target_names) or _convolutions(target_num_ws)
    pairs = [(t, s) for t, s in enumerate(match_slots(ours, theirs)) if s is not None and s in moved]
    lost = sorted(set(moved) - {s for _, s in pairs})
    if lost:
        raise EditorError(
            f"the editor moves W+ slots {lost} of {num_ws}, which have no counterpart among the {target_num_ws} slots "
            "of this generator; train an editor without them (--slots) or for this generator"
        )
    return tuple(pairs)


def check_w_space(attribute: str, own: GeneratorId, other: GeneratorId, vouched: bool) -> None:
    """Raise `EditorError` when the W spaces of two generators differ and nobody vouched for them."""
    if own.w_space != other.w_space and own.fingerprint != other.fingerprint and not vouched:
        raise EditorError(
            f"the editor {attribute!r} was trained on {own.name} (W space {own.w_space}) and does not fit "
            f"{other.name} (W space {other.w_space}); train one for it with `deltafast project` and `deltafast "
            "train`, or vouch for it: same_w_space=True in Python, --same-w-space on the command line"
        )


def _convolutions(num_ws: int) -> list[str]:
    names = ["b4.conv1"]
    resolution = 8
    while len(names) < num_ws:
        names += [f"b{resolution}.conv0", f"b{resolution}.conv1"]
        resolution *= 2
    return [*names[: num_ws - 1], "?"]
