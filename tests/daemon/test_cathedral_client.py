"""A tunnel's dealings with cathedrals in the keeper, with cathedrals made of offers alone."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from chancel.daemon.peers import Peers, open_file, path_of
from chancel.daemon.records import ConfessRecord, HeavenTxRecord
from chancel.daemon.run import pack_address
from chancel.protocol.client import IN_VAIN_S
from chancel.protocol.messages import EraseKeys, InstallReceiveKey, InstallSendKey
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, Salt, SessionKey, Spi
from tests.daemon.registered import End, address
from tests.protocol.registration_world import (
    FIRST,
    NAT_PORT,
    PEER,
    SECOND,
    TUNNEL,
    Cathedral,
    ambry,
)

ELSEWHERE = Address("198.51.100.8", 40001)
KEY = SessionKey(bytes(32))
OURS, NEXT, THEIRS = Spi(0xCAFE0001), Spi(0xCAFE0002), Spi(0xFECA0001)


def test_it_registers_and_waits_at_the_cathedral(home: Path) -> None:
    end = End(home, Cathedral(FIRST), nat_port=NAT_PORT)
    ((to, info),) = end.infos
    assert to == FIRST
    assert (info.tunnel, info.instance) == (TUNNEL, end.exchange.instance)
    assert (info.skips_ambry, info.wants_remembrance) == (True, False)
    assert end.probed == [Address(FIRST.host, NAT_PORT)]
    assert end.target == FIRST
    assert not end.board.direct
    assert address(end.board.cathedral) == FIRST
    assert end.board.cathedrals == 1
    assert end.client.offers_to(end.now) == (FIRST,)


def test_its_board_says_when_it_is_urgent(home: Path) -> None:
    cathedral = Cathedral(FIRST)
    end = End(home, cathedral)
    assert end.client.is_urgent()
    end.run(20.0)
    assert not end.client.is_urgent()
    cathedral.peer = PEER
    end.run(6.0)
    assert end.client.is_urgent()
    assert not end.client.is_urgent()


def test_an_announced_peer_is_tried_and_followed_when_both_directions_work(home: Path) -> None:
    cathedral = Cathedral(FIRST)
    end = End(home, cathedral)
    cathedral.peer = PEER
    end.run(6.0)
    assert (end.target, end.candidate) == (FIRST, PEER)
    assert end.board.announced_at > 0
    assert end.board.probes == 0, "there is no key to send with"
    end.client.keys_changed([InstallSendKey(THEIRS, Salt(bytes(4)), KEY)], end.now)
    end.run(2.0)
    assert end.board.heartbeats > 0
    assert (end.board.probes, end.board.candidate_spoke) == (0, 0), "anybody may be there"
    end.confess(PEER, end.now)
    end.run(1.0)
    assert end.board.probes > 0
    assert end.board.candidate_spoke
    assert 623 <= end.board.probe_size <= 1400
    assert end.target == FIRST, "we don't know yet whether we are heard there"
    end.client.hear(None, HeavenTxRecord(acks=1, ack_size=end.board.probe_size), end.now)
    end.settle()
    assert (end.target, end.board.direct) == (PEER, 1)
    assert not end.board.candidate_spoke, "there is no second address"
    assert end.peers.kept == (PEER,)
    assert end.board.target_at == pytest.approx(end.now, abs=0.1)


def test_an_acknowledgement_counts_once(home: Path) -> None:
    """The board still shows it later, when another address is tried."""
    end = End(home, Cathedral(FIRST))
    end.client.keys_changed([InstallSendKey(THEIRS, Salt(bytes(4)), KEY)], end.now)
    sizes = [*range(623, 660)]
    for number, size in enumerate(sizes, start=1):
        end.client.hear(None, HeavenTxRecord(acks=number, ack_size=size), end.now)
    seen = HeavenTxRecord(acks=len(sizes), ack_size=0)
    end.confess(PEER, end.now)
    end.run(1.0)
    seen = dataclasses.replace(seen, ack_size=end.board.probe_size)
    end.client.hear(None, seen, end.now)
    end.settle()
    assert not end.board.direct


def test_both_sources_are_heard_of(home: Path) -> None:
    """What is relayed and what comes from the peer itself may alternate."""
    end = End(home, Cathedral(FIRST))
    end.confess(FIRST, end.now, other=PEER)
    assert end.candidate == PEER
    assert end.target == FIRST


@pytest.mark.parametrize(
    ("peer", "expected"), [(None, FIRST), (ELSEWHERE, ELSEWHERE)], ids=["0.0.0.0:0", "address"]
)
def test_a_fixed_peer_is_moved_by_no_cathedral(
    home: Path, peer: Address | None, expected: Address
) -> None:
    cathedral = Cathedral(FIRST)
    end = End(home, cathedral, peer=peer, peer_fixed=True)
    cathedral.peer = PEER
    end.run(30.0)
    assert end.target == expected
    assert end.candidate in (None, ELSEWHERE)


def test_a_peer_that_fell_silent_is_sought_at_the_cathedral(home: Path) -> None:
    cathedral = Cathedral(FIRST)
    end = End(home, cathedral)
    cathedral.peer = PEER
    end.client.keys_changed([InstallSendKey(THEIRS, Salt(bytes(4)), KEY)], end.now)
    end.run(7.0)
    end.confess(PEER, end.now)
    end.client.hear(None, HeavenTxRecord(acks=1, ack_size=end.board.probe_size), end.now)
    end.settle()
    assert end.board.direct
    end.client.give_up(end.now)
    end.settle()
    assert (end.target, end.board.direct) == (FIRST, 0)


class TestKeysThatAreTold:
    """The cathedral relays only what is for these SPIs, and drops all else until it hears of them.

    So it hears of each before the peer does: of the one that the next exchange will have, too.
    """

    def told(self, end: End) -> tuple[Spi | None, Spi | None]:
        end.run(6.0)
        _to, info = end.infos[-1]
        return info.receiving, info.pending

    def install(self, end: End, spi: Spi) -> None:
        end.client.keys_changed([InstallReceiveKey(spi, Salt(bytes(4)), KEY)], end.now)
        end.client.hear(None, None, end.now)

    def use(self, end: End, spi: int) -> None:
        end.client.hear(ConfessRecord(spi=spi), None, end.now)

    def test_from_the_first_to_the_next(self, home: Path) -> None:
        end = End(home, Cathedral(FIRST))
        self.use(end, 0)
        coming = end.exchange.next_spi
        assert self.told(end) == (None, coming)
        self.install(end, OURS)
        coming = end.exchange.next_spi
        assert self.told(end) == (OURS, coming)
        self.use(end, OURS)
        coming = end.exchange.next_spi
        assert self.told(end) == (OURS, coming)
        end.client.keys_changed([InstallReceiveKey(NEXT, Salt(bytes(4)), KEY)], end.now)
        self.use(end, OURS)
        assert self.told(end) == (OURS, NEXT)
        self.use(end, NEXT)
        coming = end.exchange.next_spi
        assert self.told(end) == (NEXT, coming)
        end.client.keys_changed([EraseKeys()], end.now)
        self.use(end, 0)
        coming = end.exchange.next_spi
        assert self.told(end) == (None, coming)

    def test_a_running_exchange_has_installed_the_key_that_was_told(self, home: Path) -> None:
        end = End(home, Cathedral(FIRST))
        self.use(end, 0)
        told = end.exchange.next_spi
        assert self.told(end) == (None, told)
        self.install(end, told)
        assert self.told(end) == (told, None)

    def test_it_is_told_before_its_turn(self, home: Path) -> None:
        end = End(home, Cathedral(FIRST))
        end.run(5.5)
        self.install(end, OURS)
        end.run(3.3)
        assert end.infos[-1][1].receiving == OURS


class TestPromises:
    def end(self, home: Path) -> End:
        first, second = Cathedral(FIRST), Cathedral(SECOND)
        first.peer = second.peer = PEER
        end = End(home, first, second)
        end.run(IN_VAIN_S + 20.0)
        assert address(end.board.cathedral) == SECOND
        return end

    def test_one_that_keeps_none_is_left_and_it_is_shown(self, home: Path) -> None:
        assert self.end(home).trouble == "cathedral-in-vain"

    def test_until_the_peer_is_heard(self, home: Path) -> None:
        end = self.end(home)
        end.client.hear(ConfessRecord(peer=pack_address(PEER), peer_at=end.now), None, end.now)
        assert end.trouble == ""

    def test_what_is_worse_stays(self, home: Path) -> None:
        first, second = Cathedral(FIRST), Cathedral(SECOND)
        first.peer = second.peer = PEER
        first.ambry = second.ambry = ambry(7, kek=bytes(32))
        end = End(home, first, second, kek=str(home / "kek"))
        end.run(IN_VAIN_S + 20.0)
        assert address(end.board.cathedral) == SECOND
        assert end.trouble == "ambry-bad-tag"


class TestRemembrance:
    TABLE = RemembranceBody((FIRST, SECOND)).encode_table()

    def test_it_is_written_and_used_when_the_first_one_dies(self, home: Path) -> None:
        first, second = Cathedral(FIRST, [FIRST, SECOND]), Cathedral(SECOND, [SECOND, FIRST])
        path = home / "remembrance"
        end = End(home, first, second, addresses=(FIRST,), remembrance=str(path))
        assert path.read_bytes() == self.TABLE
        assert len(self.TABLE) == 192
        assert path.stat().st_mode & 0o777 == 0o600
        assert end.board.cathedrals == 2
        assert end.board.cathedral_silent_at == 0.0
        first.dead = True
        end.run(50.0)
        assert address(end.board.cathedral) == SECOND
        assert end.target == SECOND
        assert end.board.cathedral_silent_at == 0.0
        assert path.read_bytes()[:8] == bytes((192, 0, 2, 2, 192, 0, 2, 1))

    def test_it_is_read_at_the_start(self, home: Path) -> None:
        path = home / "remembrance"
        path.write_bytes(self.TABLE + b"more")
        first, second = Cathedral(FIRST), Cathedral(SECOND)
        first.dead = True
        end = End(home, first, second, addresses=(FIRST,), remembrance=str(path))
        assert end.board.cathedrals == 2
        end.run(50.0)
        assert address(end.board.cathedral) == SECOND

    def test_without_dns_those_remembered_are_used(self, home: Path) -> None:
        path = home / "remembrance"
        path.write_bytes(self.TABLE)
        end = End(home, Cathedral(FIRST), Cathedral(SECOND), addresses=(), remembrance=str(path))
        assert end.target is None
        assert end.client.offers_to(end.now) == ()
        end.run(5.0)
        assert end.target == FIRST

    @pytest.mark.parametrize("content", [b"", bytes(191), bytes(192)])
    def test_a_file_that_is_none(self, home: Path, content: bytes) -> None:
        path = home / "remembrance"
        path.write_bytes(content)
        cathedral = Cathedral(FIRST)
        end = End(home, cathedral, remembrance=str(path))
        assert end.target == FIRST
        assert path.read_bytes() == RemembranceBody((FIRST,)).encode_table()

    def test_one_that_can_not_be_written_is_what_it_was(
        self, home: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = home / "remembrance"
        path.mkdir()
        with caplog.at_level(logging.WARNING):
            end = End(home, Cathedral(FIRST), remembrance=str(path))
        assert end.trouble == "remembrance-not-kept"
        assert "remembrance can't be kept tunnel=a" in caplog.text


def test_names_that_are_looked_up_later(home: Path) -> None:
    end = End(home, Cathedral(FIRST), addresses=())
    end.run(60.0)
    assert (end.target, end.infos, end.board.cathedrals) == (None, [], 0)
    end.client.resolved([FIRST], end.now)
    end.settle()
    assert end.target == FIRST
    assert [to for to, _ in end.infos] == [FIRST]


def test_a_change_of_the_network_is_told_at_once(home: Path) -> None:
    end = End(home, Cathedral(FIRST))
    end.run(9.0)
    count = len(end.infos)
    end.client.network_changed(end.now)
    end.run(0.1)
    assert len(end.infos) == count + 1


def test_another_instance_is_told(home: Path) -> None:
    """After a suspend the exchange is another one to the peer, and the cathedral hears of it."""
    end = End(home, Cathedral(FIRST))
    end.run(10.0)
    before = end.infos[-1][1].instance
    end.exchange.wake(end.now, end.wall + 3600.0)
    end.client.wake(end.now, end.wall)
    end.run(6.0)
    assert end.infos[-1][1].instance == end.exchange.instance != before


def test_a_key_that_can_not_be_read_is_told(home: Path) -> None:
    cathedral = Cathedral(FIRST)
    cathedral.peer = PEER
    End(home, cathedral).close()
    (home / "cosk").chmod(0o644)
    end = End(home, cathedral)
    assert (end.trouble, end.infos) == ("cosk-unreadable", [])
    (home / "cosk").chmod(0o600)
    end.run(12.0)
    assert end.trouble == ""


def test_the_last_addresses_of_the_peer_are_tried_while_no_cathedral_answers(home: Path) -> None:
    peers = Peers(open_file(path_of(home, "a")), "a")
    peers.keep(PEER)
    peers.close()
    cathedral = Cathedral(FIRST)
    cathedral.dead = True
    end = End(home, cathedral)
    assert end.client.offers_to(end.now) == (FIRST, PEER)


def test_silence_is_on_the_board(home: Path) -> None:
    cathedral = Cathedral(FIRST)
    cathedral.peer = PEER
    end = End(home, cathedral, remembrance=str(home / "remembrance"))
    end.run(20.0)
    assert end.board.cathedral_silent_at == 0.0
    assert end.board.cathedral_heard_at > 0.0
    cathedral.dead = True
    end.run(50.0)
    assert end.board.cathedral_silent_at > 0.0
    cathedral.dead = False
    end.run(50.0)
    assert end.board.cathedral_silent_at == 0.0
