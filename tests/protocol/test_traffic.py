"""Sealing and opening: the reference's packets, hand-over, limits (protocol sections 3 and 8)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chancel.errors import RemoteProtocolError
from chancel.protocol.behaviour import CHANCEL, REFERENCE, Behaviour
from chancel.protocol.messages import EraseKeys, InstallReceiveKey, InstallSendKey
from chancel.protocol.opening import Opener
from chancel.protocol.profile import CURRENT
from chancel.protocol.traffic import Sealer
from chancel.wire.drop import Drop
from chancel.wire.traffic import NEXT_GRACE, NEXT_INNER, TrafficHeader, add_tail, nonce
from chancel.wire.types import NO_FLOCKS, FlockId, Flocks, Salt, SessionKey, Spi
from tests.protocol.pair import SUITE

VECTOR_FILES = Path(__file__).parents[1] / "vectors"
TRAFFIC = json.loads((VECTOR_FILES / "traffic.json").read_text())["packets"]
REKEY = json.loads((VECTOR_FILES / "replay.json").read_text())["rekey"]


def send_key(number: int) -> InstallSendKey:
    return InstallSendKey(Spi(number), Salt(b"salt"), SessionKey(bytes([number]) * 32))


def receive_key(number: int) -> InstallReceiveKey:
    return InstallReceiveKey(Spi(number), Salt(b"salt"), SessionKey(bytes([number]) * 32))


def make_sealer(number: int) -> Sealer:
    sealer = Sealer(NO_FLOCKS, SUITE)
    sealer.execute(send_key(number), 0.0)
    return sealer


def sealed(sealer: Sealer, payload: bytes = b"hello", now: float = 0.0) -> bytes:
    datagram = sealer.seal(payload, NEXT_INNER, now)
    assert datagram is not None
    return datagram


def make_opener(*keys: int, behaviour: Behaviour = CHANCEL) -> Opener:
    opener = Opener(NO_FLOCKS, SUITE, behaviour)
    for key in keys:
        opener.execute(receive_key(key), 0.0)
    return opener


def refusal(opener: Opener, datagram: bytes, now: float = 0.0) -> Drop:
    with pytest.raises(RemoteProtocolError) as caught:
        opener.open_untrusted(datagram, now)
    return caught.value.reason


@pytest.mark.parametrize("vector", TRAFFIC, ids=lambda vector: vector["name"])
def test_packets_are_those_of_the_reference(vector: dict[str, Any]) -> None:
    flocks = Flocks(FlockId(int(vector["flock_src"], 16)), FlockId(int(vector["flock_dst"], 16)))
    spi = Spi(int(vector["spi"], 16))
    salt, key = Salt(bytes.fromhex(vector["salt"])), SessionKey(bytes.fromhex(vector["key"]))
    number, wire = int(vector["pn"], 16), bytes.fromhex(vector["wire"])

    opener = Opener(Flocks(flocks.peer, flocks.own), SUITE)
    opener.execute(InstallReceiveKey(spi, salt, key), 0.0)
    opened = opener.open_untrusted(wire, 1.0)
    received = bytes.fromhex(vector["received"])
    assert opened.next_ == vector["next"]
    assert opened.payload[: len(received)] == received
    assert not any(opened.payload[len(received) :])

    profile = dataclasses.replace(CURRENT, send_limit_packets=2**64)
    sealer = Sealer(flocks, SUITE, profile)
    sealer.execute(InstallSendKey(spi, salt, key), 0.0)
    sealer.reserve(number - 1, 0.0)
    assert sealer.seal(opened.payload, opened.next_, 0.0) == wire


def test_a_promoted_key_keeps_its_window_where_the_reference_forgets_it() -> None:
    """Rows 3 to 5 of the recorded rekey: the reference takes number 3 twice, and we once."""
    ours, theirs = make_opener(1, 2), make_opener(1, 2, behaviour=REFERENCE)
    packets: dict[tuple[int, int], bytes] = {}
    for number in (1, 2):
        sealer = make_sealer(number)
        packets.update({(number, pn): sealed(sealer) for pn in range(1, 5)})
    differences = []
    for index, row in enumerate(REKEY):
        datagram = packets[row["sa"], int(row["pn"], 16)]
        accepted = []
        for opener in (theirs, ours):
            try:
                opener.open_untrusted(datagram, 0.0)
                accepted.append(True)
            except RemoteProtocolError:
                accepted.append(False)
        assert accepted[0] is bool(row["accepted"]), row
        active, pending = theirs.active, theirs.pending
        assert active is not None
        assert active.spi == row["active_sa_after"]
        assert (pending.spi if pending else 0) == row["pending_sa_after"]
        state = (int(row["highest"], 16), int(row["bitmap"], 16))
        assert (active.window.highest, active.window.bitmap) == state
        if accepted[0] is not accepted[1]:
            differences.append((index, row["sa"], row["pn"][-1]))
    straggler = (6, 1, "3")
    assert differences == [(3, 2, "3"), straggler]


@pytest.mark.parametrize("behaviour", [CHANCEL, REFERENCE], ids=["ours", "reference"])
def test_the_first_key_is_active_and_the_next_one_waits_for_its_first_packet(
    behaviour: Behaviour,
) -> None:
    opener = make_opener(1, behaviour=behaviour)
    assert opener.report().active_spi == 1
    assert opener.report().packets == 0
    opener.open_untrusted(sealed(make_sealer(1)), 5.0)
    opener.execute(receive_key(2), 6.0)
    assert opener.report().active_spi == 1
    assert repr(opener) == "<Opener [00000001] 00000002>"
    opener.open_untrusted(sealed(make_sealer(2)), 7.0)
    report = opener.report()
    assert (report.active_spi, report.packets, report.installed_at) == (2, 1, 6.0)
    assert report.alive_at == 7.0


def test_a_replaced_key_opens_what_was_under_way_for_ten_seconds() -> None:
    opener, old = make_opener(1, 2), make_sealer(1)
    opener.open_untrusted(sealed(make_sealer(2)), 100.0)
    assert opener.open_untrusted(sealed(old), 109.9).payload == b"hello"
    assert opener.wake_at() == 110.0
    assert opener.report().active_spi == 2
    assert refusal(opener, sealed(old), 110.0) is Drop.UNKNOWN_SPI


def test_a_displaced_pending_key_still_opens_and_can_still_become_active() -> None:
    opener, displaced = make_opener(1, 2, 3), make_sealer(2)
    opener.open_untrusted(sealed(displaced), 50.0)
    assert opener.report().active_spi == 2
    opener.open_untrusted(sealed(make_sealer(3)), 100.0)
    assert opener.report().active_spi == 3
    opener.open_untrusted(sealed(displaced), 105.0)
    assert opener.report().active_spi == 3


def test_two_keys_with_one_spi_are_both_tried() -> None:
    opener = make_opener(1)
    other = SessionKey(b"\x99" * 32)
    opener.execute(InstallReceiveKey(Spi(1), Salt(b"salt"), other), 0.0)
    sealer = Sealer(NO_FLOCKS, SUITE)
    sealer.execute(InstallSendKey(Spi(1), Salt(b"salt"), other), 0.0)
    assert opener.open_untrusted(sealed(make_sealer(1)), 1.0).payload == b"hello"
    assert opener.open_untrusted(sealed(sealer, b"other"), 1.0).payload == b"other"


def test_receive_keys_are_limited_in_number_and_the_active_one_stays() -> None:
    opener = make_opener(*range(1, 2 * CHANCEL.receive_keys))
    assert opener.lookup(1) is opener.active
    assert [n for n in range(1, 20) if opener.lookup(n)] == [1, *range(9, 16)]


def test_a_receive_key_is_erased_at_its_limit() -> None:
    opener, sealer = make_opener(1), make_sealer(1)
    opener.open_untrusted(sealed(sealer), 3619.9)
    assert opener.wake_at() == 3620.0
    opener.wake(3620.0)
    assert opener.report().active_spi == 0
    assert opener.wake_at() is None
    assert refusal(opener, sealed(sealer), 3620.0) is Drop.UNKNOWN_SPI


def test_erased_keys_open_and_seal_nothing() -> None:
    opener, sealer = make_opener(1, 2), make_sealer(1)
    datagram = sealed(sealer)
    for part in (opener, sealer):
        part.execute(EraseKeys(), 1.0)
    assert refusal(opener, datagram) is Drop.UNKNOWN_SPI
    assert sealer.seal(b"", NEXT_INNER, 1.0) is None
    assert sealer.drops == {Drop.NO_KEY: 1}
    assert sealer.report().spi == 0


def raw(header: TrafficHeader, plaintext: bytes) -> bytes:
    head = CURRENT.layouts.traffic.encode(header)
    aead = SUITE.aead(bytes([header.spi]) * 32)
    return head + aead.encrypt(nonce(Salt(b"salt"), header.packet_number), plaintext, head)


def header(number: int = 1, spi: int = 1, own: int = 0) -> TrafficHeader:
    return TrafficHeader(Spi(spi), number, FlockId(own), FlockId(0))


INNER = add_tail(b"x", NEXT_INNER)
REFUSED = {
    Drop.TOO_SHORT: raw(header(), INNER)[:49],
    Drop.ZERO_SPI: bytes(4) + raw(header(), INNER)[4:],
    Drop.SEQUENCE_MISMATCH: raw(header(), INNER)[:7] + b"\x07" + raw(header(), INNER)[8:],
    Drop.FLOCK_MISMATCH: raw(header(own=1), INNER),
    Drop.UNKNOWN_SPI: raw(header(spi=9), INNER),
    Drop.DUPLICATE: raw(header(number=2000), INNER),
    Drop.TOO_OLD: raw(header(number=2000 - 1024), INNER),
    Drop.BAD_TAG: raw(header(), INNER)[:-1] + b"\0",
    Drop.RESERVED_NOT_ZERO: raw(header(), b"x\x01\x00"),
    Drop.UNKNOWN_NEXT: raw(header(), b"x\x00\x01"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_packet_is_refused_for_its_own_reason(reason: Drop) -> None:
    opener = make_opener(1)
    number = 2000 if reason in (Drop.DUPLICATE, Drop.TOO_OLD) else 1000
    opener.open_untrusted(raw(header(number=number), INNER), 0.0)
    assert refusal(opener, REFUSED[reason]) is reason


def test_a_forged_packet_leaves_no_mark() -> None:
    opener = make_opener(1)
    good = raw(header(number=5), INNER)
    assert refusal(opener, good[:-1] + b"\0") is Drop.BAD_TAG
    assert opener.report().alive_at is None
    assert opener.open_untrusted(good, 0.0).payload == b"x"


def test_the_tails_of_a_batch_are_judged_alike() -> None:
    opener = make_opener(1)
    tails = [(0, NEXT_INNER), (0, NEXT_GRACE), (1, NEXT_INNER), (0, 1)]
    assert [opener.tail_allowed(*tail) for tail in tails] == [True, True, False, False]
    assert opener.drops == {Drop.RESERVED_NOT_ZERO: 1, Drop.UNKNOWN_NEXT: 1}


def test_a_batch_is_sealed_and_opened_with_the_same_parts() -> None:
    sealer, opener = make_sealer(1), make_opener(7, 1)
    keys = sealer.reserve(3, 1.0)
    assert keys is not None
    assert (keys.first_number, sealer.report().packets) == (1, 3)
    following = sealer.reserve(1, 1.0)
    assert following is not None
    assert following.first_number == 4
    slot = opener.lookup(1)
    assert slot is opener.pending
    assert slot is not None
    numbers = np.arange(1, 4, dtype=np.uint64)
    assert slot.window.check_all(numbers)
    slot.window.mark_all(numbers)
    opener.authenticated(slot, 2.0, 3)
    assert (opener.report().active_spi, opener.report().packets) == (1, 3)
    assert refusal(opener, raw(header(number=2), INNER)) is Drop.DUPLICATE


@pytest.mark.parametrize(("number", "now"), [(2**34, 10.0), (2, 3600.0)], ids=["number", "age"])
def test_a_send_key_is_thrown_away_at_its_limit(number: int, now: float) -> None:
    sealer = make_sealer(1)
    sealer.reserve(number - 2, 0.0)
    assert sealer.seal(b"last", NEXT_INNER, 9.0) is not None
    assert sealer.seal(b"one too many", NEXT_INNER, now) is None
    assert sealer.seal(b"no key now", NEXT_INNER, now) is None
    assert sealer.drops == {Drop.KEY_EXPIRED: 1, Drop.NO_KEY: 1}


def test_a_new_send_key_starts_with_packet_one() -> None:
    sealer = make_sealer(1)
    sealed(sealer)
    sealer.execute(send_key(2), 5.0)
    assert CURRENT.layouts.traffic.decode_untrusted(sealed(sealer, now=6.0)).packet_number == 1
    report = sealer.report()
    assert (report.spi, report.packets, report.installed_at, report.last_at) == (2, 1, 5.0, 6.0)


def test_each_part_ignores_the_other_ones_commands() -> None:
    sealer, opener = make_sealer(1), make_opener(1)
    sealer.execute(receive_key(5), 0.0)
    opener.execute(send_key(5), 0.0)
    assert (sealer.report().spi, opener.report().active_spi) == (1, 1)
