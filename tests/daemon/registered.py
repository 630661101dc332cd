"""The keeper's part of a tunnel with cathedrals, and cathedrals made of offers alone."""

from __future__ import annotations

from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from chancel.crypto.system import SystemSuite
from chancel.daemon.cathedral_client import CathedralClient
from chancel.daemon.duties.chapel import make_machine
from chancel.daemon.peers import Peers, open_file, path_of
from chancel.daemon.records import NOWHERE, TROUBLES, ConfessRecord, KeeperRecord
from chancel.daemon.run import pack_address, unpack_address
from chancel.daemon.settings import CathedralSettings, TunnelSettings
from chancel.protocol.cathedral_offers import open_request_untrusted
from chancel.protocol.exchange import Exchange
from chancel.protocol.path_trial import OPENER
from chancel.protocol.registration_events import RegistrationEvent
from chancel.vault.files import SecretFile
from chancel.wire.cathedral import CATHEDRAL, NAT
from chancel.wire.info import InfoBody
from chancel.wire.types import Address
from tests.protocol.registration_world import (
    BASE,
    FLOCKS,
    IDENTITY,
    KEK,
    NOW,
    PUBLIC,
    SECRET,
    SIGNING,
    TUNNEL,
    WALL,
    Cathedral,
)


class End:
    """The keeper's part for one tunnel; cathedrals answer whatever it sends to them."""

    def __init__(
        self, home: Path, *cathedrals: Cathedral, peer: Address | None = None, **options: Any
    ):
        self.home = home
        self.now = NOW
        self.cathedrals = {each.address: each for each in cathedrals}
        self.infos: list[tuple[Address, InfoBody]] = []
        self.opened: list[Address] = []
        """Where openers went: there is no key yet."""
        self.probed: list[Address] = []
        self.events: list[RegistrationEvent] = []
        self.changes = 0
        for name, content in (("cs", SECRET), ("cosk", SIGNING + PUBLIC), ("kek", KEK)):
            if not (home / name).exists():
                (home / name).touch(0o600)
                (home / name).write_bytes(content)
        cathedral = CathedralSettings(
            addresses=options.pop("addresses", tuple(self.cathedrals)),
            identity=IDENTITY,
            secret=str(home / "cs"),
            cosk=str(home / "cosk"),
            **options,
        )
        self.settings = TunnelSettings(
            instance="a",
            tunnel=IPv4Interface("10.0.0.1/24"),
            accepts=(),
            mtu=1400,
            mtu_discovery=False,
            peer=peer,
            flocks=FLOCKS,
            spi_prefix=TUNNEL,
            secret=str(home / "secret"),
            shroud=True,
            cathedral=cathedral,
        )
        suite = SystemSuite()
        self.peers = Peers(open_file(path_of(home, "a")), "a")
        self.exchange = make_machine(
            self.settings, suite, SecretFile(home / "secret"), self.now, self.wall
        )
        assert isinstance(self.exchange, Exchange)
        self.client = CathedralClient(
            *(self.settings, cathedral, suite, self.exchange, self.peers),
            self._secret_changed,
            *(self.now, self.wall),
        )
        self.settle()

    @property
    def wall(self) -> float:
        return WALL - NOW + self.now

    @property
    def board(self) -> KeeperRecord:
        """What others read."""
        return KeeperRecord(**self.client.fields())

    @property
    def target(self) -> Address | None:
        return address(self.board.target)

    @property
    def candidate(self) -> Address | None:
        return address(self.board.candidate)

    @property
    def trouble(self) -> str:
        return TROUBLES[self.board.trouble]

    def run(self, seconds: float) -> None:
        """Let time pass, in steps that no timer is longer than."""
        end = self.now + seconds
        while self.now < end:
            due = self.client.wake_at()
            self.now = min(end, max(self.now + 0.01, end if due is None else due))
            self.settle()

    def settle(self) -> None:
        self.exchange.wake(self.now, self.wall)
        self.client.wake(self.now, self.wall)
        self.client.note_events(self.now, self.events.append)
        for datagram, to in self.client.datagrams():
            if datagram == OPENER:
                self.opened.append(to)
                continue
            layout = CATHEDRAL if datagram.startswith(CATHEDRAL.magic) else NAT
            header = layout.decode_untrusted(datagram)
            request = open_request_untrusted(
                SystemSuite(), BASE, PUBLIC, header, datagram, self.wall, layout
            )
            assert isinstance(request.body, InfoBody)
            if layout is NAT:
                self.probed.append(to)
                continue
            self.infos.append((to, request.body))
            for answer in self.cathedrals[to].hear(request.body, self.now, self.wall):
                self.client.receive(answer, to, self.now, self.wall)
        self.client.wake(self.now, self.wall)
        self.client.note_events(self.now, self.events.append)

    def confess(self, source: Address, at: float, other: Address | None = None) -> None:
        """Something authentic came from the source, and before that from another."""
        record = ConfessRecord(
            peer=pack_address(source),
            peer_at=at,
            other=pack_address(other) if other else NOWHERE,
            other_at=at - 0.1 if other else 0.0,
        )
        self.client.hear(record, None, self.now)
        self.settle()

    def close(self) -> None:
        self.peers.close()

    def _secret_changed(self) -> None:
        self.changes += 1


def address(packed: bytes) -> Address | None:
    return None if packed == NOWHERE else unpack_address(packed)
