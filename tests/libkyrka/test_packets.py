"""Packets in and out: sizes, numbers, the replay window, the shroud, and callbacks that fail."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import libkyrka
from chancel.errors import RemoteProtocolError
from chancel.protocol.messages import InstallSendKey
from chancel.protocol.opening import Slot
from chancel.protocol.session import Session, SessionSettings
from chancel.protocol.traffic import Sealer
from chancel.protocol.window import ReplayWindow
from chancel.vault.secret import Secret
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER
from chancel.wire.types import NO_FLOCKS, Address, Salt, SessionKey, Spi
from libkyrka import KYRKA
from libkyrka.receiving import Receiving
from libkyrka.sending import ALL_NUMBERS
from tests.libkyrka.ends import NO_KEYS, SECRET, SUITE, Clock, End, Ends, logged
from tests.libkyrka.test_refusals import refusal

SPI, SALT, KEY = Spi(0x1234_5678), Salt(b"salt"), SessionKey(bytes(range(32)))
OVERHEAD, SHROUD = 50, 49
TOO_LARGE = "error '18' not found"
NO_SHROUD_KEY = "error '17' not found"


@pytest.fixture
def ends() -> Ends:
    return Ends().up()


@pytest.fixture
def shrouded() -> Ends:
    return Ends(shroud=True).up()


def test_data_arrives_with_its_number(ends: Ends) -> None:
    sizes = [1, 2, 100, 1421, 1422]
    for size in sizes:
        assert ends.left.context.heaven_input(bytes(size)) is True
    assert [sent.number for sent in ends.left.sent] == [2, 3, 4, 5, 6]
    assert [len(sent.data) for sent in ends.left.sent] == [size + OVERHEAD for size in sizes]
    ends.carry()
    assert ends.right.heard == [(bytes(size), n) for n, size in enumerate(sizes, 2)]


@pytest.mark.parametrize("mtu", [623, 1472, 1550, 1628])
def test_the_mtu_bounds_packets(ends: Ends, mtu: int) -> None:
    context = ends.left.context
    context.mtu_size(mtu)
    largest = min(mtu - OVERHEAD, 1500)
    context.heaven_input(bytes(largest))
    if largest < 1500:
        assert refusal(context.heaven_input, bytes(largest + 1)) == TOO_LARGE
        assert context.last_error() == 18
    assert [len(sent.data) for sent in ends.left.sent] == [largest + OVERHEAD]


def test_a_refused_packet_takes_no_number(ends: Ends) -> None:
    context = ends.left.context
    refusal(context.heaven_input, bytes(1423))
    context.heaven_input(b"x")
    assert ends.left.sent[0].number == 2


def test_the_last_number_ends_the_key(ends: Ends) -> None:
    left = ends.left
    sending = left.context._keys.sending
    assert sending is not None
    sending._numbers = iter(range(ALL_NUMBERS, ALL_NUMBERS + 1))
    left.context.heaven_input(b"last")
    assert left.sent[0].number == 2**34 - 1
    assert refusal(left.context.heaven_input, b"one more") == 8
    assert left.told() == [logged("expired TX SA (seqnr=17179869184, age=2)")]
    ends.carry()
    assert ends.right.heard == [(b"last", 2**34 - 1)]


def test_what_was_seen_or_is_too_old_is_logged(ends: Ends) -> None:
    left, right = ends.both
    for _ in range(0x50):
        left.context.heaven_input(b"x")
    packets = left.drain()
    right.take([packets[0x20], packets[-1], packets[-1], packets[0], packets[0x20]])
    assert len(right.heard) == 2
    assert right.told() == [
        logged("packet seq=51 already seen"),
        logged("packet seq=2 too old"),
        logged("packet seq=22 already seen"),
    ]
    right.take(packets[0x21:])
    assert [number for _, number in right.heard] == [0x22, 0x51, *range(0x23, 0x51)]


def receiving() -> Receiving:
    slot = Slot(SPI, SALT, SUITE.aead(KEY), ReplayWindow(64), 0.0)
    return Receiving(slot, bytes(16))


def sealed(count: int) -> list[bytes]:
    sealer = Sealer(NO_FLOCKS, SUITE)
    sealer.execute(InstallSendKey(SPI, SALT, KEY), 0.0)
    datagrams = [sealer.seal(b"x", NEXT_INNER, 0.0) for _ in range(count)]
    return [datagram for datagram in datagrams if datagram is not None]


PACKETS = sealed(300)
runs = st.tuples(st.integers(1, 300), st.integers(1, 100)).map(lambda run: range(run[0], sum(run)))


@settings(max_examples=200)
@given(st.lists(runs, max_size=12))
def test_the_replay_window_agrees_with_a_naive_one(arrivals: list[range]) -> None:
    key, seen, highest = receiving(), set[int](), 1
    for number in (number for run in arrivals for number in run if number <= len(PACKETS)):
        expected = number not in seen and highest - number < 64
        try:
            assert key.open_untrusted(PACKETS[number - 1]) == (b"x", number)
        except RemoteProtocolError:
            assert not expected, number
        else:
            assert expected, number
            seen.add(number)
            highest = max(highest, number)


@pytest.mark.parametrize("at", [4, 7, 8, 15, 16, 31, 32, -1])
def test_a_changed_packet_is_dropped_and_nothing_is_marked(ends: Ends, at: int) -> None:
    left, right = ends.both
    before = sum(right.context.drops().values())
    left.context.heaven_input(b"whole")
    (packet,) = left.drain()
    changed = bytearray(packet)
    changed[at] ^= 1
    right.take([bytes(changed)])
    assert (right.heard, sum(right.context.drops().values())) == ([], before + 1)
    right.take([packet])
    assert right.heard == [(b"whole", 2)]


def test_everything_else_that_is_wrong_is_silence(ends: Ends) -> None:
    right = ends.right
    before = sum(right.context.drops().values())
    spi = right.installed[1].to_bytes(4, "big")
    wrong = [bytes(49), bytes(100), spi, spi + bytes(45), spi + bytes(46), spi + bytes(1000)]
    wrong += [b"SACRAMNT" + bytes(100), b"SACRAMNT" + bytes(615), b"SACRAMNT" * 100]
    right.take(wrong)
    assert (right.heard, right.told()) == ([], [logged("packet seq=0 too old")] * 2)
    assert sum(right.context.drops().values()) == before + len(wrong)


def test_control_messages_end_here_and_dont_count(ends: Ends) -> None:
    """But each number is used once."""
    key = receiving()
    sealer = Sealer(NO_FLOCKS, SUITE)
    sealer.execute(InstallSendKey(SPI, SALT, KEY), 0.0)
    for next_ in (NEXT_GRACE, NEXT_GRACE, NEXT_INNER):
        datagram = sealer.seal(b"\x01\x00", next_, 0.0)
        assert datagram is not None
        if next_ == NEXT_INNER:
            assert key.open_untrusted(datagram) == (b"\x01\x00", 3)
        for _ in range(2):
            with pytest.raises(RemoteProtocolError):
                key.open_untrusted(datagram)
    assert key._slot.packets == 1


class TestShroud:
    def test_sizes(self, shrouded: Ends) -> None:
        context = shrouded.left.context
        context.heaven_input(bytes(1373))
        assert len(shrouded.left.sent[0].data) == 1472
        assert refusal(context.heaven_input, bytes(1374)) == TOO_LARGE
        shrouded.left.drain()
        for _ in range(200):
            context.heaven_input(b"x")
        sizes = [len(data) for data in shrouded.left.drain()]
        assert min(sizes) >= 1 + OVERHEAD + SHROUD
        assert max(sizes) < 1472
        assert len(set(sizes)) > 50

    def test_offers_stay_below_the_mtu(self) -> None:
        end = End(Clock(), shroud=True)
        end.context.mtu_size(672)
        for _ in range(2):
            end.context.key_manage()
        assert {len(data) for data in end.drain()} == {672}
        end.context.mtu_size(671)
        assert refusal(end.context.key_manage) == TOO_LARGE

    def test_nothing_in_it_repeats(self, shrouded: Ends) -> None:
        for _ in range(20):
            shrouded.left.context.heaven_input(b"x")
        assert len({data[:48] for data in shrouded.left.drain()}) == 20

    def test_selectors(self, shrouded: Ends) -> None:
        left, right = shrouded.both
        send = left.context.heaven_input
        assert refusal(send, b"x", libkyrka.KYRKA_PACKET_SHROUD_CATHEDRAL) == NO_SHROUD_KEY
        assert refusal(send, b"x", 3) == 6
        assert left.told() == [logged("bad shroud in packet (3)")]
        send(b"x")
        (packet,) = left.drain()
        assert right.context.purgatory_input(packet, 1) is True
        assert right.context.purgatory_input(packet, -1) is True
        assert right.told() == [logged("unknown shroud type in packet (4294967295)")]
        assert right.heard == []
        right.take([packet])
        assert right.heard == [(b"x", 4)]

    def test_without_it_any_selector_will_do(self, ends: Ends) -> None:
        ends.left.context.heaven_input(b"x", 77)
        ends.right.context.purgatory_input(ends.left.drain()[0], 77)
        assert ends.right.heard == [(b"x", 2)]

    def test_switched_on_later_it_needs_its_key(self, ends: Ends) -> None:
        for end in ends.both:
            end.context.shroud_enable()
            assert refusal(end.context.heaven_input, b"x") == NO_SHROUD_KEY
            end.context.key_manage()
            assert end.told() == [logged("shroud peer key created")]
        ends.talk()
        assert [end.heard for end in ends.both] == [[(b"ping", 2)], [(b"ping", 2)]]

    def test_offers_through_a_cathedral_have_no_key_yet(self) -> None:
        end = End(Clock(), shroud=True)
        end.context.p2p_active(False)
        end.context.key_manage()
        assert refusal(end.context.key_manage) == NO_SHROUD_KEY

    def test_another_secret_makes_another_key(self, shrouded: Ends) -> None:
        for end in shrouded.both:
            end.context.secret_load(bytes(32))
            end.context.key_manage()
            assert end.told() == [logged("shroud peer key created")]
        shrouded.talk()
        assert [len(end.heard) for end in shrouded.both] == [1, 1]

    @pytest.mark.parametrize("size", [50, 98, 99, 500, 1500])
    def test_noise_is_dropped(self, shrouded: Ends, size: int) -> None:
        right = shrouded.right
        right.take([SUITE.random(size) for _ in range(20)])
        assert (right.heard, right.told()) == ([], [])


class TestMaterial:
    def test_copies_have_the_secret(self) -> None:
        ends = Ends()
        copied = libkyrka.alloc()
        assert copied.key_material_copy(ends.left.context) is True
        assert copied.key_manage() is True

    def test_copies_are_independent(self) -> None:
        source, copied = libkyrka.alloc(), libkyrka.alloc()
        source.secret_load(SECRET)
        copied.key_material_copy(source)
        del source
        with copied._material.shared().reveal() as secret:
            assert secret == SECRET

    def test_nothing_to_copy(self) -> None:
        copied = libkyrka.alloc()
        copied.secret_load(SECRET)
        copied.key_material_copy(libkyrka.alloc())
        assert copied.key_manage() is True

    def test_another_secret_is_another_tunnel(self) -> None:
        ends = Ends()
        ends.right.context.secret_load(bytes(32))
        for _ in range(5):
            ends.turn()
        assert [end.installed for end in ends.both] == [(0, 0), (0, 0)]


class Oops(Exception):
    """Raised by callbacks."""


def failing(*_: object) -> None:
    raise Oops


class TestFailingCallbacks:
    """The call that caused it raises what the callback raised, and the context works on."""

    def test_event(self, ends: Ends) -> None:
        left = ends.left
        left.context.event_callback(failing, None)
        with pytest.raises(Oops):
            left.context.peer_timeout()
        with pytest.raises(Oops):
            left.context.key_manage()
        left.context.event_callback(left._event, "event")
        for _ in range(5):
            ends.turn()
        ends.talk()
        assert len(left.heard) == 1

    def test_log(self) -> None:
        end = End(Clock(), shroud=True)
        end.context.event_callback(failing, None)
        with pytest.raises(Oops):
            end.context.key_manage()
        end.context.event_callback(end._event, "event")
        end.context.key_manage()
        assert end.told() == [NO_KEYS]

    def test_heaven(self, ends: Ends) -> None:
        left, right = ends.both
        right.context.heaven_callback(failing, None)
        left.context.heaven_input(b"x")
        left.context.heaven_input(b"y")
        first, second = left.drain()
        with pytest.raises(Oops):
            right.take([first])
        right.context.heaven_callback(right._heaven, "heaven")
        right.take([first, second])
        assert right.heard == [(b"y", 3)]

    def test_purgatory(self, ends: Ends) -> None:
        """A packet number is never used again."""
        left, right = ends.both
        left.context.purgatory_callback(failing, None)
        with pytest.raises(Oops):
            left.context.heaven_input(b"x")
        left.context.purgatory_callback(left._purgatory, "purgatory")
        left.context.heaven_input(b"y")
        ends.carry()
        assert right.heard == [(b"y", 3)]

    def test_purgatory_during_an_exchange(self) -> None:
        ends = Ends()
        ends.turn()
        left = ends.left
        left.context.purgatory_callback(failing, None)
        with pytest.raises(Oops):
            left.context.key_manage()
        left.context.purgatory_callback(left._purgatory, "purgatory")
        ends.clock.now += 1
        for _ in range(4):
            ends.turn()
        assert left.installed == ends.right.installed[::-1]


def test_callbacks_may_call_back(ends: Ends) -> None:
    """An answer from within, and a packet sent as soon as there is a key."""
    left, right = ends.both

    def answer(context: KYRKA, data: bytes, number: int, udata: Any) -> None:
        context.heaven_input(data[::-1])

    right.context.heaven_callback(answer, None)
    left.context.heaven_input(b"abc")
    ends.carry()
    ends.carry()
    assert left.heard == [(b"cba", 2)]


def test_our_daemons_session_is_a_good_peer() -> None:
    """It sends control messages, which keep it content but mean nothing here."""
    end = End(Clock())
    clock, there = end.clock, Address("192.0.2.2", 2)
    session = Session(
        SessionSettings(there), SUITE, lambda: Secret(SECRET), clock.now, clock.wall()
    )

    def turn() -> None:
        end.context.key_manage()
        for datagram in end.drain():
            session.receive(datagram, there, clock.now, clock.wall())
        session.wake(clock.now, clock.wall())
        end.take([datagram for datagram, _ in session.datagrams()])
        clock.now += 1

    for _ in range(4):
        turn()
    for hour in range(3):
        assert end.installed == _spis(session, clock)[::-1]
        for _ in range(0, 3600, 10):
            end.context.heaven_input(b"to the daemon")
            assert session.send(b"%d" % clock.now, clock.now)
            for _ in range(10):
                turn()
        lost = 360 * (hour + 1) - len(end.heard)
        assert lost <= 2 * (hour + 1)  # its last packets under the key that we forget at once
    assert len({data for data, _ in end.heard}) == len(end.heard)
    assert session.received() == [b"to the daemon"] * 360 * 3


def _spis(session: Session, clock: Clock) -> tuple[int, int]:
    status = session.status(clock.now)
    return status.send_spi, status.receive_spi
