"""``peer auto`` after a restart: the peer is sought where it was, and only for a while."""

from __future__ import annotations

import time
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from chancel.crypto.system import SystemSuite
from chancel.daemon import keeping
from chancel.daemon.duties.chapel import make_machine
from chancel.daemon.keeping import GUESS_S
from chancel.daemon.peers import Peers, open_file, path_of
from chancel.daemon.records import ConfessRecord
from chancel.daemon.run import pack_address
from chancel.daemon.settings import TunnelSettings
from chancel.wire.types import NO_FLOCKS, Address

BEFORE, NOW_AT = Address("192.0.2.7", 2333), Address("192.0.2.8", 2333)


@pytest.fixture
def settings(tmp_path: Path) -> TunnelSettings:
    (tmp_path / "secret").touch(0o600)
    (tmp_path / "secret").write_bytes(bytes(range(32)))
    return TunnelSettings(
        instance="a",
        tunnel=IPv4Interface("10.0.0.1/24"),
        accepts=(),
        mtu=1400,
        mtu_discovery=False,
        peer=None,
        flocks=NO_FLOCKS,
        spi_prefix=0,
        secret=str(tmp_path / "secret"),
    )


def tunnel(settings: TunnelSettings, tmp_path: Path, *known: Address) -> keeping._Tunnel:
    peers = Peers(open_file(path_of(tmp_path, "a")), "a")
    peers.keep_all(known)
    return keeping._Tunnel(settings, SystemSuite(), make_machine, peers)


def offers(entry: keeping._Tunnel, now: float) -> int:
    """How many it makes by itself."""
    entry.hear(None, None, now)
    entry.wake(now)
    return len(entry.machine.datagrams())


def test_it_calls_where_the_peer_was(settings: TunnelSettings, tmp_path: Path) -> None:
    now = time.monotonic()
    entry = tunnel(settings, tmp_path, BEFORE)
    wanted_at = entry.wake_at()
    assert wanted_at is not None
    assert wanted_at <= time.monotonic(), "nobody else will wake it"
    assert offers(entry, now) > 0
    assert entry.offers_to(now) == (BEFORE,)
    assert entry.target is None, "nothing but offers goes there"


def test_without_an_earlier_run_it_waits(settings: TunnelSettings, tmp_path: Path) -> None:
    now = time.monotonic()
    entry = tunnel(settings, tmp_path)
    assert entry.wake_at() is None
    assert offers(entry, now) == 0
    assert entry.offers_to(now) == ()


def test_a_guess_that_is_wrong_ends(settings: TunnelSettings, tmp_path: Path) -> None:
    now = time.monotonic()
    entry = tunnel(settings, tmp_path, BEFORE)
    offers(entry, now)
    later = now + GUESS_S + 1.0
    offers(entry, later)
    assert entry.offers_to(later) == ()


def test_what_is_heard_counts_and_is_kept(settings: TunnelSettings, tmp_path: Path) -> None:
    now = time.monotonic()
    entry = tunnel(settings, tmp_path, BEFORE)
    heard = ConfessRecord(peer=pack_address(NOW_AT), peer_at=now)
    entry.hear(heard, None, now)
    assert (entry.target, entry.offers_to(now)) == (NOW_AT, (None,))
    assert entry.peers.kept == (NOW_AT, BEFORE)
    entry.peers.close()
    again = tunnel(settings, tmp_path, *Peers(open_file(path_of(tmp_path, "a")), "a").kept)
    assert again.offers_to(now) == (NOW_AT, BEFORE)
