"""A port of a simulated host: what the library's objects send and receive on in a simulation."""

from __future__ import annotations

from collections.abc import Callable

from chancel.links.endpoint import PortEndpoint
from chancel.wire.types import Address, Buffer

MAX_DATAGRAM = 65_507
"""As with UDP over IPv4."""


class SimulatedPort(PortEndpoint):
    """The UDP socket of one host, at ``local`` in its realm, from its power on to its power off.

    What is sent goes to ``transmit`` at once, with its destination. What the network brings is put
    into :attr:`inbox` by whoever runs the host, in the host's event loop.
    """

    def __init__(self, local: Address, transmit: Callable[[bytes, Address], None]) -> None:
        super().__init__(MAX_DATAGRAM)
        self._local = local
        self._transmit = transmit

    def __repr__(self) -> str:
        return f"<SimulatedPort {self._local}{' closed' if self.closed else ''}>"

    @property
    def local(self) -> Address:
        """Our own address, which a router may hide from everybody else."""
        return self._local

    async def send(self, datagram: Buffer, address: Address) -> None:
        """Send one datagram."""
        self._enter()
        self._check_size(datagram)
        await self._breathe()
        self._transmit(bytes(datagram), address)
