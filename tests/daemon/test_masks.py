"""The masks of a tunnel with cathedrals: which one a datagram wears is told by its other end."""

from __future__ import annotations

import contextlib
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
from chancel.errors import RemoteProtocolError
from chancel.protocol.messages import EraseKeys, InstallCathedralMask, InstallMask
from chancel.protocol.shroud import Shroud
from chancel.protocol.shroud_marks import is_mark_of_untrusted
from chancel.protocol.switch import AMBRY_LIMIT_S
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.offer import MAGIC
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
    masks.install(InstallMask(bytes(32)), 0.0)
    assert masks.of(PEER, 0.0) is None, "it may be a cathedral, until they are known"
    masks.install(InstallCathedralMask(b"c" * 32, bytes(16), HOSTS), 0.0)
    masks.install(EraseKeys(), 0.0)
    peer, cathedral = masks.of(PEER, 0.0), masks.of(CATHEDRAL, 0.0)
    assert peer is not None
    assert cathedral is not None
    assert masks.of(NAT_PORT, 0.0) is cathedral
    assert Shroud(bytes(32), SUITE).unwrap(peer.wrap(DATAGRAM, 0)) == DATAGRAM
    assert Shroud(b"c" * 32, SUITE).unwrap(cathedral.wrap(DATAGRAM, 0)) == DATAGRAM
    assert cathedral.unwrap(Shroud(b"c" * 32, SUITE).wrap(DATAGRAM, 0)) == DATAGRAM


def test_without_a_secret_only_cathedrals_are_talked_to(settings: TunnelSettings) -> None:
    masks = Masks(settings, SUITE)
    masks.install(InstallCathedralMask(b"c" * 32, bytes(16), HOSTS[:1]), 0.0)
    assert masks.of(PEER, 0.0) is None
    assert masks.of(CATHEDRAL, 0.0) is not None


def test_a_tunnel_without_cathedral_has_one_mask(settings: TunnelSettings) -> None:
    masks = Masks(dataclasses.replace(settings, cathedral=None), SUITE)
    assert masks.of(PEER, 0.0) is None
    masks.install(InstallMask(bytes(32)), 0.0)
    assert masks.of(PEER, 0.0) is masks.of(CATHEDRAL, 0.0) is not None


HEADER = bytes((0xFE, 0x1F, 0, 1, 0, 0, 0, 1)) + bytes(7) + b"\x01"
THEIRS = HEADER + FLOCKS.peer.to_bytes(8, "big") + FLOCKS.own.to_bytes(8, "big") + bytes(30)
"""Traffic of the peer, as far as a mask can see."""
OFFER = MAGIC + bytes(100)
OLD, NEW = bytes(32), b"n" * 32


class TestAmbry:
    """The secret is another one, and one of the two ends is the first to know."""

    @pytest.fixture
    def masks(self, settings: TunnelSettings) -> Masks:
        cathedral = dataclasses.replace(cathedral_settings(settings), kek="kek")
        masks = Masks(dataclasses.replace(settings, cathedral=cathedral), SUITE)
        masks.install(InstallCathedralMask(b"c" * 32, bytes(16), HOSTS), 0.0)
        masks.install(InstallMask(OLD), 0.0)
        masks.install(InstallMask(NEW), 10.0)
        return masks

    def worn(self, masks: Masks, now: float, *, offer: bool = False) -> bytes:
        """The key of the mask that a datagram to the peer gets."""
        mask = masks.of(PEER, now, offer=offer)
        assert mask is not None
        datagram = mask.wrap(THEIRS, 0)
        found = []
        for key in (OLD, NEW):
            with contextlib.suppress(RemoteProtocolError):
                if Shroud(key, SUITE).unwrap(datagram) == THEIRS:
                    found.append(key)
        (key,) = found
        return key

    def heard(self, masks: Masks, key: bytes, datagram: bytes, now: float) -> bool:
        """Whether what the peer masks under a key is understood."""
        mask = masks.of(PEER, now)
        assert mask is not None
        try:
            return mask.unwrap(Shroud(key, SUITE).wrap(datagram, 0)) == datagram
        except RemoteProtocolError:
            return False

    @pytest.mark.parametrize("datagram", [THEIRS, OFFER], ids=["traffic", "offer"])
    def test_both_are_taken_off_for_a_while(self, masks: Masks, datagram: bytes) -> None:
        for _ in range(600):  # one in 255 looks as if the other mask had come off
            assert self.heard(masks, OLD, datagram, 10.0)
            assert self.heard(masks, NEW, datagram, 10.0)
        assert self.heard(masks, OLD, datagram, 10.0 + AMBRY_LIMIT_S - 0.1)
        assert not self.heard(masks, OLD, datagram, 10.0 + AMBRY_LIMIT_S)
        assert self.heard(masks, NEW, datagram, 10.0 + AMBRY_LIMIT_S)
        assert not self.heard(masks, b"x" * 32, datagram, 10.0 + AMBRY_LIMIT_S)

    def test_only_offers_wear_the_new_one_until_the_peer_has_it(self, masks: Masks) -> None:
        masks.understood(9.9)
        assert self.worn(masks, 20.0) == OLD
        assert self.worn(masks, 20.0, offer=True) == NEW
        masks.understood(10.1)
        assert self.worn(masks, 20.0) == NEW

    def test_the_old_one_is_worn_no_longer_than_the_keys_live(self, masks: Masks) -> None:
        assert self.worn(masks, 10.0 + AMBRY_LIMIT_S) == NEW

    def test_what_is_under_the_new_one_shows_that_the_peer_has_it(self, masks: Masks) -> None:
        assert self.heard(masks, NEW, THEIRS, 11.0)
        assert self.worn(masks, 11.0) == NEW

    def test_of_several_the_one_that_the_peer_has_stays(self, masks: Masks) -> None:
        masks.install(InstallMask(b"m" * 32), 20.0)
        assert self.worn(masks, 21.0) == OLD
        assert not self.heard(masks, NEW, THEIRS, 21.0)
        over = masks.of(PEER, 10.0 + AMBRY_LIMIT_S)
        assert over is masks.of(PEER, 21.0, offer=True), "its keys live no longer for it"
        masks.understood(22.0)
        masks.install(InstallMask(NEW), 30.0)
        mask = masks.of(PEER, 31.0)
        assert mask is not None
        assert Shroud(b"m" * 32, SUITE).unwrap(mask.wrap(THEIRS, 0)) == THEIRS

    def test_what_cathedrals_say_has_one_mask(self, masks: Masks) -> None:
        mask = masks.of(CATHEDRAL, 11.0)
        assert mask is masks.of(CATHEDRAL, 11.0, offer=True) is not masks.of(PEER, 11.0)

    def test_without_ambries_a_new_secret_is_for_both_at_once(
        self, settings: TunnelSettings
    ) -> None:
        masks = Masks(settings, SUITE)
        masks.install(InstallCathedralMask(b"c" * 32, bytes(16), HOSTS), 0.0)
        masks.install(InstallMask(OLD), 0.0)
        masks.install(InstallMask(NEW), 10.0)
        assert self.worn(masks, 10.0) == NEW
        assert not self.heard(masks, OLD, THEIRS, 10.0)


def test_a_cathedral_tells_us_by_our_mark(settings: TunnelSettings) -> None:
    masks = Masks(settings, SUITE)
    identity = shroud_base_identity(SUITE, FLOCKS, 0xBADC0DE1)
    masks.install(InstallCathedralMask(b"c" * 32, identity, HOSTS), 0.0)
    masks.install(InstallMask(bytes(32)), 0.0)
    cathedral, peer = masks.of(CATHEDRAL, 0.0), masks.of(PEER, 0.0)
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
