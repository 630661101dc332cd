"""The exchange by itself: late and repeated reports, re-sync, states, waking at any time."""

from __future__ import annotations

import itertools

import pytest

from chancel.errors import LocalProtocolError
from chancel.protocol.agreement import draw_spi
from chancel.protocol.behaviour import CHANCEL, REFERENCE, Behaviour
from chancel.protocol.events import (
    ExchangeEnded,
    ExchangeStarted,
    Outcome,
    PeerUnresponsive,
    Reason,
    ReceiveKeyUsed,
)
from chancel.protocol.exchange import Exchange
from chancel.protocol.messages import (
    Command,
    EraseKeys,
    InstallReceiveKey,
    InstallSendKey,
    PeerSeen,
    ReceiveReport,
)
from chancel.protocol.states import SENDS, TRANSITIONS, State, Step, after
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.types import Address, Spi
from tests.protocol.pair import SECRET, SUITE, WALL, Kind, kind_of

HERE, THERE = Address("192.0.2.1", 1), Address("192.0.2.2", 2)


class Duo:
    """Two exchanges without sessions: what they command and offer is moved by hand."""

    def __init__(self, left: Behaviour = CHANCEL, right: Behaviour = CHANCEL) -> None:
        self.now = 0.0
        self.left, self.right = (
            Exchange(
                SUITE, lambda: Secret(SECRET), 0.0, WALL, peer_configured=True, behaviour=behaviour
            )
            for behaviour in (left, right)
        )
        self.commands: dict[Exchange, list[Command]] = {self.left: [], self.right: []}

    def wake(self, exchange: Exchange) -> list[bytes]:
        exchange.wake(self.now, WALL + self.now)
        return self.drain(exchange)

    def drain(self, exchange: Exchange) -> list[bytes]:
        self.commands[exchange] += exchange.commands()
        return exchange.datagrams()

    def give(self, exchange: Exchange, datagrams: list[bytes]) -> list[bytes]:
        source = HERE if exchange is self.right else THERE
        for datagram in datagrams:
            exchange.receive(datagram, source, self.now, WALL + self.now)
        return self.drain(exchange)

    def complete(self) -> None:
        """Run one whole exchange; nobody has used a key yet."""
        offers = self.wake(self.left)
        answers = self.give(self.right, offers)
        self.give(self.right, self.give(self.left, answers))

    def spi(self, exchange: Exchange) -> Spi:
        return next(
            c.spi for c in reversed(self.commands[exchange]) if isinstance(c, InstallReceiveKey)
        )

    def use(self, exchange: Exchange, packets: int = 1, installed_at: float = 0.0) -> None:
        """Report that the peer has used the newest receive key."""
        report = ReceiveReport(self.spi(exchange), packets, installed_at, self.now)
        exchange.report(report, self.now)


def events(exchange: Exchange) -> list[object]:
    return list(iter(exchange.next_event, None))


def kinds(datagrams: list[bytes]) -> list[Kind]:
    return [kind for kind, _ in itertools.groupby(map(kind_of, datagrams))]


@pytest.fixture
def duo() -> Duo:
    return Duo()


def test_both_install_the_same_keys_in_opposite_roles(duo: Duo) -> None:
    duo.complete()
    installed = []
    for exchange in (duo.left, duo.right):
        commands = duo.commands[exchange]
        received = next(c for c in commands if isinstance(c, InstallReceiveKey))
        sending = next(c for c in commands if isinstance(c, InstallSendKey))
        assert commands == [received, sending]
        installed.append((received, sending))
    (left_rx, left_tx), (right_rx, right_tx) = installed
    assert (left_rx.spi, left_rx.salt, left_rx.key) == (right_tx.spi, right_tx.salt, right_tx.key)
    assert (right_rx.spi, right_rx.salt, right_rx.key) == (left_tx.spi, left_tx.salt, left_tx.key)
    assert left_rx.key != right_rx.key


def test_the_newest_source_of_an_offer_is_told_once(duo: Duo) -> None:
    duo.give(duo.right, duo.wake(duo.left))
    assert duo.right.peer_seen() == PeerSeen(HERE, 0.0)
    assert duo.right.peer_seen() is None


def test_states_follow_the_conversation(duo: Duo) -> None:
    states = []
    offers = duo.wake(duo.left)
    states.append(duo.left.state)
    answers = duo.give(duo.right, offers)
    states.append(duo.right.state)
    assert kinds(answers) == [Kind.PK, Kind.CT]
    duo.give(duo.left, answers)
    states.append(duo.left.state)
    assert repr(duo.left) == f"<Exchange <Handshake keyed spi={duo.spi(duo.left):08x}>>"
    duo.use(duo.left)
    states.append(duo.left.state)
    assert events(duo.left)[-1] == ExchangeEnded(Outcome.FINISHED, duo.spi(duo.left))
    duo.use(duo.right)
    states.append(duo.right.state)
    assert states == [State.OFFERED, State.ANSWERED, State.KEYED, State.IDLE, State.USED]


def test_repeated_and_identical_reports_change_nothing(duo: Duo) -> None:
    duo.complete()
    for _ in range(3):
        duo.use(duo.left)
    assert [e for e in events(duo.left) if isinstance(e, ReceiveKeyUsed)] == [
        ReceiveKeyUsed(duo.spi(duo.left))
    ]
    duo.left.report(ReceiveReport(duo.spi(duo.left), 1, 0.0, 0.0), 5.0)
    assert duo.left.state is State.IDLE
    assert duo.left.wake_at() == 30.0


def test_a_report_that_comes_seconds_late_ends_the_exchange_all_the_same(duo: Duo) -> None:
    duo.complete()
    duo.now = 4.2
    late = ReceiveReport(duo.spi(duo.left), 3, 0.0, 1.0)
    duo.left.report(late, duo.now)
    assert duo.left.state is State.IDLE
    assert duo.left.wake_at() == 31.0


def test_a_report_about_erased_keys_is_history(duo: Duo) -> None:
    duo.complete()
    duo.use(duo.left)
    stale = ReceiveReport(duo.spi(duo.left), 1, 0.0, 0.0)
    duo.now = 120.0
    duo.wake(duo.left)
    assert any(isinstance(event, PeerUnresponsive) for event in events(duo.left))
    assert duo.commands[duo.left][-1] == EraseKeys()
    duo.left.report(stale, duo.now + 0.1)
    duo.now += 0.2
    duo.wake(duo.left)
    assert duo.commands[duo.left].count(EraseKeys()) == 1
    assert duo.left.state is State.OFFERED


@pytest.mark.parametrize("late_s", [0.0, 0.3, 7.0])
def test_waking_late_by_any_amount_sends_one_burst(duo: Duo, late_s: float) -> None:
    duo.wake(duo.left)
    duo.now = 1.0 + late_s
    assert len(duo.wake(duo.left)) == 4
    assert duo.left.wake_at() == duo.now + 1.0


def test_waking_early_does_nothing(duo: Duo) -> None:
    duo.wake(duo.left)
    for _ in range(9):
        duo.now += 0.1
        assert duo.wake(duo.left) == []


def test_an_unanswered_exchange_is_repeated_fifteen_times_then_begins_anew(duo: Duo) -> None:
    first = duo.wake(duo.left)
    for second in range(1, 15):
        duo.now = float(second)
        assert len(duo.wake(duo.left)) == len(first) == 4
    duo.now = 15.0
    assert len(duo.wake(duo.left)) == 4
    told = [type(event) for event in events(duo.left)]
    assert told == [ExchangeStarted, ExchangeEnded, ExchangeStarted]


def test_every_offer_has_a_new_seed(duo: Duo) -> None:
    seeds = set()
    for second in range(30):
        duo.now = float(second)
        seeds |= {datagram[28:92] for datagram in duo.wake(duo.left)}
    assert len(seeds) == 4 * 30


def ciphertexts(datagrams: list[bytes]) -> list[bytes]:
    return [datagram for datagram in datagrams if kind_of(datagram) is Kind.CT]


def reasons(exchange: Exchange) -> list[Reason]:
    return [event.reason for event in events(exchange) if isinstance(event, ExchangeStarted)]


def answers_to_a_former_exchange(now: float) -> list[bytes]:
    """Ciphertexts that are authentic and in time, for an SPI that nobody has."""
    former = Duo(right=REFERENCE)
    former.now = now - 1.0
    former.give(former.right, former.wake(former.left))
    former.now = now
    return ciphertexts(former.wake(former.right))


def test_an_answer_to_a_former_exchange_makes_another_one_start(duo: Duo) -> None:
    duo.wake(duo.left)
    duo.now = CHANCEL.settle_s
    duo.wake(duo.left)
    sent = duo.give(duo.left, answers_to_a_former_exchange(duo.now)[:1])
    assert duo.left.drops == {Drop.OFFER_WRONG_SPI: 1}
    assert kinds(sent) == [Kind.PK]
    assert reasons(duo.left) == [Reason.NO_KEYS, Reason.RESYNC]


def test_an_answer_that_crossed_a_new_exchange_is_ignored(duo: Duo) -> None:
    duo.wake(duo.left)
    duo.give(duo.left, answers_to_a_former_exchange(duo.now))
    assert duo.left.drops == {Drop.OFFER_WRONG_SPI: 4}
    assert reasons(duo.left) == [Reason.NO_KEYS]


@pytest.mark.parametrize(
    ("right", "age_s", "starts"),
    [
        (CHANCEL, 0.5, [Reason.PEER_RENEGOTIATES]),
        (CHANCEL, 5.0, [Reason.PEER_RENEGOTIATES, Reason.PEER_BEGAN_ANEW]),
        (REFERENCE, 5.0, [Reason.PEER_RENEGOTIATES]),
    ],
    ids=["young", "settled", "reference"],
)
def test_a_peer_that_begins_anew_is_answered(
    right: Behaviour, age_s: float, starts: list[Reason]
) -> None:
    """From the same exchange while that is young, so that two ends can't restart each other for
    ever; from a new one later on; not at all by the reference.
    """
    duo = Duo(REFERENCE, right)
    duo.give(duo.right, duo.wake(duo.left))
    duo.now = age_s
    duo.wake(duo.right)
    anew = duo.give(duo.left, answers_to_a_former_exchange(duo.now)[:1])
    answer = duo.give(duo.right, anew)
    assert reasons(duo.right) == starts
    duo.give(duo.left, answer)
    duo.now += 1.0
    duo.give(duo.left, duo.wake(duo.right))
    has_key = any(isinstance(command, InstallSendKey) for command in duo.commands[duo.left])
    assert has_key is (right is CHANCEL)


def test_another_instance_replaces_the_exchange_with_the_former_one(duo: Duo) -> None:
    duo.give(duo.right, duo.wake(duo.left))
    restarted = Duo()
    duo.give(duo.right, restarted.wake(restarted.left))
    assert reasons(duo.right) == [Reason.PEER_RENEGOTIATES, Reason.PEER_RESTARTED]


def test_a_late_repeat_of_an_answered_key_starts_nothing(duo: Duo) -> None:
    offers = duo.wake(duo.left)
    duo.now = 1.0
    repeat = duo.wake(duo.left)
    duo.give(duo.right, duo.give(duo.left, duo.give(duo.right, offers)))
    duo.use(duo.left)
    duo.use(duo.right)
    assert duo.right.state is State.IDLE
    assert duo.give(duo.right, repeat) == []
    assert duo.right.drops == {Drop.OFFER_ALREADY_DONE: 4}
    assert duo.right.state is State.IDLE


def test_an_spi_is_never_zero_nor_taken_and_has_the_prefix() -> None:
    draws = [bytes(4), b"\0\0\0\1", b"\0\0\0\2"]

    class Drawing(type(SUITE)):  # type: ignore[misc]
        def random(self, size: int) -> bytes:
            return draws.pop(0) if size == 4 and draws else bytes(super().random(size))

    assert draw_spi(Drawing(), 0, {1}) == 2
    draws[:] = [b"\0\0\0\0"]
    assert draw_spi(Drawing(), 0xABCD, ()) == 0xABCD0000


@pytest.mark.parametrize(("state", "step"), list(itertools.product(State, Step)))
def test_a_step_is_in_the_table_or_refused(state: State, step: Step) -> None:
    if (state, step) in TRANSITIONS:
        assert after(state, step) is TRANSITIONS[state, step]
    else:
        with pytest.raises(LocalProtocolError, match=f"{state.value} can't {step.name}"):
            after(state, step)


def test_every_state_is_reachable_left_and_says_what_it_sends() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State) == set(TRANSITIONS.values())
    assert set(SENDS) == set(State)
