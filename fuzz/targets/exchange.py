"""A peer that knows the secret and lies can't make the exchange raise, spin, swell or reuse a key.

Protocol sections 6 and 7. What is said may be authentic and still false, late, mixed up, repeated
or reflected, and clocks may jump. Each answer stays small, and no traffic key is installed twice.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from chancel.crypto.kdf import Purpose, base_key
from chancel.errors import RemoteProtocolError
from chancel.protocol.events import MAX_EVENTS
from chancel.protocol.exchange import Exchange
from chancel.protocol.messages import EraseKeys, InstallReceiveKey, InstallSendKey, ReceiveReport
from chancel.protocol.offers import open_exchange_offer_untrusted, seal_exchange_offer
from chancel.sim.suite import FastSuite
from chancel.vault.secret import Secret
from chancel.wire.offer import (
    FRAGMENT_BYTES,
    OFFER_BYTES,
    RANDOM_BYTES,
    ExchangeBody,
    OfferData,
    OfferState,
)
from chancel.wire.types import NO_FLOCKS, Address, InstanceId, Salt, Spi
from fuzz.script import Script

_SECRET = bytes(range(32))
_WALL = 1_760_000_000.0
_SOURCES = (Address("192.0.2.1", 1), Address("192.0.2.1", 0), Address("2001:db8::1", 65535))
_MOST_OFFERS = 24
"""At once: our key and an answer, each of four fragments, for what is due and for what came."""
_MOST_WAKES = 8
_IDS = (1, 2, (1 << 64) - 1)
MOST_BYTES = 512


class Peer:
    """The liar: makes offers of what it likes, and reads ours."""

    def __init__(self, suite: FastSuite) -> None:
        self._suite = suite
        self._base = base_key(suite, Purpose.PEER_OFFER, _SECRET, NO_FLOCKS)
        self.spis = [Spi(1), Spi(0xFFFF_FFFF)]
        """Those of the other end as well, as it shows them."""
        self.heard = [b"SACRAMNT".ljust(OFFER_BYTES, b"\0")]

    def hear(self, datagram: bytes) -> None:
        """Take an offer of the other end."""
        assert len(datagram) == OFFER_BYTES
        body = open_exchange_offer_untrusted(self._suite, self._base, datagram).body
        assert body.spi != 0
        if body.spi not in self.spis:
            self.spis.append(body.spi)
        self.heard.append(datagram)

    def offer(self, script: Script, wall: float) -> bytes:
        """An authentic offer; a whole key or ciphertext takes four that fit each other."""
        body = ExchangeBody(
            id=InstanceId(script.pick(_IDS)),
            spi=script.pick(self.spis),
            salt=Salt(script.take(1) * 4),
            state=script.pick((OfferState.PK, OfferState.CT)),
            fragment=script.number() % 4,
            ecdh=script.take(1) * 32,
            kem=script.take(1) * FRAGMENT_BYTES,
        )
        header = script.pick(self.spis)
        at = int(wall) + script.pick((0, 0, 0, 1, -1, 9, -9, 11, -11, -int(wall), 1 << 63))
        random_ = script.take(1) * RANDOM_BYTES
        data = OfferData(at, body)
        return seal_exchange_offer(self._suite, self._base, NO_FLOCKS, header, data, random_)


class _Run:
    """One exchange and what it has done so far."""

    def __init__(self, suite: FastSuite, *, peer_configured: bool) -> None:
        self.now = 100.0
        self.skew = 0.0
        self.peer = Peer(suite)
        self.keys: set[tuple[type, bytes]] = set()
        self.exchange = Exchange(
            suite,
            lambda: Secret(_SECRET),
            self.now,
            self.wall,
            peer_configured=peer_configured,
        )

    @property
    def wall(self) -> float:
        return _WALL + self.now + self.skew

    def step(self, script: Script) -> None:
        """One thing that can happen."""
        exchange, peer = self.exchange, self.peer
        match script.number() % 8:
            case 0 | 1:
                offer = peer.offer(script, self.wall)
                exchange.receive(offer, script.pick(_SOURCES), self.now, self.wall)
            case 2:
                offer = script.pick(peer.heard)
                exchange.receive(offer, script.pick(_SOURCES), self.now, self.wall)
            case 3:
                damaged = bytearray(script.pick(peer.heard))
                damaged[script.number(2) % len(damaged)] ^= script.number() or 1
                del damaged[OFFER_BYTES - script.number() % 4 :]
                exchange.receive(damaged, script.pick(_SOURCES), self.now, self.wall)
            case 4:
                self.now += script.number(2) / script.pick((1, 16, 256))
            case 5:
                self.skew += (script.number(2) - 0x8000) / script.pick((1, 16, 256))
            case 6:
                alive = script.pick((None, self.now, self.now - 100, self.now + 100))
                packets = script.pick((0, 1, 1 << 40))
                spi = script.pick((0, *peer.spis))
                exchange.report(ReceiveReport(spi, packets, self.now, alive), self.now)
            case _:
                exchange.path_known(script.flag(), self.now)

    def settle(self) -> None:
        """Wake it until it has nothing to do now, and take what it gives."""
        self.take()
        for _ in range(_MOST_WAKES):
            due = self.exchange.wake_at()
            if due is None or due > self.now:
                return
            self.exchange.wake(self.now, self.wall)
            self.take()
        raise AssertionError(f"{self.exchange} never rests")

    def take(self) -> None:
        """Offers, commands, events: few, well formed, and no key a second time."""
        offers = self.exchange.datagrams()
        assert len(offers) <= _MOST_OFFERS
        for offer in offers:
            with contextlib.suppress(RemoteProtocolError):
                self.peer.hear(offer)
        for command in self.exchange.commands():
            if isinstance(command, EraseKeys):
                continue
            key = (type(command), bytes(command.key))
            assert isinstance(command, InstallSendKey | InstallReceiveKey)
            assert command.spi != 0
            assert key not in self.keys
            self.keys.add(key)
        events = 0
        while self.exchange.next_event() is not None:
            events += 1
        assert events <= MAX_EVENTS
        assert repr(self.exchange)
        self.exchange.peer_seen()


def check(data: bytes) -> None:
    script = Script(data)
    run = _Run(FastSuite(random.Random(1)), peer_configured=script.flag())
    run.settle()
    while script.more():
        run.step(script)
        run.settle()


def _fragments(state: int, spi: int, *, header: int = 0) -> bytes:
    """The steps that give a whole key (``state`` 0) or ciphertext (1)."""
    return b"".join(
        bytes((0, 0, spi, 7, state, fragment, 5, 6, header, 0, 8, 0)) for fragment in range(4)
    )


def seeds() -> Iterator[bytes]:
    yield b"\1" + _fragments(0, 0) + _fragments(1, 2)
    yield b"\1" + _fragments(0, 0) + bytes((6, 1, 2, 1)) + _fragments(0, 1) + _fragments(1, 3)
    yield b"\0" + _fragments(0, 0) + bytes((4, 1, 0, 0)) * 12 + bytes((5, 0xFF, 0xFF, 0))
    yield b"\1" + bytes((2, 1, 0)) * 6 + bytes((3, 1, 0, 100, 1, 0, 0))
    yield b"\1" + bytes((4, 0, 1, 0)) * 80
