"""The directives of a configuration file: what each one accepts and what it sets.

A directive whose function comes with a later release is known and refused as "not yet supported";
nothing is ever ignored. ``docs/configuration.md`` describes them for users.
"""

from __future__ import annotations

import dataclasses
import difflib
import pwd
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from chancel.daemon import config_values as values
from chancel.daemon.config_lines import quoted
from chancel.daemon.config_types import (
    MAX_MTU,
    MIN_MTU,
    OVERHEAD_BYTES,
    TUNNEL_PROCESSES,
    ControlSocket,
)
from chancel.daemon.config_values import Refused
from chancel.wire.types import Address

MAX_INSTANCE_CHARS = 15
"""The instance names the network device, and the kernel allows no more."""

MAX_SOCKET_PATH_BYTES = 107
"""What ``struct sockaddr_un`` holds."""

ANY = Address("0.0.0.0", 0)  # noqa: S104 - the meaning of no `local` line

LATER_MODES = ("pilgrim", "shrine", "cathedral", "liturgy")

PROCESSES = (*TUNNEL_PROCESSES, *LATER_MODES, "bishop")


@dataclasses.dataclass(slots=True)
class Draft:
    """What has been read of a file so far, up to and including ``line``.

    ``lines`` remembers where each directive stands (see :class:`TunnelConfig`).
    """

    instance: str | None = None
    descr: str = ""
    secret: Path | None = None
    spi_prefix: int = 0
    tunnel: IPv4Interface | None = None
    mtu: int = MAX_MTU
    mtu_discovery: bool = True
    local: Address = ANY
    peer: Address | None = None
    routes: list[IPv4Network] = dataclasses.field(default_factory=list)
    accepts: list[IPv4Network] = dataclasses.field(default_factory=list)
    run_as: dict[str, str] = dataclasses.field(default_factory=dict)
    control: ControlSocket | None = None
    pidfile: Path | None = None
    flock: int = 0
    flock_dst: int | None = None
    offload: bool = True
    line: int = 0
    lines: dict[str, int] = dataclasses.field(default_factory=dict)


def apply(draft: Draft, name: str, value: str) -> None:
    """Let one directive change the draft; raises :class:`Refused`. Names are case sensitive."""
    _DIRECTIVES[name](draft, value)
    draft.lines[name] = draft.line


def unknown(name: str) -> str | None:
    """``None`` for a known directive, else a sentence that suggests the nearest one."""
    if name in _DIRECTIVES:
        return None
    near = difflib.get_close_matches(name[:64], _DIRECTIVES, n=1)
    remedy = f"expected {near[0]}?" if near else "expected a directive of a tunnel's file"
    return f"unknown directive {quoted(name)} ({remedy})"


def _later(_draft: Draft, _value: str) -> None:
    raise Refused("not yet supported (expected no such line in this release)")


def _only(yes: str, no: str) -> Callable[[Draft, str], None]:
    def directive(_draft: Draft, value: str) -> None:
        if values.choice(value, yes, no):
            raise Refused(f"{quoted(yes)} is not yet supported (expected {no})")

    return directive


def _mode(_draft: Draft, value: str) -> None:
    if value in LATER_MODES:
        raise Refused(f"{quoted(value)} is not yet supported (expected tunnel)")
    if value not in {"tunnel", "default"}:
        raise Refused(f"{quoted(value)} is unknown (expected tunnel)")


def _instance(draft: Draft, value: str) -> None:
    draft.instance = values.word(value, MAX_INSTANCE_CHARS, "instance name")


def _descr(draft: Draft, value: str) -> None:
    draft.descr = values.word(value, values.MAX_WORD_CHARS, "description")


def _secret(draft: Draft, value: str) -> None:
    if draft.secret is not None:
        raise Refused(f"already set on line {draft.lines['secret']} (expected once)")
    draft.secret = Path(value)


def _pidfile(draft: Draft, value: str) -> None:
    if draft.pidfile is not None:
        raise Refused(f"already set on line {draft.lines['pidfile']} (expected once)")
    draft.pidfile = Path(value)


def _spi(draft: Draft, value: str) -> None:
    draft.spi_prefix = values.hexadecimal(value, 16)


def _tunnel(draft: Draft, value: str) -> None:
    where, blank, size = value.partition(" ")
    size = size.strip(" ")
    if not blank:
        raise Refused(f"{quoted(value)} has no MTU (expected ip/length MTU, or ip/length auto)")
    draft.tunnel = values.interface(where)
    draft.mtu_discovery = size == "auto"
    if draft.mtu_discovery:
        draft.mtu = MAX_MTU
        return
    try:
        draft.mtu = values.decimal(size, MIN_MTU, MAX_MTU)
    except Refused:
        raise Refused(
            f"MTU {quoted(size)} is out of range"
            f" (expected {MIN_MTU} to {MAX_MTU}, as a packet costs {OVERHEAD_BYTES} bytes, or auto)"
        ) from None


def _local(draft: Draft, value: str) -> None:
    draft.local = values.address(value)


def _peer(draft: Draft, value: str) -> None:
    draft.peer = None
    if value == "auto":
        return
    peer = values.address(value)
    if peer.host == ANY.host:
        return
    if peer.port == 0:
        raise Refused(f"{quoted(value)} has port 0 (expected ip:port, or auto)")
    draft.peer = peer


def _route(draft: Draft, value: str) -> None:
    network = values.network(value, strict=True)
    first = draft.lines.get(f"route {network}")
    if first is not None:
        raise Refused(f"{network} is already routed by line {first} (expected once)")
    draft.routes.append(network)
    draft.lines[f"route {network}"] = draft.line


def _accept(draft: Draft, value: str) -> None:
    network = values.network(value, strict=False)
    if network not in draft.accepts:
        draft.accepts.append(network)


def _run(draft: Draft, value: str) -> None:
    match value.split():
        case [process, "as", user]:
            pass
        case _:
            raise Refused(f"{quoted(value)} is invalid (expected PROCESS as USER)")
    if process not in PROCESSES:
        raise Refused(f"process {quoted(process)} is unknown (expected {', '.join(PROCESSES)})")
    if len(user) > values.MAX_WORD_CHARS:
        limit = values.MAX_WORD_CHARS
        raise Refused(f"user {quoted(user)} is too long (expected at most {limit} characters)")
    if process in draft.run_as:
        raise Refused(f"the user of {process} is already set (expected once)")
    draft.run_as[process] = user
    draft.lines[f"run {process}"] = draft.line


def _control(draft: Draft, value: str) -> None:
    path, blank, owner = value.rpartition(" ")
    path = path.rstrip(" ")
    if not blank:
        raise Refused(f"{quoted(value)} is invalid (expected PATH OWNER)")
    if len(path.encode(errors="surrogatepass")) > MAX_SOCKET_PATH_BYTES:
        raise Refused(f"the path is too long (expected at most {MAX_SOCKET_PATH_BYTES} bytes)")
    if not user_exists(owner):
        raise Refused(f"user {quoted(owner)} does not exist (expected the name of a user)")
    draft.control = ControlSocket(Path(path), owner)


def _flock(draft: Draft, value: str) -> None:
    draft.flock = values.hexadecimal(value, 64)


def _flock_dst(draft: Draft, value: str) -> None:
    draft.flock_dst = values.hexadecimal(value, 64)


def _offload(draft: Draft, value: str) -> None:
    draft.offload = values.choice(value, "on", "off")


def user_exists(name: str) -> bool:
    """Whether the machine knows a user of that name."""
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    return True


_DIRECTIVES: dict[str, Callable[[Draft, str], None]] = {
    "mode": _mode,
    "instance": _instance,
    "descr": _descr,
    "secret": _secret,
    "kek": _later,
    "spi": _spi,
    "tunnel": _tunnel,
    "tap": _only("yes", "no"),
    "bridge": _later,
    "tfc": _only("on", "off"),
    "shroud": _only("yes", "no"),
    "local": _local,
    "peer": _peer,
    "route": _route,
    "accept": _accept,
    "run": _run,
    "control": _control,
    "pidfile": _pidfile,
    "cathedral": _later,
    "cathedral_id": _later,
    "cathedral_flock": _flock,
    "cathedral_flock_dst": _flock_dst,
    "cathedral_secret": _later,
    "cathedral_cosk": _later,
    "cathedral_remembrance": _later,
    "cathedral_nat_port": _later,
    "cathedral_ip": _later,
    "cathedral_mtu": _later,
    "cathedral_p2p_sync": _later,
    "secretdir": _later,
    "settings": _later,
    "liturgy_group": _later,
    "liturgy_prefix": _later,
    "liturgy_discoverable": _later,
    # Chancel's own; the sanctum daemon refuses a file that has them.
    "offload": _offload,
    "profile": _later,
}
