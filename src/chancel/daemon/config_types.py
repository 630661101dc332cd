"""What a configuration file says, as one immutable value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from chancel.errors import ConfigError
from chancel.wire.types import Address, Flocks

MAX_DATAGRAM_BYTES = 1500
"""The largest packet on the outside interface."""

OVERHEAD_BYTES = 78
"""IPv4 20, UDP 8, traffic header 32, tail 2, tag 16."""

MIN_MTU = 623
"""The size of an offer: a path that carries less can't carry a key exchange."""

MAX_MTU = MAX_DATAGRAM_BYTES - OVERHEAD_BYTES

TUNNEL_PROCESSES = (
    "control",
    "purgatory-rx",
    "purgatory-tx",
    "heaven-rx",
    "bless",
    "heaven-tx",
    "confess",
    "chapel",
)
"""The processes of a tunnel that ``run X as USER`` names (their duties: ``chancel.daemon``)."""


class ControlSocket(NamedTuple):
    """The status datagram socket for the reference's tools: its path, and the user who owns it."""

    path: Path
    owner: str


@dataclasses.dataclass(frozen=True, slots=True)
class TunnelConfig:
    """One tunnel, as its file describes it. Everything in it has been checked.

    ``mtu`` is the tunnel's MTU in bytes, and where discovery starts when ``mtu_discovery`` is set.
    ``peer`` is ``None`` for a peer that is learnt from its first authentic packet. ``run_as`` maps
    a process to its user. ``spi_prefix`` is the upper half of every SPI chosen by this side.
    """

    file: str
    instance: str
    descr: str
    secret: Path
    spi_prefix: int
    tunnel: IPv4Interface
    mtu: int
    mtu_discovery: bool
    local: Address
    peer: Address | None
    routes: tuple[IPv4Network, ...]
    accepts: tuple[IPv4Network, ...]
    run_as: Mapping[str, str]
    control: ControlSocket | None
    pidfile: Path | None
    flocks: Flocks
    offload: bool
    lines: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: MappingProxyType({}), compare=False, repr=False
    )
    """Where each directive stands, for messages: by name, or ``route NET`` and ``run PROCESS``."""

    def refusal(self, directive: str, problem: str, key: str | None = None) -> ConfigError:
        """An error at the place of ``directive``; ``key`` finds one of several such lines."""
        return ConfigError(
            self.file, self.lines.get(directive if key is None else key), directive, problem
        )

    def place(self, key: str) -> str:
        """``FILE:LINE`` of a directive, or the file alone."""
        return f"{self.file}:{self.lines[key]}" if key in self.lines else self.file
