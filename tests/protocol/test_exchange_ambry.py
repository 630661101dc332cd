"""An exchange whose secret comes as an ambry: waiting for the first, going over to the next."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chancel.errors import VaultError
from chancel.protocol.events import (
    Event,
    ExchangeEnded,
    ExchangeStarted,
    Outcome,
    Reason,
    SecretNotShared,
)
from chancel.protocol.exchange import Exchange
from chancel.protocol.messages import (
    Command,
    EraseKeys,
    InstallReceiveKey,
    InstallSendKey,
    ReceiveReport,
)
from chancel.protocol.states import State
from chancel.protocol.switch import AMBRY_LIMIT_S, AMBRY_PATIENCE_S
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.types import Address
from tests.protocol.pair import SUITE, WALL

OLD, NEW = b"o" * 32, b"n" * 32
HERE, THERE = Address("192.0.2.1", 1), Address("192.0.2.2", 2)


class End:
    """An exchange with a secret that can be replaced, on a path that may be cut."""

    def __init__(self, address: Address, secret: bytes | None, awaits_ambry: bool) -> None:
        self.address = address
        self.content = secret
        self.events: list[Event] = []
        self.commands: list[Command] = []
        self.exchange = Exchange(
            SUITE, self.secret, 0.0, WALL, peer_configured=True, awaits_ambry=awaits_ambry
        )

    def secret(self) -> Secret:
        if self.content is None:
            raise VaultError("no ambry came yet")
        return Secret(self.content)

    def adopt(self, secret: bytes, now: float) -> None:
        self.content = secret
        self.exchange.secret_replaced(now)

    def drain(self) -> list[bytes]:
        self.commands += self.exchange.commands()
        while (event := self.exchange.next_event()) is not None:
            self.events.append(event)
        return self.exchange.datagrams()

    def reasons(self) -> list[Reason]:
        return [event.reason for event in self.events if isinstance(event, ExchangeStarted)]

    def installed(self) -> int:
        return sum(isinstance(command, InstallSendKey) for command in self.commands)


class Duo:
    """Two ends, time in steps of half a second, keys used by heartbeats each second."""

    def __init__(
        self,
        left: bytes | None = OLD,
        right: bytes | None = OLD,
        waiting: tuple[bool, bool] = (True, True),
    ) -> None:
        self.now = 0.0
        self.left, self.right = End(HERE, left, waiting[0]), End(THERE, right, waiting[1])
        self.reachable = True

    def run(self, seconds: float, done: Callable[[], bool] = lambda: False) -> float:
        start = self.now
        while self.now < start + seconds and not done():
            self.now += 0.5
            for end, peer in ((self.left, self.right), (self.right, self.left)):
                at = end.exchange.wake_at()
                if at is not None and at <= self.now:
                    end.exchange.wake(self.now, WALL + self.now)
                for datagram in end.drain():
                    if self.reachable:
                        peer.exchange.receive(datagram, end.address, self.now, WALL + self.now)
                self._report(end, peer)
        return self.now - start

    def _report(self, end: End, peer: End) -> None:
        """The peer uses the newest key it has to send with."""
        sends = [each for each in peer.commands if isinstance(each, InstallSendKey | EraseKeys)]
        kept = [each for each in end.commands if isinstance(each, InstallReceiveKey | EraseKeys)]
        if sends and kept and isinstance(kept[-1], InstallReceiveKey):
            newest = sends[-1]
            if isinstance(newest, InstallSendKey):
                report = ReceiveReport(newest.spi, 1, self.now, self.now)
                end.exchange.report(report, self.now)


def test_no_exchange_starts_or_is_answered_before_the_first_ambry() -> None:
    duo = Duo(waiting=(True, False))
    duo.left.exchange.cathedral_answers(True, 0.0)
    duo.run(60.0)
    assert duo.left.reasons() == []
    assert duo.left.exchange.drops.keys() == {Drop.NO_SECRET}
    assert duo.right.installed() == 0
    duo.left.adopt(OLD, duo.now)
    assert duo.left.exchange.state is State.OFFERED
    assert duo.run(5.0, lambda: duo.left.installed() > 0 and duo.right.installed() > 0) < 5.0
    assert duo.left.reasons()[0] is Reason.AMBRY


def test_where_no_cathedral_answers_a_device_comes_up_with_the_secret_it_has() -> None:
    duo = Duo()
    duo.run(AMBRY_PATIENCE_S - 1.0)
    assert duo.left.reasons() == []
    assert duo.left.exchange.wake_at() == AMBRY_PATIENCE_S
    assert duo.run(5.0, lambda: duo.left.installed() > 0 and duo.right.installed() > 0) < 5.0
    assert duo.left.exchange.drops.keys() <= {Drop.NO_SECRET}


def test_a_cathedral_that_falls_silent_before_it_gave_any_is_waited_for_no_longer() -> None:
    duo = Duo()
    for end in (duo.left, duo.right):
        end.exchange.cathedral_answers(True, 0.0)
    duo.run(30.0)
    assert duo.left.exchange.wake_at() is None
    for end in (duo.left, duo.right):
        end.exchange.cathedral_answers(False, duo.now)
    duo.run(AMBRY_PATIENCE_S + 3.0)
    assert duo.left.installed() == 1


def test_without_any_secret_nothing_starts() -> None:
    duo = Duo(left=None)
    duo.run(5 * AMBRY_PATIENCE_S)
    assert duo.left.reasons() == []
    assert duo.left.exchange.state is State.IDLE


def test_a_new_secret_brings_new_keys_and_the_old_ones_stay_until_then() -> None:
    duo = Duo(waiting=(False, False))
    duo.run(3.0)
    before = duo.left.installed()
    assert before == duo.right.installed() == 1
    duo.left.adopt(NEW, duo.now)
    duo.run(4.0)
    assert duo.left.reasons()[-1] is Reason.AMBRY
    assert duo.left.installed() == before
    duo.right.adopt(NEW, duo.now)
    assert duo.run(3.0, lambda: duo.left.installed() > before) <= 2.5
    duo.run(2 * AMBRY_LIMIT_S)
    assert not any(isinstance(command, EraseKeys) for command in duo.left.commands)
    assert duo.left.reasons()[-1] is Reason.AMBRY  # and no other followed


def test_a_running_exchange_ends_with_its_secret() -> None:
    duo = Duo(waiting=(False, False))
    duo.reachable = False
    duo.run(2.0)
    duo.left.adopt(NEW, duo.now)
    duo.left.drain()
    assert [each.outcome for each in duo.left.events if isinstance(each, ExchangeEnded)] == [
        Outcome.ABANDONED
    ]
    assert duo.left.reasons() == [Reason.NO_KEYS, Reason.AMBRY]


def test_a_peer_that_never_gets_the_new_secret_is_cut_off() -> None:
    duo = Duo(waiting=(False, False))
    duo.run(3.0)
    duo.left.adopt(NEW, duo.now)
    duo.run(AMBRY_LIMIT_S - 1.0)
    assert not any(isinstance(command, EraseKeys) for command in duo.left.commands)
    # It speaks with us all the time, under the old keys, so one attempt follows the other.
    assert duo.left.reasons().count(Reason.AMBRY) >= 4
    duo.run(2.0)
    assert any(isinstance(command, EraseKeys) for command in duo.left.commands)
    assert duo.left.events.count(SecretNotShared(AMBRY_LIMIT_S)) == 1
    duo.run(AMBRY_LIMIT_S * 2)
    assert duo.left.events.count(SecretNotShared(AMBRY_LIMIT_S)) == 1
    duo.right.adopt(NEW, duo.now)
    assert duo.run(20.0, lambda: duo.left.installed() > 1) < 20.0


def test_two_generations_in_turn_do_not_put_off_the_end_of_the_old_keys() -> None:
    duo = Duo(waiting=(False, False))
    duo.run(3.0)
    for number in range(20):
        duo.left.adopt((NEW, b"x" * 32)[number % 2], duo.now)
        duo.run(4.0)
    assert any(isinstance(command, EraseKeys) for command in duo.left.commands)


@pytest.mark.parametrize("waiting", [True, False])
def test_the_first_ambry_of_a_lonely_device_erases_nothing(waiting: bool) -> None:
    duo = Duo(waiting=(waiting, False))
    duo.reachable = False
    duo.run(3.0)
    duo.left.adopt(NEW, duo.now)
    duo.run(2 * AMBRY_LIMIT_S)
    assert not any(isinstance(event, SecretNotShared) for event in duo.left.events)
