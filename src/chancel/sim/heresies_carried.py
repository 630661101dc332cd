"""Heresies about what clients send each other, which a cathedral carries and can't read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final

from chancel.sim.heretic import Heresy, Heretic, Passed
from chancel.sim.models import corrupt
from chancel.wire.offer import MAGIC
from chancel.wire.types import Address

REPLAYED_EACH_TICK: Final = 12


def is_offer(passed: Passed) -> bool:
    """Whether it belongs to an exchange of keys."""
    return passed.datagram[:8] == MAGIC


class Drops(Heresy):
    """Loses a share of it: of everything, of what goes to one end, of offers or of traffic."""

    def __init__(
        self,
        share: float = 1.0,
        *,
        one_way: bool = False,
        offers: bool = True,
        traffic: bool = True,
    ) -> None:
        self._share = share
        self._one_way = one_way
        self._offers = offers
        self._traffic = traffic

    def passes(self, heretic: Heretic, passed: Passed) -> Iterable[Passed]:
        concerned = self._offers if is_offer(passed) else self._traffic
        if self._one_way:
            concerned = concerned and passed.identity % 2 == 0
        if passed.relayed and concerned and heretic.rng.random() < self._share:
            return ()
        return (passed,)


class Deaf(Heresy):
    """Hears only a share of what comes."""

    def __init__(self, share: float = 1.0) -> None:
        self._share = share

    def hears(self, heretic: Heretic, datagram: bytes, source: Address) -> bool:
        del datagram, source
        return heretic.rng.random() >= self._share


class Delays(Heresy):
    """Carries it late, and so in another order. Some is not held back."""

    def __init__(self, least_s: float, most_s: float, share: float = 0.8) -> None:
        self._between = least_s, most_s
        self._share = share

    def passes(self, heretic: Heretic, passed: Passed) -> Iterable[Passed]:
        if passed.relayed and heretic.rng.random() < self._share:
            passed = passed._replace(delay_s=heretic.rng.uniform(*self._between))
        return (passed,)


class Repeats(Heresy):
    """Carries everything several times, now and later."""

    def passes(self, heretic: Heretic, passed: Passed) -> Iterable[Passed]:
        if not passed.relayed:
            return (passed,)
        later = [heretic.rng.choice((0.0, 0.1, 2.0, 9.0)) for _ in range(heretic.rng.randrange(5))]
        return (passed, *[passed._replace(delay_s=delay_s) for delay_s in later])


class Replays(Heresy):
    """Says again, to its receiver or to anybody, what it carried at any time before."""

    def __init__(self, *, offers_alone: bool = False, elsewhere: bool = False) -> None:
        self._offers_alone = offers_alone
        self._elsewhere = elsewhere

    def acts(self, heretic: Heretic) -> None:
        known = [each for each in heretic.records if is_offer(each) or not self._offers_alone]
        for each in heretic.rng.choices(known, k=REPLAYED_EACH_TICK) if known else ():
            for end in heretic.ends() if self._elsewhere else ():
                client = heretic.client(end)
                heretic.emit(Passed(each.datagram, client.address, client.flocks, client.identity))
            heretic.emit(each)


class Reflects(Heresy):
    """Sends everybody's packets to everybody here, so to their sender, too."""

    def passes(self, heretic: Heretic, passed: Passed) -> Iterable[Passed]:
        out = [passed]
        if passed.relayed:
            for client in map(heretic.client, heretic.ends()):
                if client.address != passed.address:
                    datagram = passed.datagram
                    out.append(Passed(datagram, client.address, client.flocks, client.identity))
        return out


class Flips(Heresy):
    """Changes a bit here and there, be the good packet carried as well or not."""

    def __init__(self, share: float = 0.5) -> None:
        self._share = share

    def passes(self, heretic: Heretic, passed: Passed) -> Iterable[Passed]:
        if not passed.relayed or heretic.rng.random() >= self._share:
            return (passed,)
        bad = passed._replace(datagram=corrupt(passed.datagram, heretic.rng))
        return (bad, passed) if heretic.rng.random() < 0.5 else (bad,)


class Splices(Heresy):
    """Joins the head of one packet to the tail of another."""

    def passes(self, heretic: Heretic, passed: Passed) -> Iterable[Passed]:
        if not passed.relayed or not heretic.records:
            return (passed,)
        other = heretic.rng.choice(heretic.records).datagram
        at = heretic.rng.randrange(len(passed.datagram))
        return (passed._replace(datagram=passed.datagram[:at] + other[at:]), passed)


@dataclasses.dataclass
class Cuts(Heresy):
    """Ends each exchange of keys after so many of its datagrams, then lets the next one begin."""

    after: int
    _count: int = 0

    def passes(self, heretic: Heretic, passed: Passed) -> Iterable[Passed]:
        del heretic
        if not is_offer(passed):
            return (passed,)
        self._count = (self._count + 1) % 64
        return (passed,) if self._count <= self.after else ()
