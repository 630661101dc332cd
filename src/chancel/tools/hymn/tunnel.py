"""What a configuration says about its tunnel, as far as its list, status and name are concerned.

Whether the daemon would take the file is another question, which it answers itself when it is to
start: files of later releases, or of the reference, can be listed and edited all the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from chancel.daemon import config_values as values
from chancel.daemon.config_types import ControlSocket
from chancel.daemon.config_values import Refused
from chancel.errors import ConfigError
from chancel.tools.hymn.document import Document
from chancel.tools.hymn.names import TunnelName
from chancel.wire.types import Address

Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True, slots=True)
class Liturgy:
    """What a liturgy has instead of an address: peers find each other in a group."""

    group: int
    prefix: str
    discoverable: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Cathedral:
    """Where a tunnel is registered; the address as it stands in the file."""

    address: str
    nat_port: int
    flock: int
    flock_dst: int
    identity: int


@dataclasses.dataclass(frozen=True, slots=True)
class Tunnel:
    """One file. ``name`` is ``None`` for a file that isn't called for its devices.

    Routes and accepts are in the order of the file; ``local`` and ``peer`` are ``None`` where the
    file leaves them open. ``control_user`` is whom the process behind ``control`` runs as.
    """

    path: Path
    name: TunnelName | None
    mode: str
    instance: str
    label: str
    tap: bool
    bridge: str | None
    shroud: bool
    local: Address | None
    address: str
    mtu: str
    peer: Address | None
    routes: tuple[str, ...]
    accepts: tuple[str, ...]
    cathedral: Cathedral | None
    liturgy: Liturgy | None
    pidfile: Path | None
    control: ControlSocket | None
    control_user: str

    @property
    def title(self) -> str:
        """What it is called where no label is asked for."""
        return self.path.stem

    @property
    def is_server(self) -> bool:
        """Whether it is no tunnel at all, but a cathedral."""
        return self.mode == "cathedral"

    @property
    def has_peer(self) -> bool:
        """Whether it is a tunnel to somebody."""
        return self.liturgy is None and not self.is_server

    @property
    def has_flock(self) -> bool:
        """Whether it is listed among the tunnels of cathedrals."""
        return self.name is not None and self.name.has_flock

    @classmethod
    def of(cls, document: Document, path: Path) -> Self:
        """Read it; raises :class:`ConfigError`."""
        read = _Reader(document)
        address, _, mtu = read.text("tunnel", "0.0.0.0/0 auto").partition(" ")
        return cls(
            path=path,
            name=TunnelName.of_file(path.stem),
            mode=read.text("mode", "tunnel"),
            instance=read.text("instance", path.stem),
            label=read.text("descr", ""),
            tap=read.text("tap", "no") == "yes",
            bridge=read.text("bridge", "") or None,
            shroud=read.text("shroud", "no") == "yes",
            local=_given(read.value("local", values.address)),
            address=address,
            mtu=mtu.strip(),
            peer=_given(read.value("peer", _peer)),
            routes=tuple(document.values("route")),
            accepts=tuple(document.values("accept")),
            cathedral=_cathedral(read),
            liturgy=_liturgy(read),
            pidfile=read.value("pidfile", Path),
            control=read.value("control", _control),
            control_user=read.user_of("control"),
        )


class _Reader:
    """Values of directives; of several lines the last counts, but for cathedrals."""

    def __init__(self, document: Document) -> None:
        self._file = document.file
        self._last = {each.name: each for each in document.directives()}
        self._runs = [value.split() for value in document.values("run")]
        self.cathedrals = document.values("cathedral")

    def user_of(self, process: str) -> str:
        """Whom the file lets a process run as; root where it doesn't say."""
        users = (words[2] for words in self._runs if len(words) == 3 and words[0] == process)
        return next(users, "root")

    def text(self, name: str, default: str) -> str:
        found = self._last.get(name)
        return default if found is None else found.value

    def value(self, name: str, read: Callable[[str], Value]) -> Value | None:
        found = self._last.get(name)
        if found is None:
            return None
        try:
            return read(found.value)
        except Refused as refused:
            raise ConfigError(self._file, found.line, name, str(refused)) from None

    def number(self, name: str, bits: int) -> int:
        return self.value(name, lambda text: values.hexadecimal(text, bits)) or 0


def _peer(text: str) -> Address | None:
    return None if text == "auto" else values.address(text)


def _given(address: Address | None) -> Address | None:
    """An address that isn't left to the system, or to be learnt."""
    return None if address is None or address.host in {"0.0.0.0", "::"} else address  # noqa: S104


def _control(text: str) -> ControlSocket:
    path, blank, owner = text.rpartition(" ")
    if not blank:
        raise Refused(f"{text!r} is invalid (expected PATH OWNER)")
    return ControlSocket(Path(path.rstrip(" ")), owner)


def _cathedral(read: _Reader) -> Cathedral | None:
    if not read.cathedrals:
        return None
    flock = read.number("cathedral_flock", 64)
    nat_port = read.value("cathedral_nat_port", lambda text: values.decimal(text, 0, 0xFFFF))
    return Cathedral(
        address=read.cathedrals[0],
        nat_port=nat_port or 0,
        flock=flock,
        flock_dst=read.number("cathedral_flock_dst", 64) or flock,
        identity=read.number("cathedral_id", 32),
    )


def _liturgy(read: _Reader) -> Liturgy | None:
    if read.text("mode", "tunnel") != "liturgy":
        return None
    return Liturgy(
        group=read.number("liturgy_group", 16),
        prefix=read.text("liturgy_prefix", "0.0.0.0"),  # noqa: S104 - none
        discoverable=read.text("liturgy_discoverable", "yes") == "yes",
    )
