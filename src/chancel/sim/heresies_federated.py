"""Heresies against other cathedrals, which share the sync secret with the heretic."""

from __future__ import annotations

from typing import Final

from chancel.sim.heretic import Heresy, Heretic, Passed
from chancel.wire.cathedral import CATHEDRAL, FEDERATION, NAT
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.peer_info import PeerInfoBody
from chancel.wire.types import Address

EACH_TICK: Final = 8
MAX_SEEN: Final = 4096


class Once:
    """Tells what was seen before: two heretics would else give each other the same without end."""

    def __init__(self) -> None:
        self._seen: dict[bytes, None] = {}

    def is_new(self, datagram: bytes) -> bool:
        """Whether this is the first time, of the last some thousand."""
        if datagram in self._seen:
            return False
        if len(self._seen) >= MAX_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[datagram] = None
        return True


class LiesOfPlaces(Heresy):
    """Tells other cathedrals where ends are, be they here, at third ones or nowhere."""

    def acts(self, heretic: Heretic) -> None:
        rng = heretic.rng
        for end in heretic.known()[:EACH_TICK]:
            for name in (end.id, TunnelId(rng.getrandbits(16))):
                place = Address(f"198.51.100.{rng.randrange(1, 255)}", rng.randrange(1, 1 << 16))
                body = PeerInfoBody(name, rng.choice((place, None)), rng.random() < 0.7)
                heretic.tell_others(body, end)


class RepeatsClients(Heresy):
    """Says to others what it heard, be it old or new, as its clients would say it themselves: so
    that they seem to be where it is; and as what was passed on."""

    def __init__(self) -> None:
        self._once = Once()

    def acts(self, heretic: Heretic) -> None:
        heard = list(heretic.heard)
        chosen = heard[-EACH_TICK:] + heretic.rng.sample(heard, min(EACH_TICK, len(heard)))
        for each in chosen:
            heretic.emit_federated(each)

    def hears(self, heretic: Heretic, datagram: bytes, source: Address) -> bool:
        """At once, to be ahead of whoever else has the same to say."""
        del source
        known = datagram[:8] in (CATHEDRAL.magic, NAT.magic, FEDERATION.magic)
        if known and self._once.is_new(datagram):
            heretic.emit_federated(datagram)
        return True


class Floods(Heresy):
    """Sends others garbage of every kind, as fast as it is let."""

    def acts(self, heretic: Heretic) -> None:
        rng = heretic.rng
        for number in range(100):
            magic = (CATHEDRAL.magic, NAT.magic, FEDERATION.magic, b"SACRAMNT", b"")[number % 5]
            heretic.emit_federated(magic + rng.randbytes(rng.randrange(50, 1400)))


class Misplaces(Heresy):
    """Sends what it carries to another cathedral, and under another name."""

    def __init__(self) -> None:
        self._once = Once()

    def passes(self, heretic: Heretic, passed: Passed) -> tuple[Passed, ...]:
        wrong = passed.relayed and heretic.others and self._once.is_new(passed.datagram)
        if not wrong:
            return (passed,)
        elsewhere = passed._replace(address=heretic.rng.choice(heretic.others))
        other = passed._replace(identity=CathedralId(passed.identity ^ 1))
        return elsewhere, other, passed
