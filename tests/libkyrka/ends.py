"""Two contexts, the network between them, and a clock that stands still until it is set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from chancel.crypto import kdf
from chancel.crypto.kdf import Purpose
from chancel.crypto.system import SystemSuite
from chancel.protocol.offers import seal_exchange_offer
from chancel.wire.offer import ExchangeBody, OfferData, OfferState
from chancel.wire.types import NO_FLOCKS, InstanceId, Salt, Spi
from libkyrka.context import KYRKA, make_context
from libkyrka.surroundings import Surroundings

SECRET = bytes(range(32))
SUITE = SystemSuite()
START = 1000.25
WALL = 1_760_000_000.0

NO_KEYS = (3, {"reason": "no keys"})
RESYNC = (3, {"reason": "re-sync"})
CLEARED = (3, {"reason": "key offer cleared"})
ERASED = (2, {"reason": "keys erased"})

Told = tuple[int | None, dict[str, Any]]


def logged(text: str) -> Told:
    """The event of a log message."""
    return None, {"logmsg": text}


def keys(tx: int, rx: int) -> Told:
    """The event of an installed key."""
    return 1, {"tx": tx, "rx": rx}


class DrawingSuite(SystemSuite):
    """Draws one value for each size, as the reference did."""

    def __init__(self, **drawn: bytes) -> None:
        super().__init__()
        self._drawn = {len(value): value for value in drawn.values()}

    def random(self, size: int) -> bytes:
        return self._drawn.get(size) or super().random(size)


class Clock:
    """Monotonic seconds, and a wall clock that goes with them, and can be set."""

    def __init__(self, wall: float = WALL + START) -> None:
        self.now = START
        self.set_wall(wall)

    def set_wall(self, wall: float) -> None:
        self._offset = wall - self.now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self._offset + self.now


class Sent(NamedTuple):
    """What the purgatory callback was handed."""

    at: float
    data: bytes
    number: int


class End:
    """A context with a secret whose callbacks take notes."""

    def __init__(self, clock: Clock, *, shroud: bool = False, secret: bytes = SECRET) -> None:
        self.clock = clock
        self.context = make_context(Surroundings(SUITE, clock.monotonic, clock.wall))
        self.sent: list[Sent] = []
        self.heard: list[tuple[bytes, int]] = []
        self.events: list[tuple[float, Told]] = []
        self.context.secret_load(secret)
        if shroud:
            self.context.shroud_enable()
        self.context.purgatory_callback(self._purgatory, "purgatory")
        self.context.heaven_callback(self._heaven, "heaven")
        self.context.event_callback(self._event, "event")

    def _purgatory(self, context: KYRKA, data: bytes, number: int, udata: Any) -> None:
        assert (context, udata) == (self.context, "purgatory")
        self.sent.append(Sent(self.clock.now, data, number))

    def _heaven(self, context: KYRKA, data: bytes, number: int, udata: Any) -> None:
        assert (context, udata) == (self.context, "heaven")
        self.heard.append((data, number))

    def _event(self, context: KYRKA, event: int | None, info: dict[str, Any], udata: Any) -> None:
        assert (context, udata) == (self.context, "event")
        self.events.append((self.clock.now - START, (event, info)))

    @property
    def spis(self) -> tuple[int, int]:
        """The SPIs that the last event about keys named: tx, rx."""
        info = [info for _, (event, info) in self.events if event == 1][-1]
        return info["tx"], info["rx"]

    @property
    def installed(self) -> tuple[int, int]:
        """The SPIs of the keys that are there: tx, rx."""
        return self.context._keys.spis

    def told(self) -> list[Told]:
        """Drain the events, without their times."""
        events, self.events = self.events, []
        return [told for _, told in events]

    def drain(self) -> list[bytes]:
        """Drain what was sent."""
        sent, self.sent = self.sent, []
        return [each.data for each in sent]

    def take(self, datagrams: list[bytes]) -> None:
        """Receive."""
        for datagram in datagrams:
            assert self.context.purgatory_input(datagram) is True


class Ends:
    """Left and right. ``lose`` says which datagrams of which end never arrive."""

    def __init__(self, *, shroud: bool = False) -> None:
        self.clock = Clock()
        self.left = End(self.clock, shroud=shroud)
        self.right = End(self.clock, shroud=shroud)
        self.lose: Callable[[End, bytes], bool] = lambda sender, datagram: False

    @property
    def both(self) -> tuple[End, End]:
        return self.left, self.right

    def manage(self) -> list[int]:
        """One call of ``key_manage`` on each; how many packets each has sent since the last."""
        for end in self.both:
            assert end.context.key_manage() is True
        return [len(end.sent) for end in self.both]

    def carry(self) -> None:
        """Deliver what was sent."""
        for sender, receiver in ((self.left, self.right), (self.right, self.left)):
            receiver.take([each for each in sender.drain() if not self.lose(sender, each)])

    def turn(self) -> list[int]:
        """A second at one call each; how many packets each sent in it."""
        counts = self.manage()
        self.carry()
        self.clock.now += 1
        return counts

    def talk(self) -> None:
        """One packet in each direction."""
        for end in self.both:
            end.context.heaven_input(b"ping")
        self.carry()

    def up(self) -> Ends:
        """Bring the tunnel up, and let the exchange end; nothing is noted of that."""
        for _ in range(3):
            self.turn()
        self.talk()
        self.turn()
        for end in self.both:
            assert end.told()[-1] == CLEARED
            end.heard.clear()
        return self


def offer(
    clock: Clock, state: int, spi: int, *, fragment: int = 0, id_: int = 7, skew_s: int = 0
) -> bytes:
    """An authentic offer that nobody in his right mind sends."""
    base = kdf.base_key(SUITE, Purpose.PEER_OFFER, SECRET, NO_FLOCKS)
    kind = cast(OfferState, state)
    ids = InstanceId(id_), Spi(spi), Salt(bytes(4))
    body = ExchangeBody(*ids, kind, fragment, bytes(32), bytes(392))
    data = OfferData(int(clock.wall()) + skew_s, body)
    return seal_exchange_offer(SUITE, base, NO_FLOCKS, Spi(1), data, bytes(16))
