"""The lines of a trace as rows of a sequence diagram: pure, and fed line by line.

The participants stand in the order in which a packet passes them, from the device to the network;
the two halves of heaven and of purgatory share a lifeline. Hops between the same two that follow
each other within a short time are one row, so that bulk traffic stays readable: what else happens
is never moved across them.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

from chancel.cli.status_words import scaled

DEVICE, HEAVEN, BLESS, CONFESS = "device", "heaven", "bless", "confess"
KEEPER, PURGATORY, NETWORK = "keeper", "purgatory", "network"
PARTICIPANTS = (DEVICE, HEAVEN, BLESS, CONFESS, KEEPER, PURGATORY, NETWORK)

WINDOW_S = 0.05
"""Hops this close to each other are added up."""

_LIFELINE = {
    "heaven-rx": HEAVEN,
    "heaven-tx": HEAVEN,
    "purgatory-rx": PURGATORY,
    "purgatory-tx": PURGATORY,
    "chapel": KEEPER,
    "pilgrim": KEEPER,
    "shrine": KEEPER,
}

Line = dict[str, Any]


class Mood(enum.Enum):
    """What a row is about, for its colour."""

    TRAFFIC = "traffic"
    OFFER = "offer"
    STATE = "state"
    BAD = "bad"


class Row(NamedTuple):
    """An arrow, or a note at ``source`` where ``target`` is ``None``. ``end``: 0 left, 1 right."""

    at: float
    end: int
    source: str
    target: str | None
    label: str
    mood: Mood


class _Sum:
    """Hops between two participants that are one row."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.packets = self.bytes = self.graces = 0

    def add(self, line: Line) -> None:
        self.packets += line["packets"]
        self.bytes += line["bytes"]
        self.graces += line.get("graces", 0)

    def label(self) -> str:
        text = f"{self.packets} packet{'s' * (self.packets != 1)}, {scaled(self.bytes, 'B')}"
        return f"{text} ({self.graces} graces)" if self.graces else text


class Rows:
    """Takes lines in the order of time, gives rows; ``end`` says whose trace it is."""

    def __init__(self, end: int = 0) -> None:
        self._end = end
        self._sums: dict[tuple[str, str], _Sum] = {}

    def feed(self, line: Line) -> list[Row]:
        """The rows that are complete now."""
        at = line["at"]
        if line["event"] == "hop":
            oldest = next(iter(self._sums.values()), None)
            done = self.flush() if oldest and at - oldest.at > WINDOW_S else []
            for way in _ways(line):
                self._sums.setdefault(way, _Sum(at)).add(line)
            return done
        note = _note(line)
        if note is None:
            return []
        label, mood = note
        source = _lifeline(line["process"])
        return [*self.flush(), Row(at, self._end, source, None, label, mood)]

    def flush(self) -> list[Row]:
        """The rows of the hops at hand, because nothing follows them or time has passed."""
        sums, self._sums = self._sums, {}
        return [
            Row(each.at, self._end, source, target, each.label(), _hop_mood(source, target))
            for (source, target), each in sums.items()
        ]


def _ways(line: Line) -> list[tuple[str, str]]:
    """The hop itself, and before it the one from outside that nobody else tells of."""
    here, there = _lifeline(line["process"]), _lifeline(line["to"])
    ways = [(here, there)]
    if line["process"] == "heaven-rx" and line.get("graces", 0) < line["packets"]:
        ways.insert(0, (DEVICE, here))
    if "peer" in line:
        ways.insert(0, (NETWORK, here))
    return ways


def _hop_mood(source: str, target: str) -> Mood:
    return Mood.OFFER if KEEPER in (source, target) else Mood.TRAFFIC


def _lifeline(process: str) -> str:
    return _LIFELINE.get(process, process)


def _note(line: Line) -> tuple[str, Mood] | None:  # noqa: PLR0911 - one case a kind of event
    """What a line says in words; ``None`` for what makes no row."""
    match line:
        case {"event": "begin"} | {"event": "heartbeat"}:
            return None
        case {"event": "lost", "lines": lines}:
            return f"{lines} lines of this trace are missing", Mood.BAD
        case {"event": "drop", "reason": reason, "packets": packets}:
            return f"dropped {packets}: {reason}", Mood.BAD
        case {"event": "offers-sent", "kind": kind, "spi": spi, "count": count}:
            return f"{count} offers ({_kind(kind)}, spi {spi})", Mood.OFFER
        case {"event": "offer-received", "kind": kind, "spi": spi, "fragment": fragment}:
            return f"got offer {fragment + 1} of 4 ({_kind(kind)}, spi {spi})", Mood.OFFER
        case {"event": "exchange", "was": was, "to": to}:
            return f"exchange: {was} → {to}", Mood.STATE
        case {"event": "send-key" | "receive-key" as event, "to": to}:
            what = event.replace("-", " ")
            return (f"{what} {to}", Mood.STATE) if to else (f"no {what}", Mood.BAD)
        case {"event": str(event)}:
            skipped = ("at", "process", "event", "tunnel")
            fields = [f"{name} {value}" for name, value in line.items() if name not in skipped]
            return f"{event.replace('-', ' ')}: {', '.join(fields)}".rstrip(": "), Mood.STATE
    return None


def _kind(kind: str) -> str:
    return {"pk": "key", "ct": "answer"}.get(kind, kind)
