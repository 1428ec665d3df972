"""What Gradio itself keeps of a visit, the pictures on its page among it: bounded, and gone when the visit ends."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

__all__ = ["bound_sessions", "forget_session"]


def bound_sessions(blocks: Any, most: int) -> None:
    """Let Gradio keep what `most` pages of `blocks` show, where it would keep 10,000; before it serves them."""
    blocks.state_session_capacity = most


def forget_session(blocks: Any, session: str) -> None:
    """Drop what Gradio keeps of a page that is gone: what its components showed, and messages nobody came for.

    Gradio has no call for it and lets an hour pass, or, of components, more pages than it has room for.
    """
    holder, queue = getattr(blocks, "state_holder", None), getattr(blocks, "_queue", None)
    for owner, name in (
        (holder, "session_data"),
        (holder, "time_last_used"),
        (queue, "pending_messages_per_session"),
        (queue, "pending_event_ids_session"),
        (blocks, "pending_diff_streams"),
    ):
        kept = getattr(owner, name, None)
        if isinstance(kept, MutableMapping):
            kept.pop(session, None)
