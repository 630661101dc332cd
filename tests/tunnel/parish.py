"""A real cathedral on a network in memory, and the keys of two devices that it knows."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from chancel.crypto.kdf_ambry import Wrapping, derived_kek
from chancel.crypto.system import SystemSuite
from chancel.errors import LinkClosed
from chancel.links.memory import MemoryNetwork, MemoryPort
from chancel.protocol.cathedral.bundle import Bundle
from chancel.protocol.cathedral.cathedral import Cathedral
from chancel.protocol.cathedral.settings import Allow, FlockSettings, Options, Settings
from chancel.tunnel import Cathedrals, Tunnel
from chancel.vault.secret import Secret
from chancel.wire.ambry import ENTRY_BYTES, HEADER_BYTES, Header, encode_entry_into, expiry, tunnel
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import Address, FlockId, Flocks
from tests.tunnel.pair import LEFT, RIGHT, WALL, wall

FLOCK = FlockId(0xCAFEBA00)
DEVICES = (0x0A, 0x0B)
HERE = Address("203.0.113.1", 4500)
NAT_PORT = 4501
SUITE = SystemSuite()


class Parish:
    """One cathedral, and what its operator knows: the keys of all devices."""

    def __init__(
        self, network: MemoryNetwork, *, shroud: bool = False, devices: Sequence[int] = DEVICES
    ) -> None:
        self.network = network
        self.devices = devices
        self.secrets = {device: Secret(secrets.token_bytes(32)) for device in devices}
        self.cosks = {device: _cosk() for device in devices}
        self.keks = {device: secrets.token_bytes(32) for device in devices}
        self.generation = 0
        self._shroud = shroud
        self.bundle: Bundle | None = None
        self._cathedral: Cathedral | None = None

    def secret(self, flock: FlockId, identity: CathedralId) -> Secret:
        assert flock == FLOCK
        return self.secrets[identity]

    def public(self, flock: FlockId, identity: CathedralId) -> bytes:
        assert flock == FLOCK
        return self.cosks[identity][32:]

    def of(self, side: int, **changes: Any) -> Cathedrals:
        """What the operator gives to one of the two devices."""
        return self.given(self.devices[side], self.devices[1 - side], **changes)

    def given(self, own: int, peer: int, **changes: Any) -> Cathedrals:
        """What the operator gives to a device, for a tunnel with a peer, or 0 for a liturgy."""
        given: dict[str, Any] = {
            "addresses": (str(HERE),),
            "identity": own,
            "flock": FLOCK,
            "tunnel": tunnel(own, peer),
            "secret": self.secrets[own],
            "cosk": self.cosks[own],
            "nat_port": NAT_PORT,
        }
        return Cathedrals(**(given | changes))

    def roll(self) -> Secret:
        """Serve new secrets; that of the first two devices is returned."""
        flocks = Flocks(FLOCK, FLOCK)
        self.generation += 1
        header = Header(expiry(WALL, 30), self.generation, secrets.token_bytes(64))
        pairs = list(itertools.permutations(self.devices, 2))
        shared = {frozenset(pair): Secret(secrets.token_bytes(32)) for pair in pairs}
        data = bytearray(HEADER_BYTES + len(pairs) * ENTRY_BYTES)
        places = np.full(1 << 16, -1, np.int32)
        for index, (own, peer) in enumerate(pairs):
            name = tunnel(own, peer)
            derived = derived_kek(SUITE, self.keks[own], flocks)
            with shared[frozenset((own, peer))].reveal() as secret:
                wrapped = Wrapping(SUITE, header, flocks).wrap(derived, name, secret)
            encode_entry_into(data, index, FLOCK, name, wrapped)
            places[name] = index
        self.serve(Bundle(header, bytes(data), {FLOCK: places}))
        return shared[frozenset(pairs[0])]

    def serve(self, bundle: Bundle) -> None:
        """Serve these secrets, new or old."""
        self.bundle = bundle
        if self._cathedral is not None:
            self._cathedral.reconfigure(self._settings(), 0.0)

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """The cathedral lives meanwhile."""
        now = asyncio.get_running_loop().time()
        options = Options(HERE, 1373, shroud=self._shroud)
        cathedral = self._cathedral = Cathedral(
            SUITE, options, self, lambda: Secret(bytes(32)), self._settings(), now
        )
        main = self.network.port(HERE)
        second = self.network.port(Address(HERE.host, NAT_PORT))
        async with main, second, asyncio.TaskGroup() as group:
            for port in (main, second):
                group.create_task(self._serve(cathedral, port, main))
            yield
            main.close()
            second.close()
        self._cathedral = None

    async def _serve(self, cathedral: Cathedral, port: MemoryPort, main: MemoryPort) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(LinkClosed):
            while True:
                datagram, source = await port.receive()
                now = loop.time()
                if now >= cathedral.wake_at():
                    cathedral.wake(now, WALL + now)
                cathedral.receive(datagram, source, now, WALL + now)
                await main.send_batch(cathedral.datagrams())

    def _settings(self) -> Settings:
        allows = tuple(Allow(CathedralId(device), device, 0) for device in self.devices)
        return Settings({FLOCK: FlockSettings(FLOCK, allows, self.bundle)})


def tunnel_of(parish: Parish, side: int, secret: Any = None, **changes: Any) -> Tunnel:
    """The tunnel of one of the devices; ``changes`` are to what the operator gave."""
    address = (LEFT, RIGHT)[side]
    shroud = changes.pop("shroud", False)
    return Tunnel(
        parish.network.port(address),
        secret,
        cathedral=parish.of(side, **changes),
        shroud=shroud,
        wall=wall(),
    )


def _cosk() -> bytes:
    seed = secrets.token_bytes(32)
    return seed + Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
