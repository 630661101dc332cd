"""What happened at the two ends of a tunnel, reduced to what any two runs of one story share.

A *step* is an event of the protocol with its words and without its numbers: SPIs are named after
the end that chose them, in the order of its exchanges, so that both ends' steps also tell who uses
whose key. Steps come from the trace of a daemon (lines of JSON) or from events of the library's
tunnels, which the daemon's own writer turns into such lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chancel.daemon.trace import Trace, make_channel
from chancel.protocol.session_types import SessionEvent

Line = dict[str, Any]
Step = tuple[str, ...]
Steps = list[Step]

MESSAGE_BYTES = 1 << 20

NOT_COMPARED = frozenset(
    (
        # Only a group tells hops and drops, and offers while it is traced.
        *("begin", "hop", "drop", "offers-sent", "offer-received", "exchange"),
        # The board is read four times a second: what it shows of keys is told by the events, too.
        *("send-key", "receive-key", "heartbeat"),
        # Compared on their own, see ``addresses``: they come from the board as well.
        *("peer", "path-changed"),
    )
)


def lines_of(events: Iterable[SessionEvent]) -> list[Line]:
    """Events of the protocol as the lines of a trace."""
    lines: list[Line] = []
    reading, writing = make_channel()
    with reading:
        trace = Trace("tunnel", writing.detach(), {0: "tunnel"}, lambda: None)
        reading.recv(MESSAGE_BYTES)  # that the trace begins
        for event in events:
            trace.event(0, event)
            lines.append(json.loads(reading.recv(MESSAGE_BYTES)))
        trace.close()
    return lines


def steps_of(ends: Mapping[str, Sequence[Line]]) -> dict[str, Steps]:
    """The steps of each end, by its name."""
    names: dict[str, str] = {}
    for end, lines in ends.items():
        own = [line["spi"] for line in lines if line["event"] == "exchange-started"]
        names |= {spi: f"{end}'s key {number}" for number, spi in enumerate(own, 1)}
    return {
        end: [_step(line, names) for line in lines if _is_step(line)] for end, lines in ends.items()
    }


def directions_apart(steps: Steps) -> Steps:
    """The same for every order in which an end may learn that its two directions work.

    An answer reaches chapel by a lane of offers, that the peer uses a key by confess and its board.
    The peer sends both within milliseconds, and two processes hand them on: so of these two steps
    either may be first. A tunnel takes both from one port, in the order in which they came.
    """
    ordered = list(steps)
    for at in range(1, len(ordered)):
        first, second = ordered[at - 1 : at + 1]
        if (first[0], second[0]) == ("receive-key-used", "send-key-installed"):
            ordered[at - 1 : at + 1] = second, first
    return ordered


def addresses(lines: Sequence[Line], configured: str | None) -> list[str | None]:
    """Where the peer was, in this order; several processes of a group tell the same change."""
    seen = [configured]
    for line in lines:
        match line:
            case {"event": "peer", "to": at} | {"event": "path-changed", "address": at}:
                if at != seen[-1]:
                    seen.append(at)
    return seen


def _is_step(line: Line) -> bool:
    if line["event"] == "clock-skew":
        # Small ones are seen where an offer waited for a busy machine.
        return bool(line["refused"])
    return line["event"] not in NOT_COMPARED


def _step(line: Line, names: Mapping[str, str]) -> Step:
    match line:
        case {"event": "clock-skew" as event, "seconds": seconds}:
            # Clocks are compared in whole seconds, which tick between two packets.
            words = ["we are behind" if seconds > 0 else "we are ahead"]
        case {"event": "peer-restarted" as event}:
            words = []
        case {"event": "peer-unresponsive" as event, "silent_s": seconds}:
            words = [f"{seconds:.0f} s"]
        case {"event": str(event)}:
            skipped = ("at", "process", "event", "tunnel", "spi")
            words = [str(value) for name, value in line.items() if name not in skipped]
            if "spi" in line:
                words.append(names.get(line["spi"], "nobody's key"))
    return (event, *words)
