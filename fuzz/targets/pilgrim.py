"""A one-way sender announces keys at its own pace, whatever comes and whatever clocks do.

Protocol section 12.4. No key is installed twice, no announcement says anything but the newest key,
and at most one leaves at a time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from chancel.crypto.kdf import Purpose, base_key
from chancel.protocol.key_offers import open_key_offer_untrusted
from chancel.protocol.messages import InstallSendKey
from chancel.protocol.pilgrim import Pilgrim
from chancel.sim.suite import FastSuite
from chancel.vault.secret import Secret
from chancel.wire.types import NO_FLOCKS, Address
from fuzz.script import Script

_SECRET = bytes(range(32))
_WALL = 1_760_000_000.0
_STRANGER = Address("192.0.2.1", 1)
_MOST_WAKES = 8
MOST_BYTES = 512


def check(data: bytes) -> None:
    script = Script(data)
    suite = FastSuite(random.Random(1))
    base = base_key(suite, Purpose.PEER_OFFER, _SECRET, NO_FLOCKS)
    now, skew = 100.0, 0.0
    pilgrim = Pilgrim(suite, lambda: Secret(_SECRET), now, _WALL + now)
    installed: set[bytes] = set()
    announced: dict[int, bytes] = {}
    while script.more():
        match script.number() % 4:
            case 0:
                now += script.number(2) / script.pick((1, 16, 256))
            case 1:
                skew += (script.number(2) - 0x8000) / script.pick((1, 16, 256))
            case 2:
                pilgrim.receive(script.chunk(700), _STRANGER, now, _WALL + now + skew)
            case _:
                due = pilgrim.wake_at()
                now = now if due is None else max(now, due)
        for _ in range(_MOST_WAKES):
            pilgrim.wake(now, _WALL + now + skew)
            offers = pilgrim.datagrams()
            assert len(offers) <= 1
            for datagram in offers:
                offer = open_key_offer_untrusted(suite, base, datagram)
                key = bytes(offer.body.key)
                assert announced.setdefault(offer.spi, key) == key
            for command in pilgrim.commands():
                assert isinstance(command, InstallSendKey)
                assert announced[command.spi] == bytes(command.key)
                assert bytes(command.key) not in installed
                installed.add(bytes(command.key))
            while pilgrim.next_event() is not None:
                pass
            due = pilgrim.wake_at()
            if due is None or due > now:
                break
        else:
            raise AssertionError(f"{pilgrim} never rests")


def seeds() -> Iterator[bytes]:
    yield bytes((3,)) * 40
    yield bytes((0, 0x0E, 0x10, 0)) * 10 + bytes((1, 0xFF, 0xFF, 0, 3, 3))
    yield bytes((2, 0, 3, 1, 2, 3, 0, 0, 1, 0))
