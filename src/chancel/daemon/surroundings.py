"""What the guardian tells those who talk to cathedrals of the world outside: where these are, and
that the machine is on another network. Groups without a cathedral hear of nothing.
"""

from __future__ import annotations

import logging
import time
from collections import deque

from chancel.daemon.board import MAX_TUNNELS
from chancel.daemon.cathedral_names import CathedralNames
from chancel.daemon.config_types import CathedralConfig
from chancel.daemon.group import Group
from chancel.daemon.logs import RateLimit
from chancel.daemon.loop import Loop
from chancel.daemon.network_watch import NetworkWatch
from chancel.daemon.publish import earliest
from chancel.daemon.sandbox import Plan
from chancel.daemon.sandbox_mode import Sandbox
from chancel.daemon.topology import LOOKUP, ROLE
from chancel.wire.types import Address

TOLD_INTERVAL_S = 60.0
"""Routes may flap without end."""

log = logging.getLogger("chancel.daemon")


class Surroundings:
    """One group's; served by the guardian's loop."""

    def __init__(self, loop: Loop, group: Group, plan: Plan) -> None:
        self._loop = loop
        self._group = group
        program = group.programs.get(LOOKUP) if plan.mode is Sandbox.ON else None
        self._names = CathedralNames(loop, self._tell_addresses, self._is_silent, program=program)
        self._network: NetworkWatch | None = None
        self._devices: dict[int, int] = {}
        self._gone: deque[int] = deque(maxlen=MAX_TUNNELS)
        """Devices of ours that were, of which the kernel may still have something to say."""
        self._told: dict[int, str] = {}
        """Which board says how each fares; its owner is told."""
        self._limit = RateLimit(TOLD_INTERVAL_S)

    def add(
        self,
        tunnel: int,
        cathedral: CathedralConfig | None,
        board: str = ROLE,
        device: int | None = None,
    ) -> None:
        """A tunnel has joined, or a liturgy; the owner of that ``board`` knows it.

        ``device`` is the index of its own, where that is in our network.
        """
        if device is not None:
            self._devices[tunnel] = device
        if cathedral is None:
            return
        if self._network is None:
            self._watch_network()
        self._told[tunnel] = board
        self._names.add(tunnel, cathedral.places, time.monotonic())

    def remove(self, tunnel: int) -> None:
        """One is about to leave."""
        if tunnel in self._devices:
            self._gone.append(self._devices.pop(tunnel))
        self._names.remove(tunnel)
        self._told.pop(tunnel, None)

    def wake_at(self) -> float | None:
        """When :meth:`wake` is due."""
        network_at = None if self._network is None else self._network.wake_at()
        return earliest(self._names.wake_at(), network_at)

    def wake(self, now: float) -> None:
        """Do what is due."""
        self._names.wake(now)
        if self._network is not None:
            self._network.wake(now)

    def close(self) -> None:
        """Stop looking and listening."""
        self._names.close()
        if self._network is not None:
            self._network.close()
            self._network = None

    def _watch_network(self) -> None:
        try:
            self._network = NetworkWatch(self._loop, self._network_changed, self._is_ours)
        except OSError as error:
            log.warning("changes of the network won't be noticed error=%s", error)

    def _is_ours(self, device: int) -> bool:
        return device in self._devices.values() or device in self._gone

    def _network_changed(self) -> None:
        self._limit.log(log, logging.INFO, "network", time.monotonic(), "network changed")
        for board in set(self._told.values()):
            self._tell(board, {"network": "changed"})

    def _tell_addresses(self, tunnel: int, addresses: list[Address]) -> None:
        self._tell(self._told[tunnel], {"tunnel": tunnel, "cathedrals": addresses})

    def _tell(self, board: str, message: dict[str, object]) -> None:
        self._group.order(self._group.topology.boards[board].owner, message)

    def _is_silent(self, tunnel: int) -> bool:
        record = self._group.record(self._told[tunnel], tunnel)
        return record is not None and record.cathedral_silent_at > 0.0
