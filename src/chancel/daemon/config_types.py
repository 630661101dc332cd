"""What a configuration file says, as one immutable value."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from chancel.daemon.offloads import Offload
from chancel.errors import ConfigError
from chancel.protocol.keeper import Mode as Mode  # noqa: PLC0414 - said to be exported
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import Address, Flocks

Network = IPv4Network | IPv6Network

MAX_DATAGRAM_BYTES = 1500
"""The largest packet on the outside interface."""

OVERHEAD_BYTES = 78
"""IPv4 20, UDP 8, traffic header 32, tail 2, tag 16."""

SHROUD_OVERHEAD_BYTES = 49
"""A shroud's header and its end mark (protocol section 12.2.1)."""

IPV6_OVERHEAD_BYTES = 20
"""What an IPv6 header outside is longer than one of IPv4."""

MIN_MTU = 623
"""The size of an offer: a path that carries less can't carry a key exchange."""

MIN_MTU_IPV6 = 1280
"""Below it the kernel has no IPv6 on a device (RFC 8200)."""

FRAME_BYTES = 18
"""What an Ethernet frame with a VLAN tag has before the packet that the device's MTU counts."""

MAX_MTU = MAX_DATAGRAM_BYTES - OVERHEAD_BYTES

LEGACY_MTU = (576, 1500)
"""What release 0.9.20 allows; it never takes its own overhead off."""


class ProfileName(enum.StrEnum):
    """Which wire is spoken; the value is the word in the file."""

    CURRENT = "current"
    LEGACY = "0.9"
    """Release 0.9.20 (protocol section 15)."""


PROCESSES: Mapping[Mode, tuple[str, ...]] = MappingProxyType(
    {
        Mode.TUNNEL: (
            "control",
            "purgatory-rx",
            "purgatory-tx",
            "heaven-rx",
            "bless",
            "heaven-tx",
            "confess",
            "chapel",
        ),
        Mode.PILGRIM: ("control", "purgatory-tx", "heaven-rx", "bless", "pilgrim"),
        Mode.SHRINE: ("control", "purgatory-rx", "heaven-tx", "confess", "shrine"),
    }
)
"""The processes of each mode, in the order in which they start, as ``run X as USER`` names them."""

LITURGY = "liturgy"
"""The mode of a file from which tunnels follow (``config_liturgy``), and the process that asks a
cathedral whom to have one with."""

LITURGY_PROCESSES = (*PROCESSES[Mode.TUNNEL], LITURGY)
"""A liturgy's: all its tunnels share those of the mode."""

KEEPER: Mapping[Mode, str] = MappingProxyType(
    {Mode.TUNNEL: "chapel", Mode.PILGRIM: "pilgrim", Mode.SHRINE: "shrine"}
)
"""The one process of each mode that reads secrets and makes keys."""


class ControlSocket(NamedTuple):
    """The status datagram socket for the reference's tools: its path, and the user who owns it."""

    path: Path
    owner: str


class Place(NamedTuple):
    """Where a cathedral is: a name or an IPv4 address, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def address(self) -> Address | None:
        """The address, where no name has to be looked up."""
        try:
            return Address(str(IPv4Address(self.host)), self.port)
        except ValueError:
            return None


@dataclasses.dataclass(frozen=True, slots=True)
class CathedralConfig:
    """How a tunnel deals with cathedrals, the first of ``places`` first.

    ``secret``, ``cosk`` and ``kek`` are files with 32, 64 and 32 bytes; ``remembrance`` need not
    exist. ``nat_port`` is 0 without NAT detection. With a ``kek`` the tunnel's secret comes as an
    ambry. ``peer_fixed``: no cathedral's word moves the peer's address.
    """

    places: tuple[Place, ...]
    identity: CathedralId
    secret: Path
    cosk: Path
    nat_port: int = 0
    remembrance: Path | None = None
    kek: Path | None = None
    peer_fixed: bool = False

    @property
    def key_files(self) -> tuple[tuple[str, Path, int], ...]:
        """Its secrets: directive, path, bytes."""
        kek = () if self.kek is None else (("kek", self.kek, 32),)
        return (("cathedral_secret", self.secret, 32), ("cathedral_cosk", self.cosk, 64), *kek)


@dataclasses.dataclass(frozen=True, slots=True)
class TunnelConfig:
    """One tunnel, as its file describes it. Everything in it has been checked.

    ``tunnel`` is ``None`` for a TAP device, which has no address; ``tunnel6`` is an IPv6 address
    beside it. ``mtu`` is the tunnel's MTU in bytes, and where discovery starts when
    ``mtu_discovery`` is set. ``peer`` is ``None`` for a peer that is learnt from its first
    authentic packet. ``run_as`` maps a process to its user. ``spi_prefix`` is the upper half of
    every SPI chosen by this side. ``encapsulation`` names the file with the key of release 0.9.20's
    own masking.
    """

    file: str
    instance: str
    descr: str
    secret: Path
    spi_prefix: int
    tunnel: IPv4Interface | None
    mtu: int
    mtu_discovery: bool
    local: Address
    peer: Address | None
    routes: tuple[Network, ...]
    accepts: tuple[Network, ...]
    run_as: Mapping[str, str]
    control: ControlSocket | None
    pidfile: Path | None
    flocks: Flocks
    offloads: Offload
    mode: Mode = Mode.TUNNEL
    tunnel6: IPv6Interface | None = None
    tap: bool = False
    bridge: str | None = None
    tfc: bool = False
    shroud: bool = False
    profile: ProfileName = ProfileName.CURRENT
    encapsulation: Path | None = None
    cathedral: CathedralConfig | None = None
    accelerator: bool = True
    lines: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: MappingProxyType({}), compare=False, repr=False
    )
    """Where each directive stands, for messages: by name, or ``route NET`` and ``run PROCESS``."""

    @property
    def key_files(self) -> tuple[tuple[str, Path, int], ...]:
        """The files with secrets: directive, path, bytes."""
        masking = () if self.encapsulation is None else (("encapsulation", self.encapsulation, 32),)
        client = () if self.cathedral is None else self.cathedral.key_files
        return (("secret", self.secret, 32), *masking, *client)

    @property
    def written_files(self) -> tuple[tuple[str, Path], ...]:
        """The files that the keeper replaces: directive and path."""
        client = self.cathedral
        if client is None:
            return ()
        secret = () if client.kek is None else (("secret", self.secret),)
        if client.remembrance is None:
            return secret
        return (*secret, ("cathedral_remembrance", client.remembrance))

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks of the device's own addresses."""
        return tuple(own.network for own in (self.tunnel, self.tunnel6) if own is not None)

    def device_mtu(self, payload: int) -> int:
        """The device's MTU where the tunnel carries ``payload`` bytes.

        Frames of a TAP device are longer than its MTU: what is found out leaves room for that, a
        number in the file is taken at its word. Below 1280 the kernel would end IPv6 on the device.
        """
        if self.tap and self.mtu_discovery:
            return payload - FRAME_BYTES
        return payload if self.tunnel6 is None else max(payload, MIN_MTU_IPV6)

    def check_cell(self) -> None:
        """Refuse a tunnel that a command can't have to itself. Raises :class:`ConfigError`."""
        if self.tap:
            problem = "an Ethernet brings no address for a command (expected no such line)"
            raise self.refusal("tap", problem)

    def refusal(self, directive: str, problem: str, key: str | None = None) -> ConfigError:
        """An error at the place of ``directive``; ``key`` finds one of several such lines."""
        return ConfigError(
            self.file, self.lines.get(directive if key is None else key), directive, problem
        )

    def place(self, key: str) -> str:
        """``FILE:LINE`` of a directive, or the file alone."""
        return f"{self.file}:{self.lines[key]}" if key in self.lines else self.file
