"""A cathedral that lies can't make its client raise, spin, swell, go back, or ask too often.

Cathedral sections 2, 6 and 8.5. What is said may be authentic and still false, late, repeated or
from elsewhere; names may resolve to anything and clocks may jump.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from chancel.crypto.kdf_ambry import Wrapping, derived_kek
from chancel.crypto.kdf_cathedral import client_offer_base
from chancel.protocol.cathedral_offers import seal_answer
from chancel.protocol.events import MAX_EVENTS
from chancel.protocol.registration import Registration
from chancel.protocol.registration_pace import OUT_OF_TURN_S
from chancel.protocol.registration_types import AdoptSecret, CathedralChosen, Registrant
from chancel.sim.suite import FastSuite
from chancel.vault.secret import Secret
from chancel.wire.ambry import Header, expiry
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral import CATHEDRAL, Answer
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.info import AnswerBody
from chancel.wire.liturgy import LiturgyBody
from chancel.wire.offer import OFFER_BYTES
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, FlockId, Flocks, InstanceId, Spi
from fuzz.script import Script

MOST_BYTES = 512

_SECRET = bytes(range(32))
_KEK = bytes(32)
_COSK = bytes(64)
_FLOCKS = Flocks(FlockId(0xCAFE01), FlockId(0xCAFE01))
_TUNNEL = TunnelId(0xCAFE)
_WALL = 1_760_000_000.0
_PLACES = tuple(Address(f"192.0.2.{number}", 4500) for number in range(1, 6))
_ODD = (Address("224.0.0.1", 1), Address("255.255.255.255", 65535))
_MOST_OFFERS = 5
"""In 10 s to one address: those in their turn, and one out of it."""
_MOST_WAKES = 8


class _Run:
    """One registration and what it has done so far."""

    def __init__(self, script: Script) -> None:
        self.now = 100.0
        self.skew = 0.0
        self.suite = FastSuite(random.Random(1))
        self.base = client_offer_base(self.suite, _SECRET, _FLOCKS.own)
        self.heard: list[bytes] = [CATHEDRAL.magic.ljust(OFFER_BYTES, b"\0")]
        self.asked: dict[Address, list[float]] = {}
        self.handed_out: int | None = None
        self.replaced: set[int] = set()
        client = Registrant(
            *(CathedralId(7), _FLOCKS, _TUNNEL),
            *(lambda: Secret(_SECRET), lambda: Secret(_COSK), lambda: Secret(_KEK)),
            remember=script.flag(),
        )
        names = [script.pick(_PLACES) for _ in range(script.number() % 3)]
        self.registration = Registration(
            *(self.suite, client, names, self.now, self.wall), instance=InstanceId(1)
        )

    @property
    def wall(self) -> float:
        return _WALL + self.now + self.skew

    def step(self, script: Script) -> None:
        """One thing that can happen."""
        registration, now = self.registration, self.now
        match script.number() % 10:
            case 0 | 1 | 2:
                self.say(script)
            case 3:
                damaged = bytearray(script.pick(self.heard))
                damaged[script.number(2) % len(damaged)] ^= script.number()
                del damaged[OFFER_BYTES - script.number() % 4 :]
                registration.receive(damaged, self.source(script), now, self.wall)
            case 4:
                self.now += script.number(2) / script.pick((1, 16, 256))
            case 5:
                self.skew += (script.number(2) - 0x8000) / script.pick((1, 16, 256))
            case 6:
                active, pending = (Spi(script.number()) or None for _ in range(2))
                registration.report_keys(active, pending, now)
            case 7:
                registration.resolved([script.pick(_PLACES)] * (script.number() % 3), now)
            case 8:
                self.answer_command(script)
            case _:
                registration.network_changed(now)
                registration.renew_instance(InstanceId(script.number()), now)

    def source(self, script: Script) -> Address:
        return script.pick((self.registration.cathedral or _PLACES[0], *_PLACES))

    def say(self, script: Script) -> None:
        """Something authentic."""
        at = int(self.wall) + script.pick((0, 0, 0, 1, -1, 10, -10, 11, -11, -int(self.wall)))
        identity = CathedralId(script.pick((7, 7, 7, 8)))
        said = seal_answer(self.suite, self.base, identity, max(at, 0), self.body(script))
        self.heard.append(said)
        self.registration.receive(said, self.source(script), self.now, self.wall)

    def body(self, script: Script) -> Answer:
        places = (*_PLACES, *_ODD)
        match script.number() % 5:
            case 0:
                return AnswerBody(script.pick((None, *_PLACES)), script.take(1) * 6)
            case 1 | 2:
                header = Header(
                    expiry(self.wall, script.pick((30, 0))) & 0xFFFF,
                    script.number() % 6,
                    bytes(64),
                )
                kek = derived_kek(self.suite, script.pick((_KEK, _SECRET)), _FLOCKS)
                wrapped = Wrapping(self.suite, header, _FLOCKS).wrap(kek, _TUNNEL, _SECRET)
                return AmbryBody(script.pick((_TUNNEL, TunnelId(1))), header, wrapped)
            case 3:
                count = script.number() % 33
                return RemembranceBody(tuple(script.pick(places) for _ in range(count)))
            case _:
                return LiturgyBody(script.number(), script.number(2))

    def answer_command(self, script: Script) -> None:
        if self.handed_out is None:
            return
        generation, self.handed_out = self.handed_out, None
        if script.flag():
            if before := self.registration.generation:
                self.replaced.add(before)
            self.registration.adopted(generation, self.now)
            assert self.registration.generation == generation
        else:
            self.registration.not_adopted("a full disk", self.now)

    def settle(self) -> None:
        """Wake it until it has nothing to do now, and take what it gives."""
        self.take()
        for _ in range(_MOST_WAKES):
            due = self.registration.wake_at()
            if due is None or due > self.now:
                return
            self.registration.wake(self.now, self.wall)
            self.take()
        raise AssertionError(f"{self.registration} never rests")

    def take(self) -> None:
        """Commands, offers, events: few, and within their limits."""
        for command in self.registration.commands():
            if isinstance(command, AdoptSecret):
                assert self.handed_out is None
                assert command.generation not in self.replaced
                self.handed_out = command.generation
            if isinstance(command, CathedralChosen):
                assert command.address in _PLACES
        for offer, to in self.registration.datagrams():
            assert len(offer) == OFFER_BYTES
            lately = [at for at in self.asked.get(to, ()) if at > self.now - OUT_OF_TURN_S]
            self.asked[to] = [*lately, self.now]
            assert len(lately) < _MOST_OFFERS
        events = 0
        while self.registration.next_event() is not None:
            events += 1
        assert events <= MAX_EVENTS
        assert repr(self.registration)


def check(data: bytes) -> None:
    script = Script(data)
    run = _Run(script)
    run.settle()
    while script.more():
        run.step(script)
        run.settle()


def _ambry(generation: int) -> bytes:
    """The steps that give one, and say that it is kept."""
    return bytes((0, 0, 0, 1, 0, generation, 0, 0, 0)) + bytes((8, 1))


def seeds() -> Iterator[bytes]:
    for remembers in (0, 1):
        start = bytes((remembers, 2, 0, 1))
        yield start + _ambry(3) + _ambry(4) + _ambry(3)
        yield start + bytes((0, 0, 0, 3, 3, 0, 1, 5, 0)) + bytes((4, 0, 20, 0)) * 20
        yield start + bytes((0, 0, 0, 0, 2, 9, 0)) * 4 + bytes((4, 0, 5, 0)) * 12
        yield start + bytes((7, 2, 1, 4, 0, 1, 0)) * 10
        yield start + (bytes((9, 1)) + bytes((4, 2, 0xB3, 2))) * 10
    yield bytes((1, 0)) + bytes((7, 3, 1)) + bytes((6, 1, 2, 9, 4, 4, 0, 1, 1)) * 10
