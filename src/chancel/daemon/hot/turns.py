"""Turns: a process waits, takes what is ordinary, does its part and hands it on, all in one place.

What isn't ordinary is left to the duty as it came. What a turn does with the rest is what the duty
would do; its books are merged with the duty's when it returns. The accelerator's turns carry any
ordinary batch, and don't enter the interpreter (``docs/decisions/020-compiled-turns.md``). Those in
Python (``turn``) carry what costs the most to fetch the duty's program for: lone packets, where
time is latency, and a batch that is one run, as nearly all are in bulk traffic.
"""

from __future__ import annotations

from typing import Any

from chancel.daemon.hot import turn_ends, turn_keys, twins
from chancel.daemon.lane import (
    CompiledLaneReader,
    CompiledLaneWriter,
    LaneCopy,
    LaneReader,
    LaneWriter,
)
from chancel.daemon.loop import Loop

_PLAIN: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        turn_ends.ReadTurns,
        turn_keys.SealTurns,
        turn_ends.SendTurns,
        turn_ends.ReceiveTurns,
        turn_keys.OpenTurns,
        turn_ends.WriteTurns,
    )
}


def turns(
    loop: Loop,
    kind: str,
    function: str,
    *ends: LaneReader | LaneWriter,
    copy: LaneCopy | None = None,
) -> Any:
    """The turns of this kind on these ends of lanes; ``None`` where the loop calls the duty.

    That is so where only one of the hot function and its turns is compiled, as they share state.
    ``copy`` is where they copy what they read, if they need that.
    """
    compiled = twins.compiled("turn")
    if bool(compiled) != bool(twins.compiled(function)):
        return None
    copies = [] if copy is None else [copy]
    if not compiled:
        return _PLAIN[kind](loop.poll, *ends, *copies)
    inner = [
        end.compiled for end in ends if isinstance(end, CompiledLaneReader | CompiledLaneWriter)
    ]
    if len(inner) != len(ends):
        return None
    return getattr(compiled, kind)(*inner, *[each.memory for each in copies])
