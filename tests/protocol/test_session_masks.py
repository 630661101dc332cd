"""Sessions whose datagrams are masked (shroud) or have one size (TFC)."""

from __future__ import annotations

import pytest

from chancel.errors import VaultError
from chancel.protocol.events import SecretUnavailable
from chancel.protocol.mask_keys import LOOK_S
from chancel.protocol.session import Session
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.offer import MAGIC
from chancel.wire.types import FlockId, Flocks
from tests.protocol.pair import SECRET, SUITE, End, Pair

UP_S = 3.0
MTU = 1200
PAYLOAD = b"\x45\0\0\x1e" + bytes(26)

options = pytest.mark.parametrize(
    ("shroud", "tfc"),
    [(True, False), (False, True), (True, True)],
    ids=["shroud", "tfc", "shroud and tfc"],
)


def up(**options: bool | int | Flocks) -> Pair:
    pair = Pair(**options)  # type: ignore[arg-type]
    assert pair.until(pair.up, UP_S) < UP_S
    return pair


@options
def test_packets_and_heartbeats_come_as_they_went(shroud: bool, tfc: bool) -> None:
    pair = up(shroud=shroud, tfc=tfc, mtu=MTU, flocks=Flocks(FlockId(0x101), FlockId(0x202)))
    for end in pair.ends:
        assert pair.send(end, PAYLOAD)
    pair.run(20.0)
    for end in pair.ends:
        assert end.received == [PAYLOAD]
        assert pair.status(end).heartbeat_age_s is not None
        assert not {Drop.BAD_MASK, Drop.NO_MASK, Drop.TFC_LENGTH} & pair.status(end).drops.keys()


@pytest.mark.parametrize(("shroud", "size"), [(False, MTU + 50), (True, MTU + 50 + 49)])
def test_with_tfc_every_datagram_has_one_size(shroud: bool, size: int) -> None:
    pair = up(shroud=shroud, tfc=True, mtu=MTU)
    pair.send(pair.left, PAYLOAD)
    pair.run(60.0)
    assert {len(packet.data) for packet in pair.log} == {size}


def test_under_a_shroud_nothing_is_recognised_and_sizes_differ() -> None:
    pair = up(shroud=True, mtu=1373)
    pair.run(60.0)
    assert all(packet.data[:8] != MAGIC for packet in pair.log)
    assert len({packet.data[:16] for packet in pair.log}) == len(pair.log)
    sizes = [len(packet.data) for packet in pair.log]
    assert max(sizes) < 1373
    assert len(set(sizes)) > len(sizes) // 2


def test_nothing_grows_beyond_what_surely_arrives_before_the_mtu_is_known() -> None:
    """With an MTU of ``auto``: offers aren't grown, small packets not beyond an offer."""
    pair = Pair(shroud=True, mtu_discovery=True, mtu=1373)
    # Probes are answered by nobody: the path stays unknown.
    pair.lose = lambda packet: len(packet.data) > 623 + 50 + 49
    assert pair.until(pair.up, UP_S) < UP_S
    pair.run(4.0)
    assert max(len(packet.data) for packet in pair.log) == 623 + 49
    pair.lose = lambda packet: False
    pair.run(60.0)
    grown = [len(packet.data) for packet in pair.log if packet.sent_at > pair.now - 30.0]
    assert [pair.status(end).mtu for end in pair.ends] == [1373, 1373]
    assert max(grown) < 1373


def test_without_a_mask_nothing_is_understood_or_sent() -> None:
    pair = up(shroud=True)
    naked = Pair()
    assert naked.until(naked.up, UP_S) < UP_S
    for packet in naked.log:
        pair.deliver(pair.left, packet.data)
    drops = pair.status(pair.left).drops
    assert drops.get(Drop.BAD_MASK, 0) > len(naked.log) // 2
    assert pair.up()


class Vault:
    """A secret that comes, goes and changes."""

    def __init__(self) -> None:
        self.content: bytes | None = SECRET

    def __call__(self) -> Secret:
        if self.content is None:
            raise VaultError("it is gone")
        return Secret(self.content)


def restart(pair: Pair, end: End, vault: Vault) -> None:
    end.session = Session(end.settings, SUITE, vault, pair.now, end.wall(pair.now))


def test_without_the_secret_nothing_is_sent_and_then_it_is_tried_each_second() -> None:
    pair, vault = Pair(shroud=True), Vault()
    vault.content = None
    restart(pair, pair.left, vault)
    pair.deliver(pair.left, bytes(200))
    pair.run(10.0)
    assert not [packet for packet in pair.log if packet.sender is pair.left]
    assert pair.status(pair.left).drops[Drop.NO_MASK] > 0
    assert pair.left.happened(SecretUnavailable)
    vault.content = SECRET
    assert pair.until(pair.up, UP_S + 16.0) < UP_S + 16.0


def test_an_end_that_waits_notices_a_replaced_secret() -> None:
    """It sends nothing, so nothing else would make it look."""
    pair, vault = Pair(shroud=True, right_knows_left=False), Vault()
    vault.content = bytes(32)
    restart(pair, pair.right, vault)
    pair.run(5.0)
    noise = {Drop.UNKNOWN_SPI, Drop.SEQUENCE_MISMATCH, Drop.TOO_SHORT}  # what another key leaves
    assert pair.status(pair.right).drops.keys() <= {Drop.BAD_MASK, Drop.NO_MASK} | noise
    vault.content = SECRET
    assert pair.until(pair.up, 2 * LOOK_S) < 2 * LOOK_S
