"""The directives of a tunnel whose ends find each other through cathedrals (cathedral section 2.1).

As in the sanctum daemon ``spi`` stands before them, because it says which tunnel is meant. Beyond
it ``cathedral`` may be repeated: all of them are used, the first one first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from chancel.daemon import config_values as values
from chancel.daemon.config_lines import quoted
from chancel.daemon.config_types import CathedralConfig, Place
from chancel.daemon.config_values import Refused
from chancel.wire.cathedral_fields import CathedralId
from chancel.wire.types import Address

if TYPE_CHECKING:
    from chancel.daemon.config_directives import Draft

MAX_CATHEDRALS = 32
"""As many as a remembrance has room for."""


@dataclasses.dataclass(slots=True)
class CathedralDraft:
    """What has been read so far. ``nat_port`` also serves a cathedral's own file."""

    places: list[Place] = dataclasses.field(default_factory=list)
    identity: int = 0
    secret: Path | None = None
    cosk: Path | None = None
    nat_port: int = 0
    remembrance: Path | None = None
    kek: Path | None = None
    peer_fixed: bool = False

    def finish(self) -> CathedralConfig:
        """What the lines say together, once :func:`missing` finds nothing."""
        assert self.secret is not None, "was asked for"
        assert self.cosk is not None, "was asked for"
        return CathedralConfig(
            places=tuple(self.places),
            identity=CathedralId(self.identity),
            secret=self.secret,
            cosk=self.cosk,
            nat_port=self.nat_port,
            remembrance=self.remembrance,
            kek=self.kek,
            peer_fixed=self.peer_fixed,
        )


def missing(draft: Draft) -> str | None:
    """The first directive that a tunnel with a cathedral lacks, in the sanctum daemon's order."""
    client = draft.cathedral
    needed = (
        ("cathedral_secret", client.secret),
        ("cathedral_cosk", client.cosk),
        ("cathedral_id", client.identity),
        ("cathedral_flock", draft.flock),
    )
    return next((name for name, value in needed if not value), None)


def _cathedral(draft: Draft, value: str) -> None:
    _needs_spi(draft)
    place = values.place(value)
    if place.address is not None and not is_a_host(place.address):
        raise Refused(f"{quoted(place.host)} is no machine's address (expected one, or a name)")
    first = draft.lines.get(f"cathedral {place}")
    if first is not None:
        raise Refused(f"{place} is named by line {first} already (expected another one)")
    if len(draft.cathedral.places) >= MAX_CATHEDRALS:
        raise Refused(f"one cathedral too many (expected at most {MAX_CATHEDRALS})")
    draft.cathedral.places.append(place)
    draft.lines[f"cathedral {place}"] = draft.line


def _id(draft: Draft, value: str) -> None:
    _needs_spi(draft)
    draft.cathedral.identity = values.hexadecimal(value, 32)
    if not draft.cathedral.identity:
        raise Refused("0 is nobody's (expected a 32-bit hexadecimal number)")


def _secret(draft: Draft, value: str) -> None:
    _needs_spi(draft)
    _once(draft, "cathedral_secret")
    draft.cathedral.secret = Path(value)


def _cosk(draft: Draft, value: str) -> None:
    _needs_spi(draft)
    _once(draft, "cathedral_cosk")
    draft.cathedral.cosk = Path(value)


def _nat_port(draft: Draft, value: str) -> None:
    draft.cathedral.nat_port = values.decimal(value, 0, 0xFFFF)


def _remembrance(draft: Draft, value: str) -> None:
    _once(draft, "cathedral_remembrance")
    draft.cathedral.remembrance = Path(value)


def _kek(draft: Draft, value: str) -> None:
    _once(draft, "kek")
    draft.cathedral.kek = Path(value)


def is_a_host(address: Address) -> bool:
    """Whether a cathedral, which is a machine with an IPv4 address, can be there."""
    host = IPv4Address(address.host)
    return not (host.is_multicast or host.is_unspecified or host.is_reserved)


def _needs_spi(draft: Draft) -> None:
    if not draft.spi_prefix:
        raise Refused("comes before the tunnel's number (expected spi HEX on a line above)")


def _once(draft: Draft, name: str) -> None:
    if name in draft.lines:
        raise Refused(f"already set on line {draft.lines[name]} (expected once)")


DIRECTIVES: dict[str, Callable[[Draft, str], None]] = {
    "cathedral": _cathedral,
    "cathedral_id": _id,
    "cathedral_secret": _secret,
    "cathedral_cosk": _cosk,
    "cathedral_nat_port": _nat_port,
    "cathedral_remembrance": _remembrance,
    "kek": _kek,
}
