"""A device of a parish: one machine with a session for each of its tunnels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from chancel.protocol.registration_events import AmbryAdopted
from chancel.protocol.session_types import SessionEvent
from chancel.sim.ledger import Ledger
from chancel.sim.meeting import Disk
from chancel.sim.models import LinkModel
from chancel.sim.network import Realm
from chancel.sim.node import Node
from chancel.sim.parish_plan import Resident
from chancel.sim.scenario_events import Teller, Word
from chancel.wire.types import Address

Told = Callable[["TunnelEnd", SessionEvent, Word | None], None]


class TunnelEnd(Node):
    """One end of one tunnel, at a port of its own; ``told`` hears each event with its word."""

    def __init__(self, *machine: Any, own: int, peer: int, disk: Disk, told: Told, **more: Any):
        super().__init__(*machine, **more)
        self.own, self.peer, self.disk = own, peer, disk
        self.teller = Teller()
        self.generation = 0
        """Of the ambry whose secret it holds."""
        self._told = told

    @property
    def ledger(self) -> Ledger:
        """That of its tunnel."""
        return self._ledger

    def move(self, address: Address, realm: Realm, uplink: LinkModel) -> None:
        """Be at another place, and notice."""
        self._host.uplink = uplink
        self._network.move(self._host, address, realm)
        if self.session is not None and not self.asleep:
            self.session.network_changed(self.clock.monotonic())
            self._pump(self.session)

    def recall(self) -> None:
        """Begin the next life with the cathedrals that the disk remembers."""
        cathedral = self.settings.cathedral
        assert cathedral is not None, "see Parish"
        cathedral = dataclasses.replace(cathedral, remembered=self.disk.remembered)
        self.settings = dataclasses.replace(self.settings, cathedral=cathedral)

    def _happened(self, event: SessionEvent) -> None:
        super()._happened(event)
        if isinstance(event, AmbryAdopted):
            self.generation = event.generation
        self._told(self, event, self.teller.take(event))


class Device:
    """A machine of a parish, with power from :meth:`start` to :meth:`stop`, again and again."""

    def __init__(self, resident: Resident) -> None:
        self.resident = resident
        self.place = resident.place
        self.ends: list[TunnelEnd] = []
        self.on = False
        self.on_at = 0.0
        """When it last got power, or came to a place."""

    @property
    def asleep(self) -> bool:
        """Whether it is suspended."""
        return any(end.asleep for end in self.ends)

    def start(self, now: float) -> None:
        """Power on, with what the disk has."""
        self.on, self.on_at = True, now
        for end in self.ends:
            end.recall()
            end.start()

    def stop(self) -> list[TunnelEnd]:
        """Power off, without a word to anybody; the ends that were up."""
        self.on = False
        lost = [end for end in self.ends if end.teller.end() is not None]
        for end in self.ends:
            end.stop()
            end.teller = Teller()
        return lost

    def suspend(self, seconds: float) -> None:
        """Sleep for so long."""
        for end in self.ends:
            end.suspend(seconds)
