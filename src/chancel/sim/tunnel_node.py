"""A machine that runs a program with a tunnel of the library, in an event loop of its own."""

from __future__ import annotations

import asyncio
from collections import Counter

from chancel.errors import LocalProtocolError
from chancel.protocol.session import CathedralSettings, SessionStatus
from chancel.sim.host_loop import host_loop
from chancel.sim.machine import Machine
from chancel.sim.port import SimulatedPort
from chancel.sim.watched import WatchedSuite
from chancel.tunnel import Cathedrals, Down, Refused, Tunnel, Up
from chancel.wire.drop import Drop
from chancel.wire.types import Address


class TunnelNode(Machine):
    """A machine with a :class:`~chancel.tunnel.Tunnel`, ``None`` without power.

    Of the tunnel's events those of the protocol go into the trace, and the tunnel's own into
    ``told``: so the trace is that of a session, or of a daemon.
    """

    tunnel: Tunnel | None = None
    told: list[Up | Down | Refused]

    def status(self) -> SessionStatus | None:
        """What the tunnel's session knows at this moment."""
        return None if self.tunnel is None else self._loop.run(self.tunnel.status).session

    def _power_on(self, suite: WatchedSuite) -> None:
        self.told = []
        self._loop = host_loop(self._network.clock, self.clock)
        self._port = SimulatedPort(self._host.address, self._transmit)
        settings = self.settings
        self.tunnel = Tunnel(
            self._port,
            self._secret,
            settings.peer,
            cathedral=None if settings.cathedral is None else _cathedrals(settings.cathedral),
            mtu_discovery=settings.mtu_discovery,
            flocks=settings.flocks,
            shroud=settings.shroud,
            profile=settings.profile,
            behaviour=settings.behaviour,
            suite=suite,
            wall=self.clock.wall,
        )
        self._loop.start(self._serve(self.tunnel))

    def _power_off(self) -> Counter[Drop]:
        """Close the tunnel, which tells nobody: to the peer it is as if the power had failed."""
        tunnel, self.tunnel = self.tunnel, None
        if tunnel is None:
            return Counter()
        self._loop.run(tunnel.close)
        return tunnel.drops

    def _receive(self, datagram: bytes, source: Address) -> None:
        self._loop.run(lambda: self._port.inbox.put((datagram, source)))

    def _send(self, payload: bytes) -> bool:
        """A program that would rather lose a packet than wait for a key."""
        if self.tunnel is None or not self.tunnel.is_up:
            return False
        sending = self._loop.start(self.tunnel.send(payload))
        if not sending.done():
            self._loop.run(sending.cancel)
        return not sending.cancelled()

    def _resume(self) -> None:
        self._loop.resume()

    def suspend(self, seconds: float) -> None:
        """Sleep: nothing is received, no timer runs, the monotonic clock stands still."""
        super().suspend(seconds)
        if self.tunnel is not None:
            self._loop.suspend()

    async def _serve(self, tunnel: Tunnel) -> None:
        async with tunnel, asyncio.TaskGroup() as readers:
            readers.create_task(self._listen(tunnel))
            readers.create_task(self._read(tunnel))
        if tunnel is self.tunnel:
            raise LocalProtocolError(f"{self.name}'s tunnel ended: {tunnel.status().problem}")

    async def _listen(self, tunnel: Tunnel) -> None:
        async for event in tunnel.events():
            if isinstance(event, Up | Down | Refused):
                self.told.append(event)
            else:
                self._happened(event)

    async def _read(self, tunnel: Tunnel) -> None:
        async for payload in tunnel:
            self._received(payload)


def _cathedrals(settings: CathedralSettings) -> Cathedrals:
    """The same as a program gives it; there are no files in a simulation."""
    registrant = settings.registrant
    return Cathedrals(
        addresses=tuple(map(str, settings.cathedrals)),
        identity=registrant.identity,
        flock=registrant.flocks.own,
        peer_flock=registrant.flocks.peer,
        tunnel=registrant.tunnel,
        secret=registrant.secret,
        cosk=registrant.cosk,
        kek=registrant.kek,
        nat_port=registrant.nat_port,
        known_peers=settings.known_peers,
    )
