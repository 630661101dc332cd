"""A shrine alone: which announcements it believes, and how often."""

from __future__ import annotations

import pytest

from chancel.crypto.kdf import Purpose, base_key
from chancel.crypto.system import SystemSuite
from chancel.errors import VaultError
from chancel.protocol.admission import MAX_FORGERIES_PER_S
from chancel.protocol.events import (
    ClockSkew,
    Event,
    ReceiveKeyInstalled,
    ReceiveKeyUsed,
    SecretUnavailable,
)
from chancel.protocol.key_offers import KeyOffer, seal_key_offer
from chancel.protocol.messages import InstallReceiveKey, PeerSeen, ReceiveReport
from chancel.protocol.shrine import MAX_SPIS, Shrine
from chancel.protocol.states import State
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.offer import KeyBody
from chancel.wire.types import NO_FLOCKS, Address, InstanceId, Salt, SessionKey, Spi

SECRET = bytes(range(32))
SUITE = SystemSuite()
BASE = base_key(SUITE, Purpose.PEER_OFFER, SECRET, NO_FLOCKS)
PILGRIM = Address("192.0.2.1", 2333)
ELSEWHERE = Address("203.0.113.9", 4)
NOW = 50.0
WALL = 1_760_000_000


def announce(spi: int, at: int = WALL) -> bytes:
    body = KeyBody(InstanceId(9), Salt(spi.to_bytes(4, "big")), SessionKey(bytes(28) + b"key!"))
    return seal_key_offer(SUITE, BASE, KeyOffer(at, Spi(spi), body))


@pytest.fixture
def shrine() -> Shrine:
    return Shrine(SUITE, lambda: Secret(SECRET), NOW)


def take(shrine: Shrine, *offers: bytes, source: Address = PILGRIM, wall: float = WALL) -> None:
    for offer in offers:
        shrine.receive(offer, source, NOW + wall - WALL, wall)


def installed(shrine: Shrine) -> list[int]:
    return [each.spi for each in shrine.commands() if isinstance(each, InstallReceiveKey)]


def events(shrine: Shrine) -> list[Event]:
    found: list[Event] = []
    while (event := shrine.next_event()) is not None:
        found.append(event)
    return found


def test_an_announced_key_is_installed(shrine: Shrine) -> None:
    take(shrine, announce(5))
    (command,) = shrine.commands()
    assert command == InstallReceiveKey(Spi(5), Salt(b"\0\0\0\5"), SessionKey(bytes(28) + b"key!"))
    assert shrine.peer_seen() == PeerSeen(PILGRIM, NOW)
    assert shrine.peer_seen() is None
    assert events(shrine) == [ReceiveKeyInstalled(Spi(5))]
    assert repr(shrine) == "<Shrine 00000005>"
    assert not shrine.drops


def test_what_is_repeated_is_installed_once_and_no_fault(shrine: Shrine) -> None:
    take(shrine, announce(5), announce(5, WALL + 30), announce(5, WALL + 60), wall=WALL + 60)
    assert installed(shrine) == [5]
    assert not shrine.drops


def test_the_very_same_packet_moves_nothing(shrine: Shrine) -> None:
    offer = announce(5)
    take(shrine, offer)
    assert shrine.peer_seen() is not None
    take(shrine, offer, source=ELSEWHERE)
    assert shrine.peer_seen() is None
    assert shrine.drops == {Drop.OFFER_ALREADY_DONE: 1}


def test_replaying_two_announcements_in_turn_installs_none_again(shrine: Shrine) -> None:
    """In the reference that empties the replay window of both keys."""
    recorded = [announce(5), announce(6)]
    missed = [announce(5, WALL + 1), announce(6, WALL + 1)]
    take(shrine, *recorded)
    assert installed(shrine) == [5, 6]
    take(shrine, *recorded, *missed, *recorded, *missed, source=ELSEWHERE, wall=WALL + 1740)
    assert installed(shrine) == []
    assert shrine.drops[Drop.OFFER_ALREADY_DONE] >= 7


def test_an_accepted_spi_is_remembered_for_as_long_as_any_of_its_announcements_is_valid(
    shrine: Shrine,
) -> None:
    take(shrine, announce(5))
    take(shrine, announce(6, WALL + 3500), wall=WALL + 3500)
    last = announce(5, WALL + 3420)
    take(shrine, last, source=ELSEWHERE, wall=WALL + 3420 + 1750)
    assert installed(shrine) == [5, 6]


def test_memory_is_bounded(shrine: Shrine) -> None:
    take(shrine, *(announce(spi) for spi in range(1, MAX_SPIS + 2)))
    assert len(installed(shrine)) == MAX_SPIS + 1
    take(shrine, announce(2, WALL + 1), wall=WALL + 1)
    assert installed(shrine) == []
    take(shrine, announce(1, WALL + 1), wall=WALL + 1)
    assert installed(shrine) == [1]


@pytest.mark.parametrize("late_s", [-1750, 0, 1750])
def test_half_an_hour_early_or_late_is_in_time(shrine: Shrine, late_s: int) -> None:
    take(shrine, announce(5), wall=WALL + late_s)
    assert installed(shrine) == [5]
    assert shrine.clock_skew_s == -late_s


@pytest.mark.parametrize("late_s", [-1751, 1751])
def test_more_is_refused_and_told(shrine: Shrine, late_s: int) -> None:
    take(shrine, announce(5), wall=WALL + late_s)
    assert installed(shrine) == []
    assert shrine.drops == {Drop.OFFER_TIME: 1}
    assert events(shrine) == [ClockSkew(-late_s, refused=True)]


def test_what_is_malformed_is_counted(shrine: Shrine) -> None:
    body = KeyBody(InstanceId(9), Salt(bytes(4)), SessionKey(bytes(32)))
    zero = seal_key_offer(SUITE, BASE, KeyOffer(WALL, Spi(0), body))
    damaged = bytearray(announce(5))
    damaged[-1] ^= 1
    take(shrine, announce(5) + b"\0", bytes(damaged), zero)
    assert installed(shrine) == []
    assert shrine.drops == {
        Drop.OFFER_TOO_LONG: 1,
        Drop.OFFER_BAD_TAG: 1,
        Drop.OFFER_ZERO_SPI: 1,
    }


def test_a_flood_of_forgeries_is_opened_so_often_and_the_pilgrim_gets_through(
    shrine: Shrine,
) -> None:
    take(shrine, announce(5))
    head = announce(5)[:28]
    forged = [head + i.to_bytes(64, "big") + bytes(531) for i in range(300)]
    take(shrine, *forged, source=ELSEWHERE)
    assert shrine.drops == {
        Drop.OFFER_BAD_TAG: MAX_FORGERIES_PER_S,
        Drop.OFFER_LIMIT: 300 - MAX_FORGERIES_PER_S,
    }
    take(shrine, announce(6))
    assert installed(shrine) == [5, 6]


def test_first_use_is_told_once(shrine: Shrine) -> None:
    take(shrine, announce(5))
    events(shrine)
    shrine.report(ReceiveReport(5, 0, NOW, None), NOW)
    shrine.report(ReceiveReport(5, 1, NOW, NOW), NOW)
    shrine.report(ReceiveReport(5, 2, NOW, NOW), NOW)
    assert events(shrine) == [ReceiveKeyUsed(Spi(5))]


def test_an_unreadable_secret_is_told() -> None:
    def gone() -> Secret:
        raise VaultError("it is gone")

    shrine = Shrine(SUITE, gone, NOW)
    take(shrine, announce(5), announce(6))
    assert shrine.drops == {Drop.NO_SECRET: 2}
    assert events(shrine) == [SecretUnavailable("it is gone")]


def test_it_never_wants_or_sends_anything(shrine: Shrine) -> None:
    take(shrine, announce(5))
    shrine.path_known(True, NOW)
    shrine.wake(NOW, WALL)
    assert (shrine.wake_at(), shrine.datagrams(), shrine.state) == (None, [], State.IDLE)
    assert repr(Shrine(SUITE, lambda: Secret(SECRET), NOW)) == "<Shrine without key>"
