"""Turns: a process waits, takes what is ordinary, does its part and hands it on, all in one place.

What isn't ordinary is left to the duty as it came. What a turn does with the rest is what the duty
would do; its books are merged with the duty's when it returns. The accelerator's turns carry
batches of any size, and don't enter the interpreter (``docs/decisions/020-compiled-turns.md``).
Those in Python (``lone``) carry lone packets, whose time is spent on fetching the program from
memory, and spare them most of it.
"""

from __future__ import annotations

from typing import Any

from chancel.daemon.hot import lone_ends, lone_keys, twins
from chancel.daemon.lane import CompiledLaneReader, CompiledLaneWriter, LaneReader, LaneWriter
from chancel.daemon.loop import Loop

_LONE: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        lone_ends.ReadTurns,
        lone_keys.SealTurns,
        lone_ends.SendTurns,
        lone_ends.ReceiveTurns,
        lone_keys.OpenTurns,
        lone_ends.WriteTurns,
    )
}


def turns(
    loop: Loop, kind: str, function: str, *ends: LaneReader | LaneWriter, copy: Any = None
) -> Any:
    """The turns of this kind on these ends of lanes; ``None`` where the loop calls the duty.

    That is so where only one of the hot function and its turns is compiled, as they share state.
    ``copy`` is memory to copy batches to, for compiled turns that need it.
    """
    compiled = twins.compiled("turn")
    if bool(compiled) != bool(twins.compiled(function)):
        return None
    if not compiled:
        return _LONE[kind](loop.poll, *ends)
    inner = [
        end.compiled for end in ends if isinstance(end, CompiledLaneReader | CompiledLaneWriter)
    ]
    if len(inner) != len(ends):
        return None
    return getattr(compiled, kind)(*inner, *([] if copy is None else [copy]))
