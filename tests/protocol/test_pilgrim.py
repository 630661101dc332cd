"""A pilgrim alone: when it makes, announces and uses its keys."""

from __future__ import annotations

import pytest

from chancel.crypto.kdf import Purpose, base_key
from chancel.crypto.system import SystemSuite
from chancel.errors import VaultError
from chancel.protocol.behaviour import CHANCEL, REFERENCE, Behaviour
from chancel.protocol.events import ClockJumped, Event, SecretUnavailable, SendKeyInstalled
from chancel.protocol.key_offers import KeyOffer, open_key_offer_untrusted
from chancel.protocol.messages import Command, InstallSendKey, ReceiveReport
from chancel.protocol.pilgrim import Pilgrim
from chancel.protocol.states import State
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.types import NO_FLOCKS, Address

SECRET = bytes(range(32))
SUITE = SystemSuite()
BASE = base_key(SUITE, Purpose.PEER_OFFER, SECRET, NO_FLOCKS)
START = 50.0
WALL = 1_760_000_000.0


class Alone:
    """A pilgrim, a clock that jumps to the next thing to do, and what came of it."""

    def __init__(self, behaviour: Behaviour = CHANCEL) -> None:
        self.now = START
        self.offset = WALL - START
        self.readable = True
        self.offers: list[tuple[float, KeyOffer]] = []
        self.commands: list[tuple[float, Command]] = []
        self.events: list[Event] = []
        self.pilgrim = Pilgrim(SUITE, self.secret, START, WALL, behaviour=behaviour)

    def secret(self) -> Secret:
        if not self.readable:
            raise VaultError("it is gone")
        return Secret(SECRET)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.pilgrim.wake_at()) is not None and at <= end:
            self.now = max(self.now, at)
            self.pilgrim.wake(self.now, self.now + self.offset)
            for wire in self.pilgrim.datagrams():
                assert len(wire) == 623
                offer = open_key_offer_untrusted(SUITE, BASE, wire)
                assert offer.timestamp == int(self.now + self.offset)
                self.offers.append((self.now, offer))
            self.commands += [(self.now, command) for command in self.pilgrim.commands()]
            while (event := self.pilgrim.next_event()) is not None:
                self.events.append(event)
        self.now = end

    def keys(self) -> list[tuple[float, InstallSendKey]]:
        """When each key was taken into use."""
        return [(at, key) for at, key in self.commands if isinstance(key, InstallSendKey)]

    def times(self, key: InstallSendKey) -> list[float]:
        """When a key was announced, in seconds since the start."""
        return [at - START for at, offer in self.offers if offer.spi == key.spi]


def test_the_reference_s_rhythm() -> None:
    """Section 12.4: each 30 s, 115 times for each key, a new key each 3500 s, used at once."""
    alone = Alone(REFERENCE)
    alone.run(7100.0)
    (first_at, first), (second_at, second), (third_at, _) = alone.keys()
    assert [at - START for at in (first_at, second_at, third_at)] == [0.0, 3500.0, 7000.0]
    assert alone.times(first) == [30.0 * i for i in range(115)]
    assert alone.times(second) == [3500.0 + 30.0 * i for i in range(115)]


def test_a_new_key_is_announced_before_it_is_used() -> None:
    alone = Alone()
    alone.run(3600.0)
    (first_at, first), (second_at, second) = alone.keys()
    assert first_at == START
    assert alone.times(first)[:7] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 35.0]
    assert alone.times(first)[-1] <= 3420.0
    assert second_at - START == 3505.0
    assert alone.times(second)[:6] == [3500.0 + i for i in range(6)]


def test_what_is_announced_is_what_is_used() -> None:
    alone = Alone()
    alone.run(10.0)
    ((_, key),) = alone.keys()
    assert key.spi != 0
    bodies = {(offer.spi, offer.body.salt, offer.body.key) for _, offer in alone.offers}
    assert bodies == {(key.spi, key.salt, key.key)}
    assert alone.events == [SendKeyInstalled(key.spi)]


def test_every_announcement_has_a_seed_of_its_own_and_shows_no_flock() -> None:
    pilgrim = Alone().pilgrim
    heads = set()
    for second in range(5):
        pilgrim.wake(START + second, WALL + second)
        (wire,) = pilgrim.datagrams()
        heads.add(wire[8:24])
    assert len(heads) == 5


def test_it_says_whether_it_announces() -> None:
    alone = Alone()
    assert repr(alone.pilgrim) == "<Pilgrim without key idle>"
    states = []
    for seconds in (1.0, 3450.0):
        alone.run(seconds)
        states.append(alone.pilgrim.state)
    assert states == [State.OFFERED, State.IDLE]
    ((_, key),) = alone.keys()
    assert repr(alone.pilgrim) == f"<Pilgrim {key.spi:08x} idle>"


def test_an_unreadable_secret_is_told_once_and_tried_each_second() -> None:
    alone = Alone()
    alone.readable = False
    alone.run(10.5)
    assert alone.offers == []
    assert alone.pilgrim.drops == {Drop.NO_SECRET: 11}
    assert alone.events.count(SecretUnavailable("it is gone")) == 1
    alone.readable = True
    alone.run(1.0)
    assert len(alone.offers) == 1


def test_after_a_suspend_there_is_a_new_key() -> None:
    alone = Alone()
    alone.run(100.0)
    alone.offset += 4000.0
    alone.run(60.0)
    assert ClockJumped(4000.0) in alone.events
    (_, first), (_, second) = alone.keys()
    assert first.spi != second.spi


@pytest.mark.parametrize("back_s", [1.0, 5000.0])
def test_a_clock_set_back_changes_nothing(back_s: float) -> None:
    alone = Alone()
    alone.run(100.0)
    alone.offset -= back_s
    alone.run(200.0)
    assert len(alone.keys()) == 1


def test_nobody_is_listened_to() -> None:
    alone = Alone()
    pilgrim = alone.pilgrim
    pilgrim.receive(bytes(623), Address("192.0.2.1", 1), START, WALL)
    pilgrim.report(ReceiveReport(1, 1, 1.0, 1.0), START)
    pilgrim.path_known(True, START)
    assert pilgrim.drops == {Drop.OFFER_UNEXPECTED: 1}
    assert (pilgrim.peer_seen(), pilgrim.clock_skew_s, pilgrim.next_event()) == (None, None, None)
    assert (pilgrim.datagrams(), pilgrim.commands()) == ([], [])


def test_an_spi_is_neither_zero_nor_the_last_one() -> None:
    drawn: list[int] = []

    class Scripted(SystemSuite):
        """SPIs and, after each that is taken, a salt."""

        script = iter([0, 7, 1, 7, 0, 8, 1])

        def random(self, size: int) -> bytes:
            if size != 4:
                return super().random(size)
            drawn.append(next(self.script))
            return drawn[-1].to_bytes(4, "big")

    pilgrim = Pilgrim(Scripted(), lambda: Secret(SECRET), START, WALL)
    pilgrim.wake(START, WALL)
    pilgrim.wake(START + 3500.0, WALL + 3500.0)
    pilgrim.wake(START + 3505.0, WALL + 3505.0)
    keys = [each.spi for each in pilgrim.commands() if isinstance(each, InstallSendKey)]
    assert keys == [7, 8]
    assert drawn == [0, 7, 1, 7, 0, 8, 1]
