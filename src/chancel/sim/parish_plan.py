"""Who lives in a parish: cathedrals, devices, and who has a tunnel with whom."""

from __future__ import annotations

import dataclasses
from typing import Final

from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.sim.models import LinkModel
from chancel.wire.types import FlockId

FIRST_FLOCK: Final = 0xCAFE_0000
FLOCK_STEP: Final = 0x100
"""The lowest 8 bits of a flock are its domain."""

MAX_FLOCK: Final = 254
"""Devices in a flock: what a liturgy knows, and a bundle has secrets for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hall:
    """A cathedral, by its name."""

    name: str
    link: LinkModel


@dataclasses.dataclass(frozen=True, slots=True)
class Resident:
    """A device: ``number`` (1 to 254) in ``flock``, at a place of ``PLACES``. ``halls`` are the
    cathedrals of its configuration in their order, counted from 0; ``on``: it has power at first.
    """

    name: str
    flock: int
    number: int
    place: str
    halls: tuple[int, ...]
    link: LinkModel
    behaviour: Behaviour = CHANCEL
    on: bool = True

    @property
    def flock_id(self) -> FlockId:
        """Its flock, without domain."""
        return FlockId(FIRST_FLOCK + FLOCK_STEP * self.flock)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """A whole parish: its cathedrals are federated with each other, and with no others.

    ``tunnels`` name residents of one flock, by their places in ``residents``. Equal plans give
    equal runs. With ``ambry`` all secrets come from the cathedrals.
    """

    seed: int
    halls: tuple[Hall, ...]
    residents: tuple[Resident, ...]
    tunnels: tuple[tuple[int, int], ...]
    shroud: bool = False
    ambry: bool = False
