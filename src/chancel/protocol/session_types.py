"""What a session is told, and what it tells of itself."""

from __future__ import annotations

import dataclasses

from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.keeper import Mode
from chancel.protocol.profile import CURRENT, Profile
from chancel.protocol.states import State
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.types import NO_FLOCKS, Address, Flocks


@dataclasses.dataclass(frozen=True, slots=True)
class SessionSettings:
    """What a tunnel end is configured with.

    ``peer`` is the initial address, or ``None`` (``peer auto``) to wait for the peer. ``mtu`` is
    the largest inner packet in bytes, or the largest allowed one where ``mtu_discovery`` is on.
    ``spi_prefix`` (16 bit), unless 0, heads every SPI that we choose. A pilgrim (one-way sender)
    needs a ``peer``; it and a shrine (one-way receiver) have a fixed MTU.

    ``shroud`` masks every datagram, as does ``encapsulation`` with a key of its own (32 bytes), the
    mask of release 0.9.20; ``tfc`` gives all of them one size and needs a fixed MTU. The peer needs
    the same of each.
    """

    peer: Address | None
    mtu: int = CURRENT.mtu_maximum
    mtu_discovery: bool = False
    flocks: Flocks = NO_FLOCKS
    spi_prefix: int = 0
    profile: Profile = CURRENT
    behaviour: Behaviour = CHANCEL
    mode: Mode = Mode.TUNNEL
    shroud: bool = False
    tfc: bool = False
    encapsulation: Secret | None = None

    @property
    def masked(self) -> bool:
        """Whether there is a mask on every datagram."""
        return self.shroud or self.encapsulation is not None


@dataclasses.dataclass(frozen=True, slots=True)
class SessionStatus:
    """A snapshot for people. SPIs are 0 and ages ``None`` without a key; seconds throughout."""

    peer: Address | None
    exchange: State
    send_spi: int
    send_age_s: float | None
    send_packets: int
    receive_spi: int
    receive_age_s: float | None
    receive_packets: int
    alive_age_s: float | None
    """Since the last authentic packet."""
    heartbeat_age_s: float | None
    """Since the peer's last heartbeat."""
    mtu: int
    clock_skew_s: float | None
    """The peer's wall clock minus ours; positive means that ours is behind."""
    drops: dict[Drop, int]
