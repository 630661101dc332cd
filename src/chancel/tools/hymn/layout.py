"""The text of a new configuration: line for line what the reference's tool writes."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Interface
from pathlib import Path

from chancel.tools.hymn.names import TunnelName
from chancel.wire.types import Address

NO_ADDRESS = IPv4Interface("0.0.0.0/0")
"""Written for a TAP device, which has none."""

ANYWHERE = Address("0.0.0.0", 0)  # noqa: S104 - the system picks

_PACKET_PROCESSES = ("heaven-rx", "heaven-tx", "purgatory-rx", "purgatory-tx")
ROOT_PROCESSES = ("bishop", "bless", "confess", "chapel", "shrine", "pilgrim", "cathedral")


@dataclasses.dataclass(frozen=True, slots=True)
class Registrar:
    """How a new tunnel is known to a cathedral, which is a ``HOST:PORT``."""

    cathedral: str
    identity: int
    secret: Path
    cosk: Path
    nat_port: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class NewTunnel:
    """What ``add`` was told. ``mtu`` ``None`` has it found out; ``user`` is of the processes that
    move packets. Of ``secret``, a file for what is unwrapped where there is a ``kek``.
    """

    name: TunnelName
    address: IPv4Interface
    secret: Path
    user: str
    mtu: int | None = None
    kek: Path | None = None
    label: str | None = None
    local: Address = ANYWHERE
    peer: Address | None = None
    registrar: Registrar | None = None
    shroud: bool = False
    tap: bool = False
    bridge: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Sockets:
    """Where a tunnel has its pid file and its status socket, and who owns the latter."""

    pidfile: Path
    control: Path
    owner: str


def compose(new: NewTunnel, sockets: Sockets) -> str:
    """The file of a new tunnel."""
    return "".join(
        f"{line}\n"
        for line in (
            "# auto generated, do not edit",
            *_head(new, sockets),
            "",
            f"local {new.local}",
            *_ways(new),
            "",
            *_users(new.user, sockets),
        )
    )


def _head(new: NewTunnel, sockets: Sockets) -> list[str]:
    lines = [f"spi {new.name.tunnel_id:04x}"] if new.registrar else []
    lines += [f"instance {new.name.instance}", f"pidfile {sockets.pidfile}"]
    if new.tap:
        lines.append("tap yes")
    if new.bridge is not None:
        lines.append(f"bridge {new.bridge}")
    lines.append(f"tunnel {new.address} {'auto' if new.mtu is None else new.mtu}")
    if new.shroud:
        lines.append("shroud yes")
    if new.kek is not None:
        lines.append(f"kek {new.kek}")
    lines.append(f"secret {new.secret}")
    if new.label is not None:
        lines.append(f"descr {new.label}")
    return lines


def _ways(new: NewTunnel) -> list[str]:
    """To the peer; each group ends with a blank line."""
    lines = []
    if new.registrar is not None:
        own, peer = new.name.flocks()
        lines += [f"cathedral_id {new.registrar.identity:x}", f"cathedral_flock {own:x}"]
        if peer != own:
            lines.append(f"cathedral_flock_dst {peer:x}")
        lines += [
            f"cathedral_secret {new.registrar.secret}",
            f"cathedral_cosk {new.registrar.cosk}",
            f"cathedral_nat_port {new.registrar.nat_port}",
            f"cathedral {new.registrar.cathedral}",
            "",
        ]
    if new.peer is not None:
        lines += [f"peer {new.peer}", ""]
    return lines


def _users(user: str, sockets: Sockets) -> list[str]:
    return [
        *(f"run {process} as {user}" for process in _PACKET_PROCESSES),
        "",
        "run control as root",
        f"control {sockets.control} {sockets.owner}",
        "",
        *(f"run {process} as root" for process in ROOT_PROCESSES),
    ]
