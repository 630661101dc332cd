"""A session with a cathedral: what it sends where, in which size and under which mask."""

from __future__ import annotations

import dataclasses

import pytest

from chancel.crypto.kdf import cathedral_shroud_key, shroud_base_identity
from chancel.errors import LocalProtocolError, VaultError
from chancel.protocol.events import PathRelayed
from chancel.protocol.keeper import Mode
from chancel.protocol.profile import V0_9
from chancel.protocol.session import CathedralSettings, Session, SessionSettings
from chancel.protocol.session_types import RemembranceNotKept
from chancel.protocol.shroud import SHROUD_BYTES, Shroud
from chancel.protocol.shroud_marks import ROTATE_S, is_mark_of_untrusted
from chancel.vault.ambries import AmbryHistory
from chancel.vault.secret import Secret
from chancel.wire import traffic
from chancel.wire.cathedral import CATHEDRAL, NAT
from chancel.wire.datagram import classify_untrusted
from chancel.wire.drop import Drop
from chancel.wire.info import AnswerBody
from chancel.wire.offer import CURRENT, MAGIC
from chancel.wire.remembrance import RemembranceBody
from chancel.wire.types import Address, FlockId, Flocks
from tests.protocol.pair import SECRET as SHARED
from tests.protocol.registration_world import (
    FIRST,
    FLOCKS,
    IDENTITY,
    KEK,
    NAT_PORT,
    PEER,
    SECOND,
    SECRET,
    SUITE,
    TUNNEL,
    WALL,
    ambry,
    registrant,
    said,
)

MTU = 1200
ELSEWHERE = Address("198.51.100.99", 9)


class Alone:
    """One session and its clock; the test is everybody else."""

    def __init__(self, settings: SessionSettings) -> None:
        self.now = 100.0
        self.session = Session(settings, SUITE, lambda: Secret(SHARED), self.now, self.wall)
        self.sent: list[tuple[bytes, Address]] = []

    @property
    def wall(self) -> float:
        return WALL + self.now

    def run(self, seconds: float) -> list[tuple[bytes, Address]]:
        """Let time pass; what was sent meanwhile."""
        self.sent = self.session.datagrams()
        until = self.now + seconds
        while (at := self.session.wake_at()) is not None and at <= until:
            self.now = max(self.now, at)
            self.session.wake(self.now, self.wall)
            self.sent += self.session.datagrams()
        self.now = until
        return self.sent

    def hear(self, datagram: bytes, source: Address = FIRST) -> None:
        self.session.receive(datagram, source, self.now, self.wall)

    @property
    def drops(self) -> dict[Drop, int]:
        return dict(self.session.drops)


def settings(
    *,
    tfc: bool = False,
    shroud: bool = False,
    kek: bytes | None = None,
    remember: bool = False,
    **changes: object,
) -> SessionSettings:
    us = registrant(
        nat_port=NAT_PORT,
        kek=None if kek is None else lambda: Secret(kek),
        remember=remember,
    )
    cathedral = dataclasses.replace(CathedralSettings(us, (FIRST,)), **changes)  # type: ignore[arg-type]
    return SessionSettings(None, MTU, tfc=tfc, shroud=shroud, cathedral=cathedral)


def kinds(sent: list[tuple[bytes, Address]]) -> set[tuple[bytes, Address]]:
    return {(datagram[:8], to) for datagram, to in sent}


def test_infos_and_offers_go_to_the_cathedral_and_name_flocks_and_tunnel() -> None:
    alone = Alone(settings())
    sent = alone.run(0.0)
    nat = Address(FIRST.host, NAT_PORT)
    assert kinds(sent) == {(CATHEDRAL.magic, FIRST), (NAT.magic, nat), (MAGIC, FIRST)}
    offers = [CURRENT.decode_untrusted(each) for each, _ in sent if each[:8] == MAGIC]
    assert {offer.flocks for offer in offers} == {FLOCKS}
    assert {offer.spi >> 16 for offer in offers} == {TUNNEL}
    assert alone.session.next_event() == PathRelayed(FIRST)


def test_tfc_gives_infos_the_size_of_everything_else() -> None:
    sent = Alone(settings(tfc=True)).run(10.0)
    assert {len(datagram) for datagram, _ in sent} == {MTU + traffic.OVERHEAD_BYTES}
    masked = Alone(settings(tfc=True, shroud=True)).run(10.0)
    assert {len(each) for each, _ in masked} == {MTU + traffic.OVERHEAD_BYTES + SHROUD_BYTES}


def test_the_mask_is_told_by_the_address_and_shows_the_cathedral_whose_it_is() -> None:
    alone = Alone(settings(shroud=True))
    sent = alone.run(0.0)
    identity = shroud_base_identity(SUITE, FLOCKS, IDENTITY)
    assert all(is_mark_of_untrusted(SUITE, identity, datagram) for datagram, _ in sent)
    assert len({datagram[:32] for datagram, _ in sent}) == 1
    ours = Shroud(cathedral_shroud_key(SUITE, SECRET, FLOCKS), SUITE)
    assert (MAGIC, FIRST) in kinds([(ours.unwrap(datagram), to) for datagram, to in sent])
    later = alone.run(ROTATE_S + 5.0)
    assert len({datagram[:32] for datagram, _ in later}) == 2

    alone.hear(ours.wrap(said(AnswerBody(PEER), alone.wall), 0))
    assert not alone.drops
    alone.hear(ours.wrap(said(AnswerBody(PEER), alone.wall), 0), ELSEWHERE)
    assert sum(alone.drops.values()) == 1  # under the key between peers it is noise


def test_what_cathedrals_say_is_traffic_to_an_end_without_one() -> None:
    alone = Alone(SessionSettings(PEER, MTU))
    alone.hear(said(AnswerBody(PEER)))
    assert alone.drops == {Drop.SEQUENCE_MISMATCH: 1} or Drop.UNKNOWN_SPI in alone.drops
    member = Alone(settings())
    member.hear(CATHEDRAL.magic.ljust(100, b"\1"))
    member.hear(said(AnswerBody(PEER)), SECOND)
    assert Drop.CATHEDRAL_SOURCE in member.drops
    assert sum(member.drops.values()) == 2
    assert classify_untrusted(said(AnswerBody(PEER))).value == "cathedral"


def test_an_ambry_is_awaited_adopted_and_kept_before_it_is_used() -> None:
    kept: list[Secret] = []
    alone = Alone(settings(kek=KEK, keep_secret=kept.append))
    assert {datagram[:8] for datagram, _ in alone.run(5.0)} == {CATHEDRAL.magic, NAT.magic}
    alone.hear(said(ambry(7), alone.wall))
    assert MAGIC in {datagram[:8] for datagram, _ in alone.run(0.0)}
    assert len(kept) == 1
    status = alone.session.status(alone.now).cathedral
    assert status is not None
    assert (status.generation, status.silent_s) == (7, None)


def test_an_ambry_that_can_not_be_kept_is_not_used() -> None:
    def refuse(secret: Secret) -> None:
        raise VaultError("the disk is full")

    alone = Alone(settings(kek=KEK, keep_secret=refuse))
    alone.run(5.0)
    alone.hear(said(ambry(7), alone.wall))
    assert MAGIC not in {datagram[:8] for datagram, _ in alone.run(40.0)}
    status = alone.session.status(alone.now).cathedral
    assert status is not None
    assert status.generation == 0


def test_which_ambries_there_were_is_kept_before_the_secret() -> None:
    order: list[object] = []
    alone = Alone(settings(kek=KEK, keep_ambries=order.append, keep_secret=order.append))
    for generation in (7, 8):
        alone.hear(said(ambry(generation), alone.wall))
        alone.run(5.0)
    history, secret = order[-2:]
    assert isinstance(history, bytes)
    assert isinstance(secret, Secret)
    kept = AmbryHistory.decode(history)
    assert (kept.generation, kept.replaced) == (8, (7,))

    again = Alone(settings(kek=KEK, ambries=kept))
    again.hear(said(ambry(7), again.wall))
    assert again.drops == {Drop.AMBRY_REPEATED: 1}
    again.hear(said(ambry(8), again.wall))
    again.run(0.0)
    status = again.session.status(again.now).cathedral
    assert status is not None
    assert status.generation == 8


def test_remembrance_is_handed_over_and_a_failure_is_told_of() -> None:
    kept: list[bytes] = []
    alone = Alone(settings(remember=True, keep_remembrance=kept.append))
    alone.run(0.0)
    alone.hear(said(RemembranceBody((FIRST, SECOND)), alone.wall))
    assert [RemembranceBody.decode_table_untrusted(data).cathedrals for data in kept] == [
        (FIRST, SECOND)
    ]

    def refuse(data: bytes) -> None:
        raise VaultError("the disk is full")

    failing = Alone(settings(remember=True, keep_remembrance=refuse))
    failing.run(0.0)
    failing.hear(said(RemembranceBody((FIRST, SECOND)), failing.wall))
    events = list(iter(failing.session.next_event, None))
    assert RemembranceNotKept("the disk is full") in events


def test_names_are_resolved_later_and_until_then_nothing_is_sent() -> None:
    alone = Alone(settings(cathedrals=()))
    assert alone.run(60.0) == []
    alone.session.cathedrals_resolved((FIRST,), alone.now)
    assert (CATHEDRAL.magic, FIRST) in kinds(alone.run(0.0))
    with pytest.raises(LocalProtocolError, match="no cathedrals"):
        Alone(SessionSettings(PEER)).session.cathedrals_resolved((FIRST,), 0.0)


def test_a_change_of_the_network_is_announced_at_once() -> None:
    alone = Alone(settings())
    alone.run(44.0)  # by then infos have given up hurrying
    assert CATHEDRAL.magic not in {datagram[:8] for datagram, _ in alone.run(0.5)}
    alone.session.network_changed(alone.now)
    assert CATHEDRAL.magic in {datagram[:8] for datagram, _ in alone.run(0.0)}


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": Mode.PILGRIM, "peer": PEER},
        {"profile": V0_9},
        {"encapsulation": Secret(bytes(32))},
        {"mtu": 622},
    ],
)
def test_what_can_not_be_together_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError):
        Alone(dataclasses.replace(settings(), **changes))  # type: ignore[arg-type]


def test_flocks_and_prefix_are_those_of_the_registrant() -> None:
    other = dataclasses.replace(settings(), flocks=Flocks(FlockId(1), FlockId(2)), spi_prefix=3)
    assert other.settled().flocks == FLOCKS
    assert other.settled().spi_prefix == TUNNEL
