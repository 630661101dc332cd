"""A pilgrim that lies can't make a shrine raise, speak, swell, or take a key a second time.

Protocol section 12.4: announcements are authentic, and may be false, late, repeated or damaged.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from chancel.crypto.kdf import Purpose, base_key
from chancel.protocol.events import MAX_EVENTS
from chancel.protocol.key_offers import KeyOffer, seal_key_offer
from chancel.protocol.messages import InstallReceiveKey, ReceiveReport
from chancel.protocol.shrine import Shrine
from chancel.sim.suite import FastSuite
from chancel.vault.secret import Secret
from chancel.wire.offer import OFFER_BYTES, KeyBody
from chancel.wire.types import NO_FLOCKS, Address, InstanceId, Salt, SessionKey, Spi
from fuzz.script import Script

_SECRET = bytes(range(32))
_WALL = 1_760_000_000.0
_SOURCES = (Address("192.0.2.1", 1), Address("192.0.2.1", 0), Address("2001:db8::1", 65535))
_TIMES = (0, 0, 0, 1, -1, 3599, -3599, 3601, -3601, -int(_WALL), 1 << 62)
MOST_BYTES = 512


def check(data: bytes) -> None:
    script = Script(data)
    suite = FastSuite(random.Random(1))
    base = base_key(suite, Purpose.PEER_OFFER, _SECRET, NO_FLOCKS)
    now = 100.0
    shrine = Shrine(suite, lambda: Secret(_SECRET), now)
    sent = [b"SACRAMNT".ljust(OFFER_BYTES, b"\0")]
    installed: set[int] = set()
    while script.more():
        wall = _WALL + now
        match script.number() % 5:
            case 0 | 1:
                key = SessionKey(script.take(1) * 32)
                body = KeyBody(InstanceId(script.number()), Salt(script.take(1) * 4), key)
                offer = KeyOffer(int(wall) + script.pick(_TIMES), Spi(script.number() % 6), body)
                sent.append(seal_key_offer(suite, base, offer))
                shrine.receive(sent[-1], script.pick(_SOURCES), now, wall)
            case 2:
                shrine.receive(script.pick(sent), script.pick(_SOURCES), now, wall)
            case 3:
                damaged = bytearray(script.pick(sent))
                damaged[script.number(2) % len(damaged)] ^= script.number() or 1
                del damaged[OFFER_BYTES - script.number() % 4 :]
                shrine.receive(damaged, script.pick(_SOURCES), now, wall)
            case _:
                now += script.number(2) / script.pick((1, 16, 256))
                shrine.report(ReceiveReport(script.number(), script.number(), now, now), now)
        for command in shrine.commands():
            assert isinstance(command, InstallReceiveKey)
            assert command.spi != 0
            assert command.spi not in installed
            installed.add(command.spi)
        events = 0
        while shrine.next_event() is not None:
            events += 1
        assert events <= MAX_EVENTS
        assert shrine.datagrams() == []
        assert shrine.wake_at() is None
        shrine.peer_seen()


def seeds() -> Iterator[bytes]:
    for spi in range(3):
        yield bytes((0, 9, 1, 2, 0, spi, 0)) + bytes((2, 1, 1)) * 3
    yield bytes((0, 9, 1, 2, 5, 1, 0)) + bytes((4, 2, 0, 0, 1, 1)) + bytes((0, 8, 1, 2, 0, 2, 0))
    yield bytes((0, 9, 1, 2, 0, 1, 0)) + bytes((3, 1, 0, 100, 1, 0, 0))
