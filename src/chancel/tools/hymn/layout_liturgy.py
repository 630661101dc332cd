"""The text of a new liturgy's configuration: line for line what the reference's tool writes."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address
from pathlib import Path

from chancel.tools.hymn.layout import ROOT_PROCESSES, Registrar
from chancel.tools.hymn.names import INSTANCE_FLOCK_CHARS, TunnelName

_USERS_PROCESSES = ("liturgy", "purgatory-rx", "purgatory-tx")


@dataclasses.dataclass(frozen=True, slots=True)
class NewLiturgy:
    """What ``liturgy`` was told; ``name`` has no destination."""

    name: TunnelName
    prefix: IPv4Address
    group: int
    kek: Path
    registrar: Registrar
    user: str
    discoverable: bool = True
    shroud: bool = False
    tap: bool = False
    bridge: str | None = None


def compose(new: NewLiturgy, pidfile: Path) -> str:
    """The file of a new liturgy."""
    return "".join(
        f"{line}\n"
        for line in (
            "# auto generated, do not edit",
            *_head(new, pidfile),
            "",
            *_cathedral(new),
            "",
            "",
            *(f"run {process} as {new.user}" for process in _USERS_PROCESSES),
            "",
            *(f"run {process} as root" for process in ROOT_PROCESSES),
        )
    )


def _head(new: NewLiturgy, pidfile: Path) -> list[str]:
    return [
        "mode liturgy",
        f"spi 0x{new.name.source:02x}",
        f"instance {new.name.flock[:INSTANCE_FLOCK_CHARS]}-liturgy",
        f"pidfile {pidfile}",
        *(["tap yes"] if new.tap else []),
        *([f"bridge {new.bridge}"] if new.bridge is not None else []),
        f"liturgy_prefix {new.prefix}",
        f"liturgy_group 0x{new.group:04x}",
        f"liturgy_discoverable {'yes' if new.discoverable else 'no'}",
        *(["shroud yes"] if new.shroud else []),
        f"kek {new.kek}",
    ]


def _cathedral(new: NewLiturgy) -> list[str]:
    own, _ = new.name.flocks()
    known = new.registrar
    return [
        f"cathedral_id {known.identity:x}",
        f"cathedral_flock {own:x}",
        "cathedral_flock_dst 0",
        f"cathedral_secret {known.secret}",
        f"cathedral_cosk {known.cosk}",
        f"cathedral_nat_port {known.nat_port}",
        f"cathedral {known.cathedral}",
    ]
