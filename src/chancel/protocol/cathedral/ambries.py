"""Handing out ambries: the secrets of tunnels, wrapped, of which nobody here can open one.

An end gets its own with the answer to an info, as long as it says that it has another (cathedral
section 8.4). It asks every five seconds, so whoever loses that answer would wait for ten. So once a
new bundle is in force the ends that are registered here are sent theirs unasked as well, in a few
rounds, each for those who have not said by then that they have it. A client takes an ambry whenever
one comes.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from typing import Final

from chancel.errors import RemoteProtocolError
from chancel.protocol.cathedral.outbox import Client, Outbox
from chancel.protocol.cathedral.permits import Permits, without_domain
from chancel.protocol.cathedral.requests import Requests
from chancel.protocol.cathedral.tunnels import Tunnel, Tunnels
from chancel.wire.ambry_offer import AmbryBody
from chancel.wire.cathedral_fields import TunnelId

ROUNDS: Final = 4
ROUND_S: Final = 1.75
"""From one round to the next: the last begins 5.25 s after the bundle came into force, when all who
can have asked. With 5% of all datagrams lost one end in 10^5 has missed all rounds, and its answer.
"""

STEP_S: Final = 0.05
MOST_IN_STEP: Final = 64
"""Sent at once: in a round all ends of four flocks in which one device has a tunnel to each of the
254 others. Of a larger cathedral some ask before their turn comes, which they do anyway."""


class Ambries:
    """What is handed out, asked or not."""

    def __init__(
        self, permits: Permits, tunnels: Tunnels, requests: Requests, outbox: Outbox
    ) -> None:
        self._permits = permits
        self._tunnels = tunnels
        self._requests = requests
        self._outbox = outbox
        self._queue: deque[bytes] = deque()
        self._rounds = 0
        self._round_at = self._step_at = math.inf

    def spread(self, now: float) -> None:
        """Bundles have come into force: see to it that they reach everybody soon."""
        self._rounds = ROUNDS
        self._round_at = now

    def wake_at(self) -> float:
        """When to be woken: infinity while there is nothing to send."""
        return min(self._round_at, self._step_at)

    def wake(self, now: float, wall: float) -> None:
        """Send some of what is to be sent unasked."""
        if now >= self._round_at:
            self._rounds -= 1
            self._round_at = now + ROUND_S if self._rounds else math.inf
            self._queue = deque(end.key for end in self._tunnels if self._lacks(end))
            self._step_at = now
        if now < self._step_at:
            return
        for _ in range(min(MOST_IN_STEP, len(self._queue))):
            tunnel = self._tunnels.find(self._queue.popleft())
            if tunnel is not None and self._lacks(tunnel):
                self._push(tunnel, now, wall)
        self._step_at = now + STEP_S if self._queue else math.inf

    def hand_out(
        self, tunnel: TunnelId, generation: int, client: Client, now: float, wall: float
    ) -> None:
        """Send a client the secret of its end, wrapped, unless it has that of this generation.

        Raises ``RemoteProtocolError`` as :meth:`Outbox.answer`.
        """
        bundle = self._permits.bundle(client.flocks)
        if bundle is None or generation == bundle.header.generation:
            return
        wrapped = bundle.wrapped(without_domain(client.flocks.own), tunnel)
        if wrapped is not None:
            self._outbox.answer(client, AmbryBody(tunnel, bundle.header, wrapped), now, wall)

    def _lacks(self, tunnel: Tunnel) -> bool:
        """Whether its client is here, wants ambries, and has not said that it has this one."""
        if tunnel.federated or tunnel.generation is None:
            return False
        bundle = self._permits.bundle(tunnel.flocks)
        return bundle is not None and tunnel.generation != bundle.header.generation

    def _push(self, tunnel: Tunnel, now: float, wall: float) -> None:
        assert tunnel.generation is not None
        with contextlib.suppress(RemoteProtocolError):  # its keys can't be read: told when it asks
            client = self._requests.client(tunnel)
            self.hand_out(tunnel.id, tunnel.generation, client, now, wall)
