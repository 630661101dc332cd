"""The keywords that configure a cathedral, checked as the reference checks them (kyrka 11.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Required, TypedDict

from chancel.wire.cathedral_fields import CathedralId, TunnelId
from chancel.wire.types import FlockId, Flocks
from libkyrka.arguments import text
from libkyrka.material import Kind

SendCallback = Callable[..., object]
"""Called with (context, data, magic, udata); without ``udata`` among the keywords with three."""


class CathedralKeywords(TypedDict, total=False):
    """What ``cathedral_configure`` takes. A flock has 64 bits, an identity 32, the others 16."""

    send: Required[SendCallback]
    udata: Any
    kek: str
    secret: str
    cosk: str
    flock_src: Required[int]
    flock_dst: Required[int]
    identity: Required[int]
    tunnel: Required[int]
    group: Required[int]
    hidden: bool
    remembrance: bool


class Ends(NamedTuple):
    """Who we are to our cathedral and our peer; a change of it makes another tunnel."""

    flocks: Flocks
    identity: CathedralId
    tunnel: TunnelId


@dataclasses.dataclass(frozen=True, slots=True)
class Configuration:
    """What a context knows of its cathedral; ``udata`` is what ``send`` gets after the magic."""

    ends: Ends
    group: int
    hidden: bool
    remembrance: bool
    send: SendCallback
    udata: tuple[Any, ...]


_INTEGERS = {"flock_src": 64, "flock_dst": 64, "identity": 32, "tunnel": 16, "group": 16}
"""Bits of each integer, in the order in which they are checked."""
_PATHS = {"secret": Kind.CATHEDRAL, "kek": Kind.DEVICE_KEK, "cosk": Kind.COSK}
"""Files of keys, in the order in which they are loaded."""


def configuration(keywords: Mapping[str, Any]) -> Configuration | None:
    """Check and take the keywords; ``None`` if a number is 0 that must not be.

    Without another flock the peer is in our own. Raises ``RuntimeError`` in the reference's words.
    """
    if not keywords:
        raise RuntimeError("missing keywords")
    numbers = {name: _integer(keywords, name, bits) for name, bits in _INTEGERS.items()}
    if "send" not in keywords:
        raise RuntimeError("missing send keyword")
    if not callable(keywords["send"]):
        raise RuntimeError("send argument not callable")
    own, peer, identity, tunnel, group = numbers.values()
    if not (own and tunnel and identity):
        return None
    flocks = Flocks(FlockId(own), FlockId(peer or own))
    return Configuration(
        Ends(flocks, CathedralId(identity), TunnelId(tunnel)),
        group,
        keywords.get("hidden") is True,
        keywords.get("remembrance") is True,
        keywords["send"],
        (keywords["udata"],) if "udata" in keywords else (),
    )


def key_paths(keywords: Mapping[str, Any]) -> list[tuple[Kind, str]]:
    """The files to load, in order; what isn't a text is none. Raises ``ValueError`` for a NUL."""
    found = [(kind, keywords.get(name)) for name, kind in _PATHS.items()]
    return [(kind, text(path)) for kind, path in found if isinstance(path, str)]


def _integer(keywords: Mapping[str, object], name: str, bits: int) -> int:
    if name not in keywords:
        raise RuntimeError(f"missing integer '{name}'")
    value = keywords[name]
    if type(value) is not int:
        raise RuntimeError(f"'{name}' not an integer")
    if not 0 <= value < 1 << 64:
        raise RuntimeError(f"invalid integer '{name}'")
    if value >= 1 << bits:
        raise RuntimeError(f"integer 0x%lxout of range for uint{bits}")
    return value
