"""What a session is told, and what it tells of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from chancel.errors import LocalProtocolError
from chancel.protocol.behaviour import CHANCEL, Behaviour
from chancel.protocol.events import Event
from chancel.protocol.keeper import Mode
from chancel.protocol.profile import CURRENT, Profile
from chancel.protocol.registration_events import RegistrationEvent
from chancel.protocol.registration_types import Registrant
from chancel.protocol.states import State
from chancel.vault.ambries import NO_AMBRIES, AmbryHistory
from chancel.vault.secret import Secret
from chancel.wire.drop import Drop
from chancel.wire.types import NO_FLOCKS, Address, Flocks


@dataclasses.dataclass(frozen=True, slots=True)
class CathedralSettings:
    """Cathedrals to find the peer by, and who we are to them.

    ``cathedrals`` are those of the configuration, in its order: none until their names are
    resolved. ``remembered`` are those of the file of remembrance, ``known_peers`` addresses that
    the peer had lately, the newest first (:meth:`Session.known_peers`).

    ``keep_secret`` is called with each shared secret that an ambry brought, before it is used;
    before that ``keep_ambries`` with the file (``vault.ambries``) from which the next session gets
    ``ambries``; and ``keep_remembrance`` with the 192 bytes of its file. Each raises ``VaultError``
    where that can't be. Without them nothing outlives the session.
    """

    registrant: Registrant
    cathedrals: tuple[Address, ...] = ()
    remembered: tuple[Address, ...] = ()
    known_peers: tuple[Address, ...] = ()
    ambries: AmbryHistory = NO_AMBRIES
    keep_secret: Callable[[Secret], None] | None = None
    keep_ambries: Callable[[bytes], None] | None = None
    keep_remembrance: Callable[[bytes], None] | None = None


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

    With a ``cathedral`` the flocks and the SPI prefix are those of its registrant, and ``peer`` is
    left out unless it is fixed: it is never replaced by what a cathedral says.
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
    cathedral: CathedralSettings | None = None

    @property
    def masked(self) -> bool:
        """Whether there is a mask on every datagram."""
        return self.shroud or self.encapsulation is not None

    def settled(self) -> SessionSettings:
        """The same with what follows from it.

        Raises ``LocalProtocolError`` for what can't be together with a cathedral.
        """
        if self.cathedral is None:
            return self
        if self.mode is not Mode.TUNNEL or self.profile is not CURRENT:
            raise LocalProtocolError(
                "a cathedral is for tunnels in both directions in the current version: leave it,"
                " or the mode and the version, out"
            )
        if self.encapsulation is not None:
            raise LocalProtocolError("towards a cathedral there is shroud, no encapsulation")
        if self.mtu < self.profile.mtu_minimum:
            raise LocalProtocolError(
                f"with a cathedral an MTU has {self.profile.mtu_minimum} bytes at least, as paths"
                f" are probed with packets of that size: {self.mtu} is too small"
            )
        registrant = self.cathedral.registrant
        return dataclasses.replace(self, flocks=registrant.flocks, spi_prefix=registrant.tunnel)


@dataclasses.dataclass(frozen=True, slots=True)
class CathedralStatus:
    """A snapshot for people of what there is beside the peer."""

    cathedral: Address | None
    """The current one; ``None`` while no address of any is known."""
    silent_s: float | None
    """For how long it is silent; ``None`` while it answers. One that nothing is asked of (no ambry,
    no remembrance) may be silent as long as the peer isn't registered."""
    direct: bool
    """Whether traffic goes to the peer itself, not through the cathedral."""
    candidate: Address | None
    """The peer's address that is tried while traffic is relayed."""
    generation: int
    """Of the ambry that the shared secret came in; 0: it came in none since the start."""
    clock_skew_s: float | None
    """The cathedral's wall clock minus ours; positive means that ours is behind."""


@dataclasses.dataclass(frozen=True, slots=True)
class RemembranceNotKept:
    """The list of cathedrals could not be written; ``problem`` is a sentence for people."""

    problem: str


SessionEvent = Event | RegistrationEvent | RemembranceNotKept


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
    cathedral: CathedralStatus | None = None
    """``None`` for a tunnel without cathedrals."""
