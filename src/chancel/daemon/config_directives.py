"""The directives of a configuration file: what each one accepts and what it sets.

Those of cathedrals and of liturgies are known and refused here; nothing is ever ignored.
``docs/configuration.md`` describes them for users.
"""

from __future__ import annotations

import dataclasses
import pwd
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import TypeVar

from chancel.daemon import config_cathedral
from chancel.daemon import config_values as values
from chancel.daemon.config_cathedral import CathedralDraft
from chancel.daemon.config_lines import quoted
from chancel.daemon.config_types import (
    LITURGY,
    PROCESSES,
    ControlSocket,
    Mode,
    Network,
    ProfileName,
)
from chancel.daemon.config_values import Refused
from chancel.daemon.offloads import ALL, SWITCHES, Offload, switched
from chancel.wire.types import Address

MAX_INSTANCE_CHARS = 15
"""The instance names the network device, and the kernel allows no more."""

MAX_SOCKET_PATH_BYTES = 107
"""What ``struct sockaddr_un`` holds."""

ANY = Address("0.0.0.0", 0)  # noqa: S104 - the meaning of no `local` line
ANY6 = Address("::", 0)
"""The meaning of no ``local`` line where the peer has an IPv6 address."""

E = TypeVar("E", Mode, ProfileName)

MAX_INTERFACE_CHARS = 15
"""Of the name of a bridge, as of any network interface."""

MTU_RANGE = (576, 1522)
"""Of a number in a ``tunnel`` line; what the other lines leave of it is checked after the last."""

MAX_NETWORKS = 512
"""Of each kind. Every inner packet is compared with all of them, until its addresses are known, and
the processes are told of them in one message."""

CATHEDRAL = "cathedral"
"""The mode, and the process, of files that ``chancel.cathedrald`` reads."""

ALL_PROCESSES = (
    *dict.fromkeys(process for mode in Mode for process in PROCESSES[mode]),
    CATHEDRAL,
    LITURGY,
    "bishop",
)
"""Whatever a ``run`` line may name; those that a mode doesn't start are ignored."""


@dataclasses.dataclass(slots=True)
class Draft:
    """What has been read of a file so far, up to and including ``line``.

    ``mtu`` is ``None`` for ``auto``. ``lines`` remembers where each directive stands (see
    :class:`TunnelConfig`). ``switches`` are the names that an ``offload`` line may have.
    """

    instance: str | None = None
    descr: str = ""
    secret: Path | None = None
    spi_prefix: int = 0
    mode: Mode = Mode.TUNNEL
    tunnel: IPv4Interface | None = None
    tunnel6: IPv6Interface | None = None
    mtu: int | None = None
    tap: bool = False
    bridge: str | None = None
    tfc: bool = False
    shroud: bool = False
    profile: ProfileName = ProfileName.CURRENT
    encapsulation: Path | None = None
    local: Address = ANY
    peer: Address | None = None
    routes: list[Network] = dataclasses.field(default_factory=list)
    accepts: list[Network] = dataclasses.field(default_factory=list)
    run_as: dict[str, str] = dataclasses.field(default_factory=dict)
    control: ControlSocket | None = None
    pidfile: Path | None = None
    flock: int = 0
    flock_dst: int | None = None
    offloads: Offload = ALL
    switches: tuple[str, ...] = tuple(SWITCHES)
    accelerator: bool = True
    cathedral: CathedralDraft = dataclasses.field(default_factory=CathedralDraft)
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
    import difflib  # takes memory in all processes; wanted by a person who mistyped alone

    near = difflib.get_close_matches(name[:64], _DIRECTIVES, n=1)
    remedy = f"expected {near[0]}?" if near else "expected a directive of a tunnel's file"
    return f"unknown directive {quoted(name)} ({remedy})"


def _for_cathedrals(_draft: Draft, _value: str) -> None:
    raise Refused("is for cathedrals (expected a first line: mode cathedral)")


def _for_liturgies(_draft: Draft, _value: str) -> None:
    raise Refused("is for liturgies (expected a first line: mode liturgy)")


def _mode(draft: Draft, value: str) -> None:
    if value in (CATHEDRAL, LITURGY):
        raise Refused(
            f"a {value} has processes of its own"
            " (expected this as the first line, and no other file beside it)"
        )
    draft.mode = _member(Mode, Mode.TUNNEL if value == "default" else value)


def _member(kind: type[E], value: str) -> E:
    try:
        return kind(value)
    except ValueError:
        expected = " or ".join((", ".join(list(kind)[:-1]), list(kind)[-1]))
        raise Refused(f"{quoted(value)} is unknown (expected {expected})") from None


def _tap(draft: Draft, value: str) -> None:
    draft.tap = values.choice(value, "yes", "no")


def _bridge(draft: Draft, value: str) -> None:
    _once(draft, "bridge")
    if not 0 < len(value.encode(errors="surrogatepass")) <= MAX_INTERFACE_CHARS or not (
        value.isprintable() and set(value).isdisjoint("/: ") and value not in {".", ".."}
    ):
        raise Refused(f"{quoted(value)} is no interface name (expected at most 15 characters)")
    draft.bridge = value


def _tfc(draft: Draft, value: str) -> None:
    draft.tfc = values.choice(value, "on", "off")


def _shroud(draft: Draft, value: str) -> None:
    draft.shroud = values.choice(value, "yes", "no")


def _profile(draft: Draft, value: str) -> None:
    draft.profile = _member(ProfileName, value)


def _encapsulation(draft: Draft, value: str) -> None:
    _once(draft, "encapsulation")
    draft.encapsulation = Path(value)


def _once(draft: Draft, name: str) -> None:
    if name in draft.lines:
        raise Refused(f"already set on line {draft.lines[name]} (expected once)")


def _instance(draft: Draft, value: str) -> None:
    draft.instance = values.word(value, MAX_INSTANCE_CHARS, "instance name")


def _descr(draft: Draft, value: str) -> None:
    draft.descr = values.word(value, values.MAX_WORD_CHARS, "description")


def _secret(draft: Draft, value: str) -> None:
    _once(draft, "secret")
    draft.secret = Path(value)


def _pidfile(draft: Draft, value: str) -> None:
    _once(draft, "pidfile")
    draft.pidfile = Path(value)


def _spi(draft: Draft, value: str) -> None:
    draft.spi_prefix = values.hexadecimal(value, 16)


def _tunnel(draft: Draft, value: str) -> None:
    where, blank, size = value.partition(" ")
    size = size.strip(" ")
    if not blank:
        raise Refused(f"{quoted(value)} has no MTU (expected ip/length MTU, or ip/length auto)")
    draft.tunnel = values.interface(where)
    if size == "auto":
        draft.mtu = None
        return
    try:
        draft.mtu = values.decimal(size, *MTU_RANGE)
    except Refused:
        lowest, highest = MTU_RANGE
        raise Refused(
            f"MTU {quoted(size)} is out of range (expected {lowest} to {highest}, or auto)"
        ) from None


def _tunnel6(draft: Draft, value: str) -> None:
    draft.tunnel6 = values.interface6(value)


def _local(draft: Draft, value: str) -> None:
    draft.local = values.address(value)


def _peer(draft: Draft, value: str) -> None:
    draft.peer = None
    draft.cathedral.peer_fixed = value != "auto"
    if value == "auto":
        return
    peer = values.address(value)
    if peer.host in {ANY.host, ANY6.host}:
        return
    if peer.port == 0:
        raise Refused(f"{quoted(value)} has port 0 (expected ip:port, or auto)")
    draft.peer = peer


def _route(draft: Draft, value: str) -> None:
    network = values.network(value, strict=True)
    first = draft.lines.get(f"route {network}")
    if first is not None:
        raise Refused(f"{network} is already routed by line {first} (expected once)")
    _check_room(draft.routes)
    draft.routes.append(network)
    draft.lines[f"route {network}"] = draft.line


def _accept(draft: Draft, value: str) -> None:
    network = values.network(value, strict=False)
    if network not in draft.accepts:
        _check_room(draft.accepts)
        draft.accepts.append(network)


def _check_room(networks: list[Network]) -> None:
    if len(networks) >= MAX_NETWORKS:
        raise Refused(f"one network too many (expected at most {MAX_NETWORKS})")


def _run(draft: Draft, value: str) -> None:
    match value.split():
        case [process, "as", user]:
            pass
        case _:
            raise Refused(f"{quoted(value)} is invalid (expected PROCESS as USER)")
    if process not in ALL_PROCESSES:
        raise Refused(f"process {quoted(process)} is unknown (expected {', '.join(ALL_PROCESSES)})")
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
    """Each line turns what it names, or everything, after the lines before it."""
    word, *names = value.split()
    on = values.choice(word, "on", "off")
    for name in names or draft.switches:
        if name not in draft.switches:
            known = ", ".join(draft.switches)
            raise Refused(f"{quoted(name)} is no offload (expected on or off, then any of {known})")
        draft.offloads = switched(draft.offloads, name, on=on)


def _accelerator(draft: Draft, value: str) -> None:
    draft.accelerator = values.choice(value, "on", "off")


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
    "spi": _spi,
    "tunnel": _tunnel,
    "tap": _tap,
    "bridge": _bridge,
    "tfc": _tfc,
    "shroud": _shroud,
    "local": _local,
    "peer": _peer,
    "route": _route,
    "accept": _accept,
    "run": _run,
    "control": _control,
    "pidfile": _pidfile,
    "cathedral_flock": _flock,
    "cathedral_flock_dst": _flock_dst,
    "cathedral_ip": _for_cathedrals,
    "cathedral_mtu": _for_cathedrals,
    "cathedral_p2p_sync": _for_cathedrals,
    "secretdir": _for_cathedrals,
    "settings": _for_cathedrals,
    "liturgy_group": _for_liturgies,
    "liturgy_prefix": _for_liturgies,
    "liturgy_discoverable": _for_liturgies,
    **config_cathedral.DIRECTIVES,
    # Chancel's own; the sanctum daemon refuses a file that has them.
    "offload": _offload,
    "accelerator": _accelerator,
    "profile": _profile,
    "encapsulation": _encapsulation,
    "tunnel6": _tunnel6,
}
