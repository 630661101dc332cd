"""The masks of a tunnel with cathedrals: which one a datagram wears is told by its other end."""

from __future__ import annotations

import dataclasses
import os
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from chancel.crypto.kdf import cathedral_shroud_key, peer_shroud_key, shroud_base_identity
from chancel.crypto.system import SystemSuite
from chancel.daemon.masks import CathedralMaskKeys, Masks
from chancel.daemon.run import pack_address
from chancel.daemon.settings import CathedralSettings, TunnelSettings
from chancel.protocol.messages import EraseKeys, InstallCathedralMask, InstallMask
from chancel.protocol.shroud import Shroud
from chancel.protocol.shroud_marks import is_mark_of_untrusted
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import Address, FlockId, Flocks

SUITE = SystemSuite()
FLOCKS = Flocks(FlockId(0xCAFEBA01), FlockId(0xBEEF0001))
PEER = pack_address(Address("192.0.2.7", 2333))
CATHEDRAL = pack_address(Address("198.51.100.1", 2333))
NAT_PORT = pack_address(Address("198.51.100.1", 2334))
HOSTS = (bytes((198, 51, 100, 1)), bytes((198, 51, 100, 2)))
DATAGRAM = bytes(range(60))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "cs"
    path.write_bytes(os.urandom(32))
    path.chmod(0o600)
    return path


@pytest.fixture
def settings(secret: Path) -> TunnelSettings:
    return TunnelSettings(
        instance="a",
        tunnel=IPv4Interface("10.0.0.1/24"),
        accepts=(),
        mtu=1373,
        mtu_discovery=False,
        peer=None,
        flocks=FLOCKS,
        spi_prefix=0x1FE2,
        secret="",
        shroud=True,
        cathedral=CathedralSettings((), CathedralId(0xBADC0DE1), str(secret), ""),
    )


def cathedral_settings(settings: TunnelSettings) -> CathedralSettings:
    assert settings.cathedral is not None
    return settings.cathedral


def test_which_mask_is_whose(settings: TunnelSettings) -> None:
    masks = Masks(settings, SUITE)
    masks.install(InstallMask(bytes(32)))
    assert masks.of(PEER) is None, "it may be a cathedral, until they are known"
    masks.install(InstallCathedralMask(b"c" * 32, bytes(16), HOSTS))
    masks.install(EraseKeys())
    peer, cathedral = masks.of(PEER), masks.of(CATHEDRAL)
    assert peer is not None
    assert cathedral is not None
    assert masks.of(NAT_PORT) is cathedral
    assert Shroud(bytes(32), SUITE).unwrap(peer.wrap(DATAGRAM, 0)) == DATAGRAM
    assert Shroud(b"c" * 32, SUITE).unwrap(cathedral.wrap(DATAGRAM, 0)) == DATAGRAM
    assert cathedral.unwrap(Shroud(b"c" * 32, SUITE).wrap(DATAGRAM, 0)) == DATAGRAM


def test_without_a_secret_only_cathedrals_are_talked_to(settings: TunnelSettings) -> None:
    masks = Masks(settings, SUITE)
    masks.install(InstallCathedralMask(b"c" * 32, bytes(16), HOSTS[:1]))
    assert masks.of(PEER) is None
    assert masks.of(CATHEDRAL) is not None


def test_a_tunnel_without_cathedral_has_one_mask(settings: TunnelSettings) -> None:
    masks = Masks(dataclasses.replace(settings, cathedral=None), SUITE)
    assert masks.of(PEER) is None
    masks.install(InstallMask(bytes(32)))
    assert masks.of(PEER) is masks.of(CATHEDRAL) is not None


def test_a_cathedral_tells_us_by_our_mark(settings: TunnelSettings) -> None:
    masks = Masks(settings, SUITE)
    identity = shroud_base_identity(SUITE, FLOCKS, 0xBADC0DE1)
    masks.install(InstallCathedralMask(b"c" * 32, identity, HOSTS))
    masks.install(InstallMask(bytes(32)))
    cathedral, peer = masks.of(CATHEDRAL), masks.of(PEER)
    assert cathedral is not None
    assert peer is not None
    one, other = cathedral.wrap(DATAGRAM, 0), cathedral.wrap(DATAGRAM, 0)
    assert is_mark_of_untrusted(SUITE, identity, one)
    assert one[:32] == other[:32]
    assert one[32:] != other[32:]
    assert not is_mark_of_untrusted(SUITE, identity, peer.wrap(DATAGRAM, 0))


def test_the_keepers_side(settings: TunnelSettings, secret: Path) -> None:
    """A command for the first key, and one more for a new key or new hosts."""
    keys = CathedralMaskKeys(settings, cathedral_settings(settings), SUITE, 0.0)
    keys.know(["198.51.100.1"])
    keys.wake(0.0)
    expected = InstallCathedralMask(
        cathedral_shroud_key(SUITE, secret.read_bytes(), FLOCKS),
        shroud_base_identity(SUITE, FLOCKS, 0xBADC0DE1),
        HOSTS[:1],
    )
    assert keys.commands() == [expected]
    assert keys.commands() == []
    keys.know(["198.51.100.1", "198.51.100.2"])
    assert keys.commands() == [dataclasses.replace(expected, hosts=HOSTS)]
    secret.write_bytes(bytes(32))
    keys.wake(keys.wake_at())
    assert keys.commands() == [
        InstallCathedralMask(
            cathedral_shroud_key(SUITE, bytes(32), FLOCKS), expected.identity, HOSTS
        )
    ]


def test_the_keeper_waits_for_the_secret(settings: TunnelSettings, secret: Path) -> None:
    content = secret.read_bytes()
    secret.unlink()
    keys = CathedralMaskKeys(settings, cathedral_settings(settings), SUITE, 0.0)
    keys.know(["198.51.100.1"])
    keys.wake(0.0)
    assert keys.commands() == []
    secret.write_bytes(content)
    secret.chmod(0o600)
    keys.wake(keys.wake_at())
    assert len(keys.commands()) == 1


def test_the_two_keys_have_nothing_to_do_with_each_other() -> None:
    assert peer_shroud_key(SUITE, bytes(32), FLOCKS) != cathedral_shroud_key(
        SUITE, bytes(32), FLOCKS
    )
