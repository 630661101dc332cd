"""What the process ``liturgy`` needs to know, as the guardian tells it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from chancel.protocol.cathedral_offers import COSK_BYTES
from chancel.protocol.registration_types import Registrant
from chancel.vault.files import SecretFile
from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.types import Address, FlockId, Flocks

_DEVICE_SHIFT = 8


@dataclasses.dataclass(frozen=True, slots=True)
class LiturgySettings:
    """A liturgy (``config_liturgy.LiturgyConfig``); ``remembrance`` is empty for none.

    ``addresses`` are those of cathedrals that are known from the start; names that have to be
    looked up first are told of later.
    """

    instance: str
    device: int
    group: int
    hidden: bool
    flock: FlockId
    identity: CathedralId
    secret: str
    cosk: str
    addresses: tuple[Address, ...]
    remembrance: str = ""
    shroud: bool = False

    @property
    def registrant(self) -> Registrant:
        """Who we are to cathedrals. No ambries come here, so there is no KEK."""
        return Registrant(
            identity=self.identity,
            flocks=Flocks(self.flock, self.flock),
            tunnel=TunnelId(self.device << _DEVICE_SHIFT),
            secret=SecretFile(Path(self.secret)),
            cosk=SecretFile(Path(self.cosk), COSK_BYTES),
            remember=bool(self.remembrance),
        )

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LiturgySettings:
        """Inverse of :meth:`to_json`."""
        addresses = tuple(Address(*address) for address in data["addresses"])
        return cls(**data | {"addresses": addresses})
