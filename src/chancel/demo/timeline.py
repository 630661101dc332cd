"""What was observed, on one clock that starts at 0 with the first daemon."""

from __future__ import annotations

import enum
import statistics
import time
from dataclasses import dataclass, field
from typing import NamedTuple


class Mood(enum.Enum):
    """What an event means to whoever watches."""

    GOOD = "good"
    BAD = "bad"
    NOTE = "note"


class Event(NamedTuple):
    """Something worth a mark in the picture."""

    at_s: float
    label: str
    mood: Mood


class Echo(NamedTuple):
    """A ping through the tunnel; ``rtt_s`` is None when it was lost."""

    at_s: float
    rtt_s: float | None

    @property
    def answered_s(self) -> float:
        """When its reply came (or would have, at once)."""
        return self.at_s + (self.rtt_s or 0.0)


class Flow(NamedTuple):
    """Bulk data that arrived between two moments."""

    from_s: float
    to_s: float
    bytes: int

    @property
    def mbit_s(self) -> float:
        """The rate, in Mbit/s."""
        return self.bytes * 8e-6 / max(self.to_s - self.from_s, 1e-9)


class State(enum.Enum):
    """What an actor is doing, from some moment on."""

    DEAD = "not running"
    ALIVE = "running"
    RELAYED = "relayed by a cathedral"
    DIRECT = "direct"


class Keys(enum.Enum):
    """Why a device has new keys."""

    EXCHANGE = "exchanged with the peer"
    AMBRY = "a new secret, from an ambry"


class Change(NamedTuple):
    """An actor enters a state."""

    at_s: float
    state: State


class Rekey(NamedTuple):
    """A device has new keys."""

    at_s: float
    actor: str
    kind: Keys


@dataclass(slots=True)
class Timeline:
    """Only grows; each list has one writing thread, so readers need no lock."""

    start: float = field(default_factory=time.monotonic)
    """The machine's monotonic clock at second 0."""
    events: list[Event] = field(default_factory=list)
    echoes: list[Echo] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    lanes: dict[str, list[Change]] = field(default_factory=dict)
    """By actor, in the order in which they are shown."""
    rekeys: list[Rekey] = field(default_factory=list)

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    def note(self, label: str, mood: Mood = Mood.NOTE, at_s: float | None = None) -> float:
        """Record an event, by default one that happens now; returns when."""
        at = self.now() if at_s is None else at_s
        self.events.append(Event(at, label, mood))
        return at

    def enter(self, actor: str, state: State, at_s: float | None = None) -> None:
        """An actor that has a lane enters a state, unless it is in it already."""
        lane = self.lanes[actor]
        if not lane or lane[-1].state is not state:
            lane.append(Change(self.now() if at_s is None else at_s, state))

    def state(self, actor: str) -> State:
        """What an actor does now."""
        lane = self.lanes[actor]
        return lane[-1].state if lane else State.DEAD

    def rekeyed_since(self, moment: float, actor: str, kind: Keys) -> Rekey | None:
        """The first new keys of a device after ``moment``, for that reason."""
        found = (each for each in self.rekeys if each.at_s >= moment and each.actor == actor)
        return next((each for each in found if each.kind is kind), None)

    @property
    def end_s(self) -> float:
        """When the last thing was observed."""
        moments = [event.at_s for event in self.events]
        moments += [echo.at_s for echo in self.echoes[-1:]]
        moments += [flow.to_s for flow in self.flows[-1:]]
        return max(moments, default=0.0)

    def answered_since(self, moment: float) -> Echo | None:
        """The first ping sent after ``moment`` that was answered."""
        return next((e for e in self.echoes if e.at_s >= moment and e.rtt_s is not None), None)

    def moved_since(self, moment: float) -> Flow | None:
        """The first interval begun after ``moment`` in which data arrived."""
        return next((flow for flow in self.flows if flow.from_s >= moment and flow.bytes), None)

    def rates(self, step_s: float, until_s: float) -> list[float]:
        """Mbit/s in each whole step from second 0 to ``until_s``."""
        bins = [0.0] * int(until_s / step_s)
        for flow in self.flows:
            for index in range(int(flow.from_s / step_s), int(flow.to_s / step_s) + 1):
                left, right = index * step_s, (index + 1) * step_s
                overlap = min(right, flow.to_s) - max(left, flow.from_s)
                if index < len(bins) and overlap > 0:
                    bins[index] += flow.mbit_s * overlap / step_s
        return bins

    def median_rtt_s(self) -> float | None:
        """Of the pings that were answered."""
        rtts = [echo.rtt_s for echo in self.echoes if echo.rtt_s is not None]
        return statistics.median(rtts) if rtts else None

    def median_mbit_s(self) -> float:
        """Over the intervals in which data flowed."""
        return statistics.median([flow.mbit_s for flow in self.flows if flow.bytes] or [0.0])
