"""What stands behind ``add NAME``: keys and values in any order, but for those that need another.
``grammar_liturgy`` has what stands behind ``liturgy NAME``.

All that is wrong is a :class:`ConfigError` whose place is the key. Nothing is looked up: files may
be made, and names may become known, later.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TypeVar

from chancel.daemon import config_values as values
from chancel.daemon.config_directives import MAX_INTERFACE_CHARS
from chancel.daemon.config_values import MAX_WORD_CHARS, Refused
from chancel.errors import ConfigError
from chancel.tools.hymn.layout import ANYWHERE, NO_ADDRESS, NewTunnel, Registrar
from chancel.tools.hymn.names import TunnelName
from chancel.wire.types import Address

USER_ENVIRONMENT = "HYMN_USER"

MTU_RANGE = (576, 9200)
"""What the reference's tool takes. How much fits is up to the daemon that reads the file."""

Value = TypeVar("Value")


@dataclasses.dataclass(slots=True)
class _Draft:
    tunnel: IPv4Interface | None = None
    mtu: int | None = None
    secret: Path | None = None
    kek: Path | None = None
    name: str | None = None
    peer: Address | None = None
    local: Address = ANYWHERE
    cathedral: str | None = None
    natport: int = 0
    identity: tuple[int, Path | None] | None = None
    cosk: Path | None = None
    shroud: bool = False
    device: bool = False
    """Whether it is a TAP device."""
    bridge: str | None = None
    user: str | None = None


def new_tunnel(name: TunnelName, words: Sequence[str], directory: Path) -> NewTunnel:
    """Read the keys and values of ``add``; ``directory`` is where secrets are by default.

    Raises :class:`ConfigError`.
    """
    draft = _draft(words)
    _require_all(name, draft)
    user = draft.user or login("add")
    own, peer = name.flocks()
    unwrapped = f"{own:x}-{peer:x}-{name.source:02x}-{name.destination:02x}.secret"
    return NewTunnel(
        name=name,
        address=draft.tunnel or NO_ADDRESS,
        secret=draft.secret or directory / unwrapped,
        user=user,
        mtu=draft.mtu,
        kek=draft.kek,
        label=draft.name,
        local=draft.local,
        peer=draft.peer,
        registrar=registrar(draft.cathedral, draft.identity, draft.cosk, draft.natport, directory),
        shroud=draft.shroud,
        tap=draft.device,
        bridge=draft.bridge,
    )


def read(key: str, function: Callable[[str], Value], text: str) -> Value:
    """Have a value read; what is wrong with it is a :class:`ConfigError` at ``key``."""
    try:
        return function(text)
    except Refused as refused:
        raise ConfigError(key, None, None, str(refused)) from None


def mtu(text: str) -> int | None:
    """A number, or ``None`` for ``auto``. Raises :class:`Refused`."""
    try:
        return None if text == "auto" else values.decimal(text, *MTU_RANGE)
    except Refused as refused:
        raise Refused(f"{str(refused).removesuffix(')')}, or auto)") from None


def label(text: str) -> str:
    """A name for people. Raises :class:`Refused`."""
    return values.word(text, MAX_WORD_CHARS, "name of a tunnel")


def bridge(text: str) -> str:
    """The name of an interface. Raises :class:`Refused`."""
    if not 0 < len(text) <= MAX_INTERFACE_CHARS or not set(text).isdisjoint("/: \t\n"):
        raise Refused(
            f"{text!r} is no interface (expected at most {MAX_INTERFACE_CHARS} characters)"
        )
    return text


def cathedral(text: str) -> str:
    """``host:port``, as it was given. Raises :class:`Refused`."""
    values.place(text)
    return text


def nat_port(text: str) -> int:
    """A port, or 0 for none. Raises :class:`Refused`."""
    return values.decimal(text, 0, 0xFFFF)


def _identity(text: str) -> tuple[int, Path | None]:
    number, colon, path = text.partition(":")
    return _number(number), _path(path) if colon else None


def _number(text: str) -> int:
    """Strict, unlike in files: nobody depends on what a person mistypes."""
    digits = text.lower().removeprefix("0x")
    try:
        value = int(digits, 16)
    except ValueError:
        value = -1
    if not 0 < value < 1 << 32:
        raise Refused(f"{text!r} is no identity (expected a 32-bit hexadecimal number)")
    return value


def _path(text: str) -> Path:
    """Files are read by daemons that may be started anywhere."""
    if not text or text != text.strip() or not text.isprintable():
        raise Refused(f"{text!r} is no path (expected one that stands in a line)")
    return Path(text).absolute()


def _user(text: str) -> str:
    if not 0 < len(text) <= MAX_WORD_CHARS or any(each.isspace() for each in text):
        raise Refused(f"{text!r} is no user (expected the name of a user)")
    return text


_KEYS: dict[str, Callable[[str], object]] = {
    "tunnel": values.interface,
    "mtu": mtu,
    "secret": _path,
    "kek": _path,
    "name": label,
    "peer": values.address,
    "local": values.address,
    "cathedral": cathedral,
    "natport": nat_port,
    "identity": _identity,
    "cosk": _path,
    "shroud": lambda text: values.choice(text, "yes", "no"),
    "device": lambda text: values.choice(text, "tap", "tun"),
    "bridge": bridge,
    "user": _user,
}
KEYS = tuple(_KEYS)

OF_CATHEDRALS: Mapping[str, Callable[[str], object]] = {
    key: _KEYS[key]
    for key in ("cathedral", "identity", "kek", "cosk", "natport", "shroud", "device", "bridge")
} | {"user": _user}
"""Those that mean the same for a liturgy."""

NEEDS = {
    "natport": ("cathedral", "cathedral"),
    "identity": ("cathedral", "cathedral"),
    "cosk": ("cathedral", "cathedral"),
    "bridge": ("device", "device tap"),
}
"""Keys that need another before them, and how that is to be typed."""


def _draft(words: Sequence[str]) -> _Draft:
    draft = _Draft()
    for key, value in pairs("add", words, _KEYS, NEEDS):
        setattr(draft, key, value)
    return draft


def pairs(
    command: str,
    words: Sequence[str],
    keys: Mapping[str, Callable[[str], object]],
    needs: Mapping[str, tuple[str, str]],
) -> Iterator[tuple[str, object]]:
    """Each key, and its value as it was read. Raises :class:`ConfigError`.

    ``needs`` has keys that want another one before them, and how that is to be typed.
    """
    seen: dict[str, object] = {}
    remaining = iter(words)
    for key in remaining:
        function = keys.get(key)
        if function is None:
            raise ConfigError(command, None, None, f"{key!r} (expected {', '.join(keys)})")
        text = next(remaining, None)
        if text is None:
            raise ConfigError(command, None, None, f"nothing behind {key} (expected its value)")
        if key in seen:
            raise ConfigError(command, None, None, f"a second {key} (expected one)")
        needed, typed = needs.get(key, ("", ""))
        if needed and not seen.get(needed):
            raise ConfigError(command, None, None, f"{key} alone (expected {typed} before it)")
        seen[key] = read(key, function, text)
        yield key, seen[key]


def _require_all(name: TunnelName, draft: _Draft) -> None:
    """Raises :class:`ConfigError` for what is missing, or doesn't fit."""
    has_cathedral = draft.cathedral is not None
    wanted = {
        "tunnel IP/LEN": draft.tunnel or draft.device,
        "secret FILE": draft.secret or draft.kek,
        "peer IP:PORT, or a cathedral": draft.peer or has_cathedral,
        "identity HEX[:FILE], as there is a cathedral": draft.identity or not has_cathedral,
        "cosk FILE, as there is a cathedral": draft.cosk or not has_cathedral,
    }
    missing = [key for key, given in wanted.items() if not given]
    if missing:
        raise ConfigError("add", None, None, f"something is missing (expected {missing[0]})")
    if draft.kek and not has_cathedral:
        problem = "a kek alone (expected a cathedral, which has what it opens)"
    elif draft.kek and draft.secret:
        problem = "both secret and kek (expected one: with a kek, secrets come from cathedrals)"
    elif name.has_flock and not has_cathedral:
        problem = f"flock {name.flock!r} (expected none without a cathedral)"
    else:
        return
    raise ConfigError("add", None, None, problem)


def registrar(
    cathedral: str | None,
    identity: tuple[int, Path | None] | None,
    cosk: Path | None,
    natport: int,
    directory: Path,
) -> Registrar | None:
    """How it is known to a cathedral, if there is one; ``directory`` is where secrets are by
    default.
    """
    if cathedral is None or identity is None or cosk is None:
        return None
    number, secret = identity
    return Registrar(
        cathedral=cathedral,
        identity=number,
        secret=secret or directory / f"id-{number:x}",
        cosk=cosk,
        nat_port=natport,
    )


def login(command: str) -> str:
    """Whoever is at the terminal. Raises :class:`ConfigError` if that isn't known."""
    try:
        return os.getlogin()
    except OSError:  # no terminal
        pass
    if not (user := os.environ.get(USER_ENVIRONMENT)):
        problem = f"no terminal tells who you are (expected user NAME, or {USER_ENVIRONMENT})"
        raise ConfigError(command, None, None, problem)
    return read(USER_ENVIRONMENT, _user, user)
