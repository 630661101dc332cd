"""Sealing and opening whole runs against the protocol's own parts, packet by packet.

Each test runs over Python's functions and over their compiled twins.
"""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chancel.crypto.system import SystemSuite
from chancel.daemon.hot.ciphers import suite_for, window_for
from chancel.daemon.hot.open import opening
from chancel.daemon.hot.seal import sealing
from chancel.daemon.run import MAX_RUN_PACKETS, Run
from chancel.errors import RemoteProtocolError
from chancel.protocol.messages import InstallReceiveKey, InstallSendKey
from chancel.protocol.opening import Opener
from chancel.protocol.profile import CURRENT, V0_9, Profile
from chancel.protocol.traffic import Sealer
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER, TrafficHeader, nonce
from chancel.wire.types import FlockId, Flocks, Salt, SessionKey, Spi
from tests.daemon.naive import fill, new_slot, packets_of

SUITE = SystemSuite()
OURS = Flocks(FlockId(0x0102030405060708), FlockId(0x1112131415161718))
THEIRS = Flocks(OURS.peer, OURS.own)
KEYS = [
    (Spi(0xA0000001), Salt(b"\0salt"[:4]), SessionKey(b"first key" + bytes(23))),
    (Spi(0x0B000002), Salt(b"saltier"[:4]), SessionKey(b"next key" + bytes(24))),
]

pytestmark = pytest.mark.usefixtures("twin")

profiles = pytest.mark.parametrize("profile", [CURRENT, V0_9], ids=["current", "0.9"])


def plain_sealer(profile: Profile = CURRENT) -> Sealer:
    made = Sealer(THEIRS, SUITE, profile)
    made.execute(InstallSendKey(*KEYS[0]), 0.0)
    return made


def sealer(profile: Profile = CURRENT) -> Sealer:
    made = Sealer(THEIRS, suite_for("seal"), profile)
    made.execute(InstallSendKey(*KEYS[0]), 0.0)
    return made


@profiles
@given(
    shapes=st.lists(
        st.tuples(
            st.sampled_from([NEXT_INNER, NEXT_GRACE]),
            st.integers(1, 40),
            st.integers(0, 1472),
            st.integers(0, 1472),
        ),
        min_size=1,
        max_size=4,
    ),
    offset=st.integers(0, 999),
)
def test_a_sealed_run_is_what_the_sealer_makes(
    profile: Profile, shapes: list[tuple[int, int, int, int]], offset: int
) -> None:
    batch, single = sealer(profile), plain_sealer(profile)
    source, target = new_slot(), new_slot()
    at = offset
    for next_, count, size, shorter in shapes:
        sizes = [size] * (count - 1) + [min(size, shorter)]
        payloads = [random.Random(i).randbytes(n) for i, n in enumerate(sizes)]
        run = fill(source, [payload + bytes(2) for payload in payloads], 3, tunnel=9, next=next_)
        keys = batch.reserve(run.packets, 1.0)
        assert keys is not None
        (sealed,) = sealing()(keys, source, [run], target, at)
        assert (sealed.tunnel, sealed.next, sealed.offset) == (9, 0, at)
        expected = [single.seal(payload, next_, 1.0) for payload in payloads]
        assert packets_of(target, [sealed]) == expected
        assert packets_of(source, [run]) == [payload + bytes(2) for payload in payloads]
        at = sealed.end if sealed.end < 100_000 else offset
    assert batch.report() == single.report()


@profiles
def test_numbers_go_on_above_32_bits(profile: Profile) -> None:
    batch, single = sealer(profile), plain_sealer(profile)
    for each in (batch, single):
        each.reserve(2**32 - 3, 0.0)
    source, target = new_slot(), new_slot()
    run = fill(source, [bytes(22)] * 10)
    keys = batch.reserve(10, 0.0)
    assert keys is not None
    (sealed,) = sealing()(keys, source, [run], target, 0)
    assert packets_of(target, [sealed]) == [single.seal(bytes(20), 0, 0.0) for _ in range(10)]


def test_the_longest_run_is_sealed_and_opened() -> None:
    source, back = new_slot(), new_slot()
    run = fill(source, [i.to_bytes(2, "big") * 5 + bytes(2) for i in range(MAX_RUN_PACKETS)])
    keys = sealer().reserve(run.packets, 0.0)
    assert keys is not None
    target = new_slot(MAX_RUN_PACKETS * 64)
    (sealed,) = sealing()(keys, source, [run], target, 0)
    opened = opening().open_runs(opener(1), target, [sealed], back, 0, 0.0)
    assert packets_of(back, opened) == packets_of(source, [run])


@dataclasses.dataclass(frozen=True)
class Sent:
    """One datagram: under which key, how far its number is from the last, and what is wrong."""

    key: int = 0
    step: int = 1
    next_: int = NEXT_INNER
    reserved: int = 0
    flocks: Flocks = THEIRS
    sequence: int = 0
    spi: int | None = None
    corrupt: tuple[int, int] | None = None

    def datagram(self, number: int, payload: bytes, profile: Profile = CURRENT) -> bytes:
        spi, salt, key = KEYS[self.key]
        shown = spi if self.spi is None else Spi(self.spi)
        layout = profile.layouts.traffic
        header = bytearray(layout.encode(TrafficHeader(shown, number, *self.flocks)))
        header[7] ^= self.sequence
        text = payload + bytes((self.reserved, self.next_))
        bound = layout.associated_data(bytes(header))
        whole = bytearray(header + SUITE.aead(key).encrypt(nonce(salt, number), text, bound))
        if self.corrupt:
            at, bit = self.corrupt
            whole[at % len(whole)] ^= 1 << bit
        return bytes(whole)


def plain_opener(keys: int, profile: Profile = CURRENT) -> Opener:
    made = Opener(OURS, SUITE, profile=profile)
    for installed in KEYS[:keys]:
        made.execute(InstallReceiveKey(*installed), 0.0)
    return made


def opener(keys: int, profile: Profile = CURRENT) -> Opener:
    made = Opener(OURS, suite_for("open"), profile=profile, window=window_for("open"))
    for installed in KEYS[:keys]:
        made.execute(InstallReceiveKey(*installed), 0.0)
    return made


def state_of(each: Opener) -> object:
    """All that an opener remembers."""
    slots = [
        (slot.spi, slot.window.highest, slot.window.bitmap, slot.packets, slot.expires_at)
        for slot in each._slots
    ]
    active = each.active and each.active.spi
    return slots, active, each.report(), each.wake_at(), {k: v for k, v in each.drops.items() if v}


def open_both(
    batch: Opener, single: Opener, datagrams: list[bytes], now: float, at: int = 0
) -> list[Run]:
    """Open datagrams as a run, and one by one; both accept the same and remember the same."""
    source, target = new_slot(), new_slot()
    run = fill(source, datagrams, 33, tunnel=4)._replace(source=bytes(range(18)))
    batch.wake(now)
    runs = opening().open_runs(batch, source, [run], target, at, now)
    accepted: list[tuple[bytes, int]] = []
    for datagram in datagrams:
        try:
            opened = single.open_untrusted(datagram, now)
        except RemoteProtocolError as error:
            single.drops[error.reason] += 1
        else:
            accepted.append((opened.payload + bytes((0, opened.next_)), opened.next_))
    for kind in (NEXT_INNER, NEXT_GRACE):
        found = packets_of(target, [run for run in runs if run.next == kind])
        assert found == [packet for packet, next_ in accepted if next_ == kind]
    assert len(runs) <= 2
    assert all((run.tunnel, run.source) == (4, bytes(range(18))) for run in runs)
    assert all(at <= run.offset and run.end <= at + len(b"".join(datagrams)) for run in runs)
    assert state_of(batch) == state_of(single)
    return runs


well_sent = st.builds(
    Sent, key=st.integers(0, 1), next_=st.sampled_from([NEXT_INNER] * 5 + [NEXT_GRACE])
)
badly_sent = st.one_of(
    st.builds(Sent, step=st.integers(-70, 70)),
    st.builds(Sent, step=st.sampled_from([0, 0, -1, 1023, 1024, 1025, -1023, -1024, -1025, 2**33])),
    st.builds(Sent, corrupt=st.tuples(st.integers(0, 1500), st.integers(0, 7))),
    st.builds(Sent, reserved=st.integers(0, 255), next_=st.sampled_from([0, 0xFC, 1, 0xFF])),
    st.builds(Sent, next_=st.integers(0, 255)),
    st.builds(Sent, flocks=st.sampled_from([OURS, Flocks(THEIRS.own, THEIRS.own)])),
    st.builds(Sent, sequence=st.integers(1, 255)),
    st.builds(Sent, spi=st.sampled_from([0, 1, KEYS[1][0]])),
    st.builds(Sent, key=st.just(1)),
)
trains = st.one_of(
    st.lists(st.just(Sent()), min_size=1, max_size=40),
    st.lists(st.just(Sent(key=1)), min_size=1, max_size=40),
    st.lists(well_sent, min_size=1, max_size=20),
    st.lists(st.one_of(st.just(Sent()), badly_sent), min_size=1, max_size=20),
)


REPEATED = [([Sent(), Sent(step=0), Sent(step=-1), Sent(step=2)], 10, 10)]
MIXED = [([Sent(next_=NEXT_GRACE), Sent()] * 20, 10, 3)]
BAD_TAILS = [([Sent(next_=NEXT_GRACE), Sent(reserved=1), Sent(next_=7), Sent()], 10, 3)]


@profiles
@given(
    shapes=st.lists(st.tuples(trains, st.integers(0, 1400), st.integers(0, 1400)), max_size=5),
    keys=st.integers(1, 2),
    first=st.sampled_from([1, 5, 2**32 - 10]),
)
@example(shapes=REPEATED, keys=2, first=5)
@example(shapes=MIXED, keys=1, first=1)
@example(shapes=BAD_TAILS, keys=1, first=1)
def test_a_run_is_opened_as_its_packets_would_be(
    profile: Profile, shapes: list[tuple[list[Sent], int, int]], keys: int, first: int
) -> None:
    batch, single = opener(keys, profile), plain_opener(keys, profile)
    numbers = [first - 1, first - 1]
    for now, (train, size, shorter) in enumerate(shapes):
        datagrams = []
        for i, sent in enumerate(train):
            numbers[sent.key] = max(0, numbers[sent.key] + sent.step)
            length = size if i < len(train) - 1 else min(size, shorter)
            payload = random.Random(i).randbytes(length)
            datagrams.append(sent.datagram(numbers[sent.key], payload, profile))
        open_both(batch, single, datagrams, 5.0 * now, 16 * now)


def one_by_one(*sent: Sent) -> list[bytes]:
    return [each.datagram(i + 1, bytes(20)) for i, each in enumerate(sent)]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Sent(reserved=1), Drop.RESERVED_NOT_ZERO),
        (Sent(next_=1), Drop.UNKNOWN_NEXT),
        (Sent(flocks=OURS), Drop.FLOCK_MISMATCH),
        (Sent(sequence=1), Drop.SEQUENCE_MISMATCH),
        (Sent(spi=1), Drop.UNKNOWN_SPI),
        (Sent(spi=0), Drop.ZERO_SPI),
        (Sent(key=1), Drop.UNKNOWN_SPI),
        (Sent(corrupt=(40, 0)), Drop.BAD_TAG),
    ],
)
def test_each_reason_is_counted_once_and_costs_no_other_packet(wrong: Sent, reason: Drop) -> None:
    for good in (1, 20):
        batch, single = opener(1), plain_opener(1)
        sent = [*[Sent()] * good, wrong, *[Sent()] * good]
        runs = open_both(batch, single, one_by_one(*sent), 0.0)
        assert [run.packets for run in runs] == [2 * good]
        assert batch.drops == {reason: 1}


def test_what_was_seen_or_is_too_old_is_counted() -> None:
    batch, single = opener(1), plain_opener(1)
    numbers = [1, 2, 2, 3000, 4, 0]
    datagrams = [Sent().datagram(number, bytes(20)) for number in numbers]
    open_both(batch, single, datagrams, 0.0)
    assert batch.drops == {Drop.DUPLICATE: 1, Drop.TOO_OLD: 2}
    open_both(batch, single, datagrams[:2], 0.0)
    open_both(batch, single, [datagrams[3]] * 2, 0.0)
    assert batch.drops == {Drop.DUPLICATE: 3, Drop.TOO_OLD: 4}


def test_a_packet_too_short_for_its_header_is_refused_within_the_slot() -> None:
    """Nobody but a broken process makes such a run; nothing behind it may be read."""
    source, target, each = new_slot(4096), new_slot(4096), opener(1)
    good = one_by_one(*[Sent()] * 20)
    data = b"".join(good) + b"abc"
    source.memory[-len(data) :] = data
    run = Run(0, 0, 21, len(good[0]), 3, 4096 - len(data))
    runs = opening().open_runs(each, source, [run], target, 0, 0.0)
    assert [opened.packets for opened in runs] == [20]
    assert each.drops == {Drop.TOO_SHORT: 1}


@profiles
def test_bulk_traffic_takes_the_fast_way(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = opener(2, profile)
    monkeypatch.setattr(batch, "open_untrusted", lambda *_: pytest.fail("packet by packet"))
    source, target = new_slot(), new_slot()
    for train in range(3):
        numbers = range(1 + train * 50, 41 + train * 50)
        sent = Sent(key=train > 0)
        packets = [sent.datagram(number, bytes(1400), profile) for number in numbers]
        (run,) = opening().open_runs(batch, source, [fill(source, packets)], target, 0, 0.0)
        assert run.packets == 40
    assert batch.report().packets == 80


@pytest.mark.parametrize("forged", [0, 5, 9])
def test_a_forged_packet_in_a_train_harms_no_other(forged: int) -> None:
    sent = [Sent(corrupt=(60, 3)) if i == forged else Sent() for i in range(10)]
    batch, single = opener(1), plain_opener(1)
    datagrams = one_by_one(*sent)
    runs = open_both(batch, single, datagrams, 0.0)
    assert sum(run.packets for run in runs) == 9
    assert batch.drops == {Drop.BAD_TAG: 1}
    honest = Sent().datagram(forged + 1, bytes(20))
    assert open_both(batch, single, [honest], 0.0)[0].packets == 1
