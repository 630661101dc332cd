"""What is measured in a parish while it runs: how soon tunnels come, how soon all is well again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Final

from chancel.protocol.registration_events import AmbryAdopted, CathedralAnswers
from chancel.protocol.session_types import SessionEvent
from chancel.sim.parish import Parish, Tunnel
from chancel.sim.parish_device import TunnelEnd
from chancel.sim.scenario_events import Word
from chancel.wire.types import Address

SAMPLE_S: Final = 30.0
"""Between two looks at how many tunnels are up and direct."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """At one time: the tunnels that can be, that are up, and that are direct."""

    at_s: float
    possible: int
    up: int
    direct: int


@dataclasses.dataclass(frozen=True, slots=True)
class Recovery:
    """How long it took from one moment until nobody was concerned any more; ``math.inf``: it was
    not seen to end. ``of`` is how many were concerned at first."""

    what: str
    at_s: float
    took_s: float
    of: int


@dataclasses.dataclass(slots=True, eq=False)
class _Pending:
    what: str
    at_s: float
    left: set[object]
    of: int
    dead: Address | None = None


class Watch:
    """Listens to a parish from its start. Times are in seconds."""

    def __init__(self, parish: Parish) -> None:
        self.up_s: list[float] = []
        """From when both ends have power until the tunnel is up."""
        self.direct_s: list[float] = []
        """Until it is direct, too, where theory lets it."""
        self.samples: list[Sample] = []
        self.recoveries: list[Recovery] = []
        self._parish = parish
        self._of = {end: tunnel for tunnel in parish.tunnels for end in tunnel.ends}
        self._waiting_up: dict[Tunnel, float] = {}
        self._waiting_direct: dict[Tunnel, float] = {}
        self._pending: list[_Pending] = []
        parish.listeners.append(self._heard)
        self._sample()

    def begun(self, number: int) -> None:
        """A device has power, or is at a new place: its tunnels are waited for."""
        parish = self._parish
        for end in parish.devices[number].ends:
            tunnel = self._of[end]
            if parish.possible(tunnel):
                self._waiting_up[tunnel] = parish.clock.now
                if parish.can_be_direct(tunnel):
                    self._waiting_direct[tunnel] = parish.clock.now

    def gone(self, number: int) -> None:
        """A device is no longer there: nobody waits for it."""
        for end in self._parish.devices[number].ends:
            tunnel = self._of[end]
            self._waiting_up.pop(tunnel, None)
            self._waiting_direct.pop(tunnel, None)
            for pending in tuple(self._pending):
                self._done(pending, end)
                self._done(pending, tunnel)

    def disturbed(self) -> None:
        """Something happens to many: how long their tunnels take says nothing now."""
        self._waiting_up.clear()
        self._waiting_direct.clear()

    def rolled(self) -> None:
        """New secrets are served: all who are there have to get theirs."""
        here = (end for end in self._of if self._is_here(end))
        self._begin("roll-over", here)

    def healed(self) -> None:
        """A split is over: all tunnels have to come up again."""
        parish = self._parish
        self._begin("split healed", (t for t in parish.tunnels if parish.possible(t) and not t.up))

    def died(self, dead: Address) -> None:
        """A cathedral died: all who were there need another one."""
        orphans = [end for end in self._of if self._is_here(end) and _cathedral(end) == dead]
        self._begin("death", orphans, dead)

    def end(self) -> None:
        """The run is over."""
        for each in self._pending:
            self.recoveries.append(Recovery(each.what, each.at_s, math.inf, each.of))
        self._pending.clear()

    def _is_here(self, end: TunnelEnd) -> bool:
        device = self._parish.devices[end.own]
        return self._parish.possible(self._of[end]) and device.on and not device.asleep

    def _begin(self, what: str, left: Iterable[object], dead: Address | None = None) -> None:
        concerned = set(left)
        pending = _Pending(what, self._parish.clock.now, concerned, len(concerned), dead)
        self._pending.append(pending)
        self._check(pending)

    def _done(self, pending: _Pending, who: object) -> None:
        if who in pending.left:
            pending.left.discard(who)
            self._check(pending)

    def _check(self, pending: _Pending) -> None:
        if not pending.left:
            took_s = self._parish.clock.now - pending.at_s
            self._pending.remove(pending)
            self.recoveries.append(Recovery(pending.what, pending.at_s, took_s, pending.of))

    def _heard(self, end: TunnelEnd, event: SessionEvent, word: Word | None) -> None:
        if word is Word.UP or word is Word.DIRECT:
            self._progress(self._of[end])
        match event:
            case AmbryAdopted(generation) if generation == self._parish.generation:
                self._settle("roll-over", end)
            case CathedralAnswers(address):
                for pending in tuple(self._pending):
                    if pending.dead not in (None, address):
                        self._done(pending, end)

    def _progress(self, tunnel: Tunnel) -> None:
        now = self._parish.clock.now
        if tunnel.up:
            if (since := self._waiting_up.pop(tunnel, None)) is not None:
                self.up_s.append(now - since)
            self._settle("split healed", tunnel)
        if tunnel.direct and (since := self._waiting_direct.pop(tunnel, None)) is not None:
            self.direct_s.append(now - since)

    def _settle(self, what: str, who: object) -> None:
        for pending in tuple(self._pending):
            if pending.what == what:
                self._done(pending, who)

    def _sample(self) -> None:
        parish = self._parish
        possible = [tunnel for tunnel in parish.tunnels if parish.possible(tunnel)]
        up = [tunnel for tunnel in possible if tunnel.up]
        direct = sum(tunnel.direct for tunnel in up)
        self.samples.append(Sample(parish.clock.now, len(possible), len(up), direct))
        parish.clock.call_at(parish.clock.now + SAMPLE_S, self._sample)


def _cathedral(end: TunnelEnd) -> Address | None:
    status = end.status()
    return None if status is None or status.cathedral is None else status.cathedral.cathedral
