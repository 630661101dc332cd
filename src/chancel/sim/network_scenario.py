"""A network by numbers: how many devices and cathedrals, where they are, and what befalls them.

Cathedrals are dealt out to *pools*, which know nothing of each other, and the flocks to the pools.
A pool is a :class:`~chancel.sim.parish.Parish`: it is planned from the scenario and its own number
alone, so pools give the same results one after the other and side by side.
"""

from __future__ import annotations

import dataclasses
import enum
import random
import shlex
from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

from chancel.errors import LocalProtocolError
from chancel.sim.models import LinkModel
from chancel.sim.parish_plan import MAX_FLOCK, Hall, Plan, Resident

MAX_POOL: Final = 32
"""Cathedrals of one federation, as many as a remembrance has room for."""

MIXED: Final = "mixed"
MIX: Final = MappingProxyType(
    {
        "public": 5,
        "full-cone": 15,
        "restricted": 15,
        "port-restricted": 40,
        "symmetric": 10,
        "carrier-grade": 10,
        "carrier-symmetric": 5,
    }
)
"""Of a hundred devices so many at each place: an assumption about people at home and under way."""

LATENCY_S: Final = (0.005, 0.06)
"""Between a machine and the middle of the network; each has its own, with a tenth of jitter."""


class Talk(enum.StrEnum):
    """Who of a flock has a tunnel with whom."""

    PAIRS = "pairs"
    STAR = "star"
    MESH = "mesh"


class Crypto(enum.StrEnum):
    """What keys and signatures are made with."""

    FAST = "fast"
    REAL = "real"


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkScenario:
    """Equal scenarios give equal runs. Raises ``LocalProtocolError`` for what can't be.

    ``flock`` devices are in each flock, but for the last. ``churn_s`` is the mean time between two
    changes of one device (0: none). Of ``deaths`` of a cathedral, ``splits`` of each pool in two
    halves and ``rolls`` of all secrets there are so many in each pool; with ``rolls`` all secrets
    are served by the cathedrals. ``flash``: all devices start within a second.
    """

    seed: int = 1
    hours: float = 1.0
    devices: int = 100
    cathedrals: int = 3
    pools: int = 1
    flock: int = 50
    talk: Talk = Talk.PAIRS
    place: str = MIXED
    loss: float = 0.0
    churn_s: float = 0.0
    deaths: int = 0
    splits: int = 0
    rolls: int = 0
    flash: bool = False
    crypto: Crypto = Crypto.FAST

    def __post_init__(self) -> None:
        if not 2 <= self.flock <= MAX_FLOCK:
            raise LocalProtocolError(f"a flock has 2 to {MAX_FLOCK} devices, not {self.flock}")
        if not 1 <= self.pools <= self.cathedrals:
            raise LocalProtocolError("each pool has at least one cathedral: make it fewer pools")
        if self.cathedrals > MAX_POOL * self.pools:
            raise LocalProtocolError(
                f"{self.cathedrals} cathedrals in {self.pools} pools: one has {MAX_POOL} at most,"
                " make it more pools"
            )
        if self.devices < 2 * self.pools:
            raise LocalProtocolError("each pool has at least two devices: make it fewer pools")

    def plan(self, pool: int) -> Plan:
        """Who is in one pool."""
        rng = self.rng(pool, "plan")
        share = len(range(pool, self.cathedrals, self.pools))
        halls = tuple(Hall(f"cathedral {n + 1}", self._link(rng, loss=False)) for n in range(share))
        residents: list[Resident] = []
        for flock, size in enumerate(self._flocks(pool)):
            residents += (
                self._resident(rng, len(residents) + n, flock, n + 1, share) for n in range(size)
            )
        flocks = [each.flock for each in residents]
        tunnels = tuple(pair for flock in sorted(set(flocks)) for pair in self._talk(flocks, flock))
        seed = rng.getrandbits(48)
        return Plan(seed, halls, tuple(residents), tunnels, ambry=self.rolls > 0)

    def rng(self, pool: int, purpose: str) -> random.Random:
        """Chance for one purpose in one pool."""
        return random.Random(f"{purpose} {self.seed} {pool}")  # noqa: S311 - repeatable on purpose

    def command(self) -> str:
        """The command line that repeats it."""
        words = ["chancel", "sim", "network"]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            name = f"--{field.name.removesuffix('_s')}"
            words += [name] if value is True else [name, f"{value}"]
        return shlex.join(words)

    def _flocks(self, pool: int) -> Iterator[int]:
        """The sizes of a pool's flocks."""
        left = len(range(pool, self.devices, self.pools))
        while left > 0:
            size = min(self.flock, left)
            # Nobody is left alone: the last two flocks share.
            if left - size == 1:
                size -= 1
            yield size
            left -= size

    def _resident(
        self, rng: random.Random, index: int, flock: int, number: int, halls: int
    ) -> Resident:
        place = self.place
        if place == MIXED:
            (place,) = rng.choices(tuple(MIX), tuple(MIX.values()))
        home = rng.randrange(halls)
        return Resident(
            f"device {index + 1}", flock, number, place, (home,), self._link(rng), on=False
        )

    def _link(self, rng: random.Random, *, loss: bool = True) -> LinkModel:
        latency_s = rng.uniform(*LATENCY_S)
        return LinkModel(latency_s, latency_s / 10, self.loss if loss else 0.0)

    def _talk(self, flocks: list[int], flock: int) -> Iterator[tuple[int, int]]:
        members = [index for index, each in enumerate(flocks) if each == flock]
        match self.talk:
            case Talk.PAIRS:
                # One of an odd number has two tunnels.
                yield from zip(members[::2], members[1::2], strict=False)
                if len(members) % 2:
                    yield members[-2], members[-1]
            case Talk.STAR:
                yield from ((members[0], other) for other in members[1:])
            case Talk.MESH:
                yield from (
                    (one, other) for at, one in enumerate(members) for other in members[at + 1 :]
                )
