"""Offers that are refused, each for its own reason, and what they must not change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import pytest

from chancel.crypto.kdf import OfferKind, Purpose, base_key, offer_key
from chancel.errors import VaultError
from chancel.protocol.admission import MAX_FORGERIES_PER_S
from chancel.protocol.events import ClockSkew, ExchangeStarted, SecretUnavailable
from chancel.protocol.offers import seal_exchange_offer
from chancel.protocol.session import Session, SessionSettings
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.offer import (
    CURRENT,
    NONCE,
    ExchangeBody,
    KeyBody,
    OfferData,
    OfferHeader,
    OfferState,
)
from chancel.wire.traffic import NEXT_GRACE
from chancel.wire.types import (
    NO_FLOCKS,
    Address,
    FlockId,
    Flocks,
    InstanceId,
    Salt,
    SessionKey,
    Spi,
)
from tests.protocol.pair import SECRET, SUITE, WALL, Kind, Packet, Pair

ELSEWHERE = Address("203.0.113.9", 9)
ID = InstanceId(77)


def body(
    spi: int = 5, state: int = OfferState.PK, fragment: int = 0, ecdh: bytes = b"\x09" * 32
) -> ExchangeBody:
    # A state or fragment that doesn't exist is what some of these tests are about.
    known = cast(OfferState, state)
    return ExchangeBody(ID, Spi(spi), Salt(b"salt"), known, fragment, ecdh, bytes(392))


def sealed(pair: Pair, content: ExchangeBody, *, early_s: int = 0) -> bytes:
    return sealed_at(int(WALL + pair.now) + early_s, content)


def sealed_at(
    timestamp: int, content: ExchangeBody, secret: bytes = SECRET, flocks: Flocks = NO_FLOCKS
) -> bytes:
    base = base_key(SUITE, Purpose.PEER_OFFER, secret, flocks)
    data = OfferData(timestamp, content)
    return seal_exchange_offer(SUITE, base, NO_FLOCKS, Spi(5), data, bytes(16))


def key_offer(pair: Pair) -> bytes:
    """An authentic offer of a kind that has no place in a tunnel."""
    base = base_key(SUITE, Purpose.PEER_OFFER, SECRET, NO_FLOCKS)
    header = CURRENT.encode(OfferHeader(Spi(5), NO_FLOCKS, SUITE.random(64)))
    key = KeyBody(ID, Salt(b"salt"), SessionKey(bytes(32)))
    plaintext = OfferData(int(WALL + pair.now), key).encode() + bytes(64)
    aead = SUITE.aead(offer_key(SUITE, OfferKind.EXCHANGE, base, header[28:]))
    return header + aead.encrypt(NONCE, plaintext, header)


def weak_key(pair: Pair) -> None:
    for fragment in range(4):
        pair.deliver(pair.right, sealed(pair, body(fragment=fragment, ecdh=bytes(32))))


def seen_twice(pair: Pair) -> None:
    for _ in range(2):
        pair.deliver(pair.right, sealed(pair, body(fragment=2)))


def already_done(pair: Pair) -> None:
    first = next(packet for packet in pair.log if packet.kind is Kind.PK)
    pair.deliver(first.sender.peer, first.data)


def own_offer_reflected(pair: Pair) -> None:
    first = next(packet for packet in pair.log if packet.sender is pair.right)
    pair.deliver(pair.right, first.data, ELSEWHERE)


def flood(pair: Pair) -> None:
    for _ in range(MAX_FORGERIES_PER_S + 1):
        pair.deliver(pair.right, sealed_at(0, body(), bytes(32)), ELSEWHERE)


def without_secret(pair: Pair) -> None:
    def missing() -> Secret:
        raise VaultError("secret: doesn't exist: create it")

    pair.right.session = Session(
        pair.right.settings, SUITE, missing, pair.now, pair.right.wall(pair.now)
    )
    pair.deliver(pair.right, sealed(pair, body()))


def while_running(spi: int, state: int) -> Callable[[Pair], None]:
    """Let the right side start an exchange, and answer one that it never offered."""

    def provoke(pair: Pair) -> None:
        pair.right.start(pair.now)
        pair.lose = lambda packet: True
        pair.run(1)
        pair.deliver(pair.right, sealed(pair, body(spi, state)))

    return provoke


def one(make: Callable[[Pair], bytes]) -> Callable[[Pair], None]:
    return lambda pair: pair.deliver(pair.right, make(pair))


def send_grace(pair: Pair, payload: bytes) -> None:
    """Have the left side seal a payload that no Graces would make."""
    session = pair.left.session
    session._dispatch.packet(payload, NEXT_GRACE, session.peer, pair.now)
    pair._drain(pair.left)
    pair.run(1)


def refuse_to_send(pair: Pair, payload: bytes) -> None:
    assert not pair.right.session.send(payload, pair.now)


def send_without_peer(pair: Pair) -> None:
    settings = SessionSettings(None)
    pair.right.session = Session(settings, SUITE, lambda: Secret(SECRET), pair.now, WALL)
    assert not pair.right.session.send(b"", pair.now)


def send_without_key(pair: Pair) -> None:
    pair.right.start(pair.now)
    assert not pair.right.session.send(b"", pair.now)


PROVOKED: dict[Drop, Callable[[Pair], None]] = {
    Drop.TOO_SHORT: one(lambda pair: b""),
    Drop.TOO_LONG: one(lambda pair: bytes(1523)),
    Drop.ZERO_SPI: one(lambda pair: bytes(60)),
    Drop.UNKNOWN_SPI: one(lambda pair: b"\x01\x02\x03\x04" + bytes(56)),
    Drop.OFFER_TOO_SHORT: one(lambda pair: sealed(pair, body())[:622]),
    Drop.OFFER_BAD_TAG: one(lambda pair: sealed_at(int(WALL), body(), secret=bytes(32))),
    Drop.OFFER_TIME: one(lambda pair: sealed(pair, body(), early_s=11)),
    Drop.OFFER_TYPE: one(key_offer),
    Drop.OFFER_OWN_ID: own_offer_reflected,
    Drop.OFFER_ZERO_SPI: one(lambda pair: sealed(pair, body(spi=0))),
    Drop.OFFER_STATE: one(lambda pair: sealed(pair, body(state=3))),
    Drop.OFFER_FRAGMENT_RANGE: one(lambda pair: sealed(pair, body(fragment=4))),
    Drop.OFFER_FRAGMENT_SEEN: seen_twice,
    Drop.OFFER_ALREADY_DONE: already_done,
    Drop.OFFER_WRONG_SPI: while_running(5, OfferState.CT),
    Drop.OFFER_UNEXPECTED: one(lambda pair: sealed(pair, body(state=OfferState.CT))),
    Drop.OFFER_WEAK_KEY: weak_key,
    Drop.OFFER_LIMIT: flood,
    Drop.NO_SECRET: without_secret,
    Drop.GRACE_TOO_SHORT: lambda pair: send_grace(pair, b"\x01"),
    Drop.GRACE_UNKNOWN: lambda pair: send_grace(pair, b"\x04\x00"),
    Drop.GRACE_SIZE: lambda pair: send_grace(pair, b"\x03\x00\x8f\x05"),
    Drop.SEND_TOO_LARGE: lambda pair: refuse_to_send(pair, bytes(1423)),
    Drop.NO_PEER: send_without_peer,
    Drop.NO_KEY: send_without_key,
}


@pytest.fixture
def pair() -> Pair:
    """Both ends are up and idle."""
    pair = Pair()
    pair.run(10)
    assert pair.up()
    assert not pair.right.session.drops
    return pair


@pytest.mark.parametrize("reason", PROVOKED)
def test_a_refusal_is_counted_by_its_reason(pair: Pair, reason: Drop) -> None:
    PROVOKED[reason](pair)
    counts = [end.session.drops[reason] for end in pair.ends]
    # Without the secret the offer can't be opened, and none of our own can be made.
    assert sum(counts) == (2 if reason is Drop.NO_SECRET else 1)


def test_another_flock_is_another_key() -> None:
    ours = Flocks(FlockId(0x0102), FlockId(0x0304))
    pair = Pair(flocks=ours)
    pair.run(5)
    assert pair.up()
    stranger = sealed_at(int(WALL + pair.now), body(), flocks=Flocks(FlockId(1), FlockId(2)))
    pair.deliver(pair.right, stranger)
    assert pair.right.session.drops == {Drop.OFFER_BAD_TAG: 1}


def test_a_replayed_offer_moves_nobody_and_starts_nothing(pair: Pair) -> None:
    pair.log.clear()
    for end in pair.ends:
        end.start(pair.now)
    pair.until(pair.up, 5)
    before = [len(end.happened(ExchangeStarted)) for end in pair.ends]
    for packet in [packet for packet in pair.log if packet.kind is not Kind.TRAFFIC]:
        pair.deliver(packet.sender.peer, packet.data, ELSEWHERE)
    pair.run(1)
    assert [pair.status(end).peer for end in pair.ends] == [
        pair.right.address,
        pair.left.address,
    ]
    assert [len(end.happened(ExchangeStarted)) for end in pair.ends] == before


def test_an_offer_caught_on_its_way_moves_nobody_later(pair: Pair) -> None:
    """It never came, so it is no repeat; but newer ones have come since."""
    caught: list[Packet] = []
    start = pair.now

    def catch(packet: Packet) -> bool:
        early = packet.kind is not Kind.TRAFFIC and packet.sent_at < start + 1.5
        if early:
            caught.append(packet)
        return early

    pair.lose = catch
    for end in pair.ends:
        end.start(pair.now)
    pair.until(pair.up, 5)
    assert len(caught) >= 8
    for packet in caught:
        pair.deliver(packet.sender.peer, packet.data, ELSEWHERE)
        assert pair.status(packet.sender.peer).peer == packet.sender.address
    assert pair.up()


def test_a_peer_that_moves_while_it_offers_a_key_is_followed(pair: Pair) -> None:
    pair.right.start(pair.now)
    pair.lose = lambda packet: packet.kind is not Kind.TRAFFIC
    pair.log.clear()
    pair.run(3)
    offers = [packet.data for packet in pair.log if packet.sender is pair.right]
    pair.deliver(pair.left, offers[-1], ELSEWHERE)
    assert pair.status(pair.left).peer == ELSEWHERE


def test_refused_offers_start_nothing_and_move_nobody(pair: Pair) -> None:
    starts = len(pair.right.happened(ExchangeStarted))
    for forged in (
        sealed_at(int(WALL + pair.now), body(), bytes(32)),
        sealed(pair, body(), early_s=-11),
        sealed(pair, body())[:-1] + b"\0",
    ):
        pair.deliver(pair.right, forged, ELSEWHERE)
    assert pair.status(pair.right).peer == pair.left.address
    assert len(pair.right.happened(ExchangeStarted)) == starts


def test_the_peers_own_address_is_heard_through_a_flood(pair: Pair) -> None:
    flood(pair)
    pair.left.start(pair.now)
    assert pair.until(lambda: pair.works(pair.right), 5) < 1
    assert pair.right.session.drops[Drop.OFFER_LIMIT] == 1


def test_a_flood_is_forgiven_after_a_second(pair: Pair) -> None:
    flood(pair)
    pair.run(1.1)
    pair.deliver(pair.right, sealed_at(0, body(), bytes(32)), ELSEWHERE)
    assert pair.right.session.drops[Drop.OFFER_LIMIT] == 1


def test_garbage_costs_little(pair: Pair) -> None:
    garbage = b"SACRAMNT" + bytes(615)
    start = time.process_time()
    for _ in range(1000):
        pair.right.session.receive(garbage, ELSEWHERE, pair.now, WALL)
    assert time.process_time() - start < 1.0


def test_a_missing_secret_is_told_once_and_retried(pair: Pair) -> None:
    available = False

    def source() -> Secret:
        if not available:
            raise VaultError("secret: doesn't exist: create it")
        return Secret(SECRET)

    right = pair.right
    right.session = Session(right.settings, SUITE, source, pair.now, right.wall(pair.now))
    right.events.clear()
    pair.run(8)
    assert right.happened(SecretUnavailable) == [
        SecretUnavailable("secret: doesn't exist: create it")
    ]
    assert right.session.drops[Drop.NO_SECRET] >= 8
    available = True
    assert pair.until(lambda: pair.works(right), 5) < 2


@pytest.mark.parametrize("early_s", [-10, -9, 9, 10])
def test_ten_seconds_of_clock_difference_are_accepted(early_s: int) -> None:
    pair = Pair()
    pair.left.skew_s = early_s
    assert pair.until(pair.up, 5) < 1
    assert pair.status(pair.right).clock_skew_s == early_s
    assert pair.status(pair.left).clock_skew_s == -early_s


@pytest.mark.parametrize("early_s", [-43, -11, 11, 3600])
def test_more_than_ten_seconds_are_refused_and_shown_in_seconds(early_s: int) -> None:
    pair = Pair()
    pair.left.start(pair.now)
    pair.left.skew_s = early_s
    pair.left.session = Session(
        pair.left.settings, SUITE, lambda: Secret(SECRET), pair.now, pair.left.wall(pair.now)
    )
    pair.run(20)
    assert not pair.up()
    assert pair.right.session.drops[Drop.OFFER_TIME] > 4
    assert pair.status(pair.right).clock_skew_s == early_s
    assert pair.status(pair.left).clock_skew_s == -early_s
    assert pair.right.happened(ClockSkew) == [ClockSkew(early_s, refused=True)]
    pair.left.skew_s = 0
    assert pair.until(pair.up, 120) < 65
    assert pair.right.events.count(ClockSkew(0.0, refused=False)) == 1


def test_an_old_offer_is_not_taken_for_a_slow_clock(pair: Pair) -> None:
    pair.deliver(pair.right, sealed(pair, body(), early_s=-300), ELSEWHERE)
    assert pair.status(pair.right).clock_skew_s == 0
