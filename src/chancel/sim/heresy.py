"""A pair at cathedrals of which some, or all, are heretics for some minutes: what holds meanwhile,
and how soon the tunnel works when all is well.

*Well* means that the heretics repent; or, if they don't, that both ends know an honest cathedral.
"""

from __future__ import annotations

import dataclasses
import math
import random
import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Final

from chancel.protocol.client import IN_VAIN_S, MOST_ROUNDS
from chancel.sim.heresies import AMBRIES, NAMES, hide_peers, made
from chancel.sim.heresy_meeting import HeresyGathering, HeresyMeeting, HeresyTunnelMeeting
from chancel.sim.meeting import MeetingScenario
from chancel.sim.nat import NAT_TYPES

VIRTUE_S: Final = 45.0
"""How long cathedrals are honest at first, if they are: a direct path is proved by then."""
EVIL_S: Final = 240.0
MOST_AT_ONCE: Final = 4
"""Heresies of one mixture."""
DOWN_S: Final = 3.0

REPENT_S: Final = 150.0
"""How soon packets must pass once all cathedrals are honest: a device may be asking the last of
three liars' inventions, and wait for the end of a pause after exchanges in vain."""
WATCHED_S: Final = 1800.0
CALM_S: Final = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """All that happens in one run; equal cases give equal runs.

    ``heretics`` are the numbers of the cathedrals that are, with the heresies ``names``. With
    ``virtue`` they are honest for a while first. With ``escape`` they never repent.
    """

    seed: int
    names: tuple[str, ...]
    scenario: MeetingScenario
    heretics: tuple[int, ...]
    virtue: bool
    escape: bool
    restarts: bool
    tunnels: bool

    @property
    def stays_direct(self) -> bool:
        """Whether a path that was proved before must carry all packets all the time. Heretics who
        hand out old secrets can cost the keys; a device that is without power loses what it gets.
        """
        return self.virtue and not self.restarts and not AMBRIES.keys() & set(self.names)

    @property
    def bound_s(self) -> float:
        """How soon it must work when all is well: without repentance, once one end has gone round
        all cathedrals while the other waited at each."""
        count = self.scenario.cathedrals
        return REPENT_S + IN_VAIN_S * count * min(count, MOST_ROUNDS) * self.escape

    def command(self) -> str:
        """The command line that repeats it."""
        words = ["chancel", "sim", "heresy", "--seed", str(self.seed)]
        if self.names != case(self.seed).names:
            words += ["--heresies", ",".join(self.names)]
        return shlex.join(words)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case. ``works_s`` counts from when all was well."""

    case: Case
    works_s: float
    was_direct: bool
    strayed: int
    """Seconds in which a proved path was left."""
    lost: int
    """Of the packets sent over a proved path meanwhile, or of 20 sent when all was settled."""
    events: int
    broken: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        """What must not be, in words."""
        late = self.works_s > self.case.bound_s
        found = {
            f"nothing passed for {self.works_s:.0f} s once all was well": late,
            f"a direct path was left for {self.strayed} s": self.strayed > 0,
            f"{self.lost} packets were lost": self.lost > 0,
        }
        return [*self.broken, *[problem for problem, is_so in found.items() if is_so]]

    @property
    def ok(self) -> bool:
        """Whether all held."""
        return not self.problems


def case(seed: int, names: Sequence[str] | None = None) -> Case:
    """The case of a seed; or the same with other heresies."""
    rng = random.Random(f"heresy {seed}")  # noqa: S311 - repeatable on purpose
    kinds = (None, *NAT_TYPES)
    count = rng.choice((1, 2, 2, 3))
    heretics = tuple(sorted(rng.sample(range(count), rng.randrange(1, count + 1))))
    tunnels = rng.random() < 0.2
    nats = rng.choice(kinds), rng.choice(kinds)
    mixture = tuple(rng.sample(NAMES, rng.randrange(1, MOST_AT_ONCE + 1)))
    chosen = mixture if names is None else tuple(names)
    ambry = rng.random() < 0.5
    hides = hide_peers(made(chosen, ()))
    escape = len(heretics) < count and not hides and rng.random() < 0.6
    scenario = MeetingScenario(
        seed,
        nats,
        count,
        shroud=rng.random() < 0.3,
        ambry=ambry or any(each in AMBRIES for each in chosen),
        remember=rng.random() < 0.7 and not tunnels,
        all_configured=rng.random() < 0.5 or escape,
    )
    virtue, restarts = rng.random() < 0.5, rng.random() < 0.4
    return Case(seed, chosen, scenario, heretics, virtue, escape, restarts, tunnels)


def run(given: Case) -> Outcome:
    """Equal cases give equal runs. Whatever a run raises has a note on how to repeat it."""
    try:
        return Trial(given).run()
    except Exception as error:
        error.add_note(f"repeat: {given.command()}")
        raise


def run_all(cases: Sequence[Case], jobs: int) -> Iterator[Outcome]:
    """Run them in ``jobs`` processes; outcomes come as they finish, in any order."""
    with ProcessPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(run, each) for each in cases]):
            yield done.result()


class Trial:
    """One case, from power on to the judgement."""

    def __init__(self, given: Case) -> None:
        self._case = given
        kind = HeresyTunnelMeeting if given.tunnels else HeresyMeeting
        self.meeting: HeresyGathering = kind(given.scenario)
        self._rng = random.Random(f"trial {given.seed}")  # noqa: S311 - repeatable on purpose
        self._strayed = 0
        self._number = 0

    def run(self) -> Outcome:
        """All of it."""
        given, meeting = self._case, self.meeting
        nodes = [meeting.cathedrals[number] for number in given.heretics]
        was_direct = False
        if given.virtue:
            meeting.start()
            meeting.run(VIRTUE_S)
            was_direct = meeting.up() and meeting.direct()
            meeting.corrupt(nodes, given.names)
        else:
            meeting.corrupt(nodes, given.names)
            meeting.start()
        lost = self._suffer(stays_direct=was_direct and given.stays_direct)
        if not given.escape:
            meeting.repent()
        works_s = self._until_it_works()
        if not given.escape:
            lost += self._calm()
        meeting.close()
        broken = tuple(meeting.problems())
        events = meeting.trace.count
        return Outcome(given, works_s, was_direct, self._strayed, lost, events, broken)

    def _suffer(self, *, stays_direct: bool) -> int:
        """Evil is done; how many packets got lost, if none had to."""
        meeting, given = self.meeting, self._case
        until = meeting.clock.now + EVIL_S
        before, sent = len(meeting.delivered), 0
        restart_at = until - EVIL_S * self._rng.random() if given.restarts else math.inf
        while meeting.clock.now < until:
            sent += self._send()
            meeting.run(1.0)
            if meeting.clock.now >= restart_at:
                restart_at = math.inf
                meeting.restart(self._rng.choice(meeting.devices), DOWN_S)
                if given.scenario.ambry:
                    meeting.roll()
            self._strayed += stays_direct and not meeting.direct()
        meeting.run(1.0)
        return sent - (len(meeting.delivered) - before) if stays_direct else 0

    def _until_it_works(self) -> float:
        meeting = self.meeting
        begin = meeting.clock.now
        while meeting.clock.now < begin + WATCHED_S:
            before = [set(device.got) for device in meeting.devices]
            words = b"works %d" % self._number
            for device in meeting.devices:
                device.send(words + device.name.encode())
            self._number += 1
            meeting.run(2.0)
            got = zip(meeting.devices, before, strict=True)
            if all(any(words in each for each in set(one.got) - had) for one, had in got):
                return meeting.clock.now - begin
        return math.inf

    def _calm(self) -> int:
        """How many of 20 packets get lost when everything should be settled."""
        self.meeting.run(CALM_S)
        return 20 - self.meeting.exchange(10)

    def _send(self) -> int:
        self._number += 1
        for device in self.meeting.devices:
            device.send(b"%s %d" % (device.name.encode(), self._number))
        return len(self.meeting.devices)
