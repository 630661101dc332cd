"""What stands behind ``liturgy NAME``: keys and values, as behind ``add NAME``.

All that is wrong is a :class:`ConfigError` whose place is the key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from chancel.daemon import config_values as values
from chancel.daemon.config_liturgy import LAST_DEVICE
from chancel.daemon.config_values import Refused
from chancel.errors import ConfigError
from chancel.tools.hymn.grammar import NEEDS, OF_CATHEDRALS, login, pairs, registrar
from chancel.tools.hymn.layout_liturgy import NewLiturgy
from chancel.tools.hymn.names import TunnelName

_COMMAND = "liturgy"


def new_liturgy(name: TunnelName, words: Sequence[str], directory: Path) -> NewLiturgy:
    """Read the keys and values; ``directory`` is where secrets are by default.

    Raises :class:`ConfigError`.
    """
    given: dict[str, Any] = dict(pairs(_COMMAND, words, _KEYS, NEEDS))
    for key, typed in _REQUIRED.items():
        if key not in given:
            raise _refusal(f"something is missing (expected {typed})")
    if not 0 < name.source <= LAST_DEVICE:
        raise _refusal(f"device {name.source:02x} (expected 01 to fe)")
    name.flocks()  # raises for what is none
    known = registrar(
        *(given["cathedral"], given["identity"], given["cosk"], given.get("natport", 0)), directory
    )
    assert known is not None, "all of it is required"
    return NewLiturgy(
        name=name,
        prefix=given["prefix"],
        group=given["group"],
        kek=given["kek"],
        registrar=known,
        user=given.get("user") or login(_COMMAND),
        discoverable=given.get("discoverable", True),
        shroud=given.get("shroud", False),
        tap=given.get("device", False),
        bridge=given.get("bridge"),
    )


def prefix(text: str) -> IPv4Address:
    """The upper half of all addresses inside. Raises :class:`Refused`."""
    found = values.ipv4(text)
    if int(found) & 0xFFFF or not int(found):
        raise Refused(f"{text!r} is no prefix (expected x.y.0.0)")
    return found


def _group(text: str) -> int:
    digits = text.lower().removeprefix("0x")
    try:
        number = int(digits, 16)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 16:
        raise Refused(f"{text!r} is no group (expected a 16-bit hexadecimal number)")
    return number


_KEYS: Mapping[str, Callable[[str], object]] = {
    **OF_CATHEDRALS,
    "prefix": prefix,
    "group": _group,
    "discoverable": lambda text: values.choice(text, "yes", "no"),
}
KEYS = tuple(_KEYS)

_REQUIRED = {
    "cathedral": "cathedral HOST:PORT",
    "identity": "identity HEX[:FILE]",
    "kek": "kek FILE",
    "cosk": "cosk FILE",
    "prefix": "prefix X.Y.0.0",
    "group": "group HEX",
}


def _refusal(problem: str) -> ConfigError:
    return ConfigError(_COMMAND, None, None, problem)
