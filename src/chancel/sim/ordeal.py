"""A pair behind cathedrals for some minutes in which anything fails, and then nothing any more.

Once all is well again the tunnel must carry packets both ways within a minute, whatever came before
and in whatever order; go direct, where the routers let it; and hold one generation of the secret.
"""

from __future__ import annotations

import dataclasses
import math
import random
import shlex
from typing import Final

from chancel.protocol.behaviour import CHANCEL, REFERENCE
from chancel.sim.meeting import OUTSIDE, Meeting, MeetingScenario
from chancel.sim.nat import NAT_TYPES
from chancel.sim.network import Router
from chancel.wire.types import Address

FAULTS_S: Final = 400.0
"""For how long things fail, one every :data:`MEAN_S` seconds."""
MEAN_S: Final = 15.0
DOWN_S: Final = (0.0, 1.0, 5.0, 30.0, 150.0)
"""How long a device may be without power: longer than its peer keeps keys, too."""
SLEEP_S: Final = (5.0, 70.0, 300.0)
LOSS: Final = (0.0, 0.05, 0.3)

WORKS_S: Final = 60.0
"""How soon packets must pass once all is well. It takes 10 s and less, but for bad luck."""
PAUSE_S: Final = 60.0
"""An end that keeps keys as the reference does makes such pauses."""
HEAVY: Final = dataclasses.replace(REFERENCE, resync_delay_s=1.0)
"""The reference as it is here: what it begins anew leaves with its next turn, up to a second later.
At once, two ends whose packets cross in great numbers would have each other begin anew faster and
faster."""
DIRECT_S: Final = 120.0
AGREED_S: Final = 60.0
WATCHED_S: Final = 400.0


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed: how many seconds each took from when all was well, and what it saw."""

    seed: int
    scenario: MeetingScenario
    works_s: float
    direct_s: float
    agreed_s: float
    lost: int
    """Of 20 packets sent when everything should be settled."""
    log: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """What must not be, in words."""
        behaviours, nats = self.scenario.behaviours, self.scenario.nats
        bound_s = WORKS_S + PAUSE_S * (HEAVY in behaviours)
        symmetric = any(nat is not None and "symmetric" in nat for nat in nats)
        found = {
            f"nothing passed for {self.works_s:.0f} s": self.works_s > bound_s,
            "no direct path": self.direct_s >= DIRECT_S and not symmetric,
            "two generations": self.agreed_s >= AGREED_S,
            f"{self.lost} packets lost in calm times": self.lost > 0,
        }
        return [problem for problem, is_so in found.items() if is_so]

    def command(self) -> str:
        """The command line that repeats it."""
        return shlex.join(["chancel", "sim", "ordeal", "--seed", str(self.seed)])


def run(seed: int) -> Outcome:
    """Equal seeds give equal runs."""
    ordeal = Ordeal(seed)
    ordeal.suffer()
    return ordeal.recover()


class Ordeal:
    """One seed's pair, and everything that happens to it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rng = rng = random.Random(f"ordeal {seed}")  # noqa: S311 - repeatable on purpose
        kinds = (None, *NAT_TYPES)
        self.scenario = MeetingScenario(
            seed,
            (rng.choice(kinds), rng.choice(kinds)),
            rng.choice((1, 2, 3)),
            shroud=rng.random() < 0.3,
            ambry=rng.random() < 0.5,
            remember=rng.random() < 0.7,
            all_configured=rng.random() < 0.5,
            behaviours=(CHANCEL, rng.choice((CHANCEL, CHANCEL, CHANCEL, HEAVY))),
        )
        self._meeting = Meeting(self.scenario)
        self._meeting.network.refuse = self._refuse
        self._cut: set[tuple[str, str]] = set()
        self._loss = 0.0
        self._log: list[str] = []

    def suffer(self) -> None:
        """Everything fails."""
        meeting, rng = self._meeting, self._rng
        meeting.start()
        faults = (
            *(self._cathedral, self._cathedral, self._restart, self._restart_both, self._reset_nat),
            *(self._cut_direct, self._cut_cathedral, self._mend, self._suspend, self._roll),
            self._lose,
        )
        while meeting.clock.now < FAULTS_S:
            meeting.run(rng.expovariate(1 / MEAN_S))
            rng.choice(faults)()

    def recover(self) -> Outcome:
        """Everything is well from now on."""
        meeting = self._meeting
        while self._asleep():
            meeting.run(1.0)
        self._mend()
        self._loss = 0.0
        for cathedral in meeting.cathedrals:
            if cathedral.cathedral is None:
                cathedral.start()
        begin, works_s = meeting.clock.now, math.inf
        while works_s == math.inf and meeting.clock.now < begin + WATCHED_S:
            if meeting.exchange(1) == 2:
                works_s = meeting.clock.now - begin
        direct_s = meeting.until(meeting.direct, DIRECT_S)
        agreed_s = meeting.until(self._agreed, AGREED_S)
        meeting.run(60.0)
        lost = 20 - meeting.exchange(10)
        return Outcome(
            self._seed, self.scenario, works_s, direct_s, agreed_s, lost, tuple(self._log)
        )

    def _refuse(self, _datagram: bytes, source: Address, to: Address, _now: float) -> bool:
        return (source.host, to.host) in self._cut or self._rng.random() < self._loss

    def _agreed(self) -> bool:
        meeting = self._meeting
        generations = {meeting.view(device).generation for device in meeting.devices}
        return not self.scenario.ambry or generations == {meeting.generation}

    def _asleep(self) -> bool:
        return any(device.asleep for device in self._meeting.devices)

    def _note(self, what: str) -> None:
        self._log.append(f"{self._meeting.clock.now:.1f} s: {what}")

    def _cathedral(self) -> None:
        cathedral = self._rng.choice(self._meeting.cathedrals)
        if cathedral.cathedral is None:
            cathedral.start()
            self._note(f"{cathedral.address} is back")
        else:
            cathedral.stop()
            self._note(f"{cathedral.address} dies")

    def _restart(self) -> None:
        device, down_s = self._rng.choice(self._meeting.devices), self._rng.choice(DOWN_S)
        if self._asleep() or device.session is None:
            return
        known = device.session.known_peers() if self._rng.random() < 0.5 else ()
        self._note(f"{device.name} is without power for {down_s:.0f} s, with {len(known)} peers")
        self._meeting.restart(device, down_s, known)

    def _restart_both(self) -> None:
        if self._asleep():
            return
        self._note("both are without power")
        for device in self._meeting.devices:
            device.stop()
        self._meeting.run(self._rng.choice(DOWN_S))
        for device in self._meeting.devices:
            self._meeting.restart(device, 0.0)

    def _reset_nat(self) -> None:
        router = self._meeting.network.public.members[self._rng.choice(OUTSIDE)]
        if isinstance(router, Router):
            router.nat.forget()
            self._note(f"{router.nat.public_host} forgets")

    def _cut_direct(self) -> None:
        side = self._rng.randrange(2)
        self._sever(self._inside(side), OUTSIDE[1 - side])

    def _cut_cathedral(self) -> None:
        side, cathedral = self._rng.randrange(2), self._rng.choice(self._meeting.cathedrals)
        host = cathedral.address.host
        if self._rng.random() < 0.7:
            self._sever(self._inside(side), host)
        if self._rng.random() < 0.7:
            self._sever(host, OUTSIDE[side])

    def _sever(self, source: str, to: str) -> None:
        self._cut.add((source, to))
        self._note(f"nothing passes from {source} to {to}")

    def _inside(self, side: int) -> str:
        return self._meeting.devices[side].address.host

    def _mend(self) -> None:
        self._cut.clear()
        self._note("everything passes")

    def _suspend(self) -> None:
        device, sleep_s = self._rng.choice(self._meeting.devices), self._rng.choice(SLEEP_S)
        if not device.asleep:
            device.suspend(sleep_s)
            self._note(f"{device.name} sleeps for {sleep_s:.0f} s")

    def _roll(self) -> None:
        if self.scenario.ambry:
            self._meeting.roll()
            self._note("a new bundle")

    def _lose(self) -> None:
        self._loss = self._rng.choice(LOSS)
        self._note(f"{self._loss:.0%} are lost")
