"""The keywords that configure a cathedral, checked as the reference checks them (kyrka section 11).

The cathedral itself comes with a later release, so nothing else is here yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, Required, TypedDict, Unpack

from chancel.errors import LocalProtocolError
from chancel.wire.types import Buffer
from libkyrka.arguments import buffer
from libkyrka.constants import (
    KYRKA_ERROR_NO_CONFIG,
    KYRKA_ERROR_PARAMETER,
    KYRKA_PEERS_PER_FLOCK,
)
from libkyrka.telling import Telling

SendCallback = Callable[..., object]
"""Called with (context, data, magic, udata); without ``udata`` among the keywords with three."""

LATER: Final = (
    "cathedrals come with a later release of chancel: until then give both ends the same secret "
    "(secret_load) and send to the peer directly"
)


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


class CathedralCalls(Telling):
    """The part of a context that talks to a cathedral, which relays packets and finds peers."""

    __slots__ = ()

    def cathedral_configure(self, /, *_: object, **keywords: Unpack[CathedralKeywords]) -> None:
        """Check the keywords as the reference does, then raise ``LocalProtocolError``: cathedrals
        come with a later release. Positional arguments are ignored.
        """
        if not _check(keywords):
            raise self._refuse(KYRKA_ERROR_PARAMETER)
        raise LocalProtocolError(LATER)

    def cathedral_notify(self) -> NoReturn:
        """Raise 12: no cathedral is configured."""
        raise self._refuse(KYRKA_ERROR_NO_CONFIG)

    def cathedral_nat_detection(self) -> NoReturn:
        """Raise 12: no cathedral is configured."""
        raise self._refuse(KYRKA_ERROR_NO_CONFIG)

    def cathedral_liturgy(self, peers: Buffer | None = None, /) -> NoReturn:
        """Raise 12, no cathedral is configured; or 2 for other than 255 bytes."""
        if peers is not None and len(buffer(peers)) != KYRKA_PEERS_PER_FLOCK:
            raise self._refuse(KYRKA_ERROR_PARAMETER)
        raise self._refuse(KYRKA_ERROR_NO_CONFIG)


_INTEGERS = {"flock_src": 64, "flock_dst": 64, "identity": 32, "tunnel": 16, "group": 16}
"""Bits of each integer, in the order in which they are checked."""
_NOT_ZERO = ("flock_src", "tunnel", "identity")


def _check(keywords: Mapping[str, object]) -> bool:
    """Whether none of the needed numbers is 0; raises ``RuntimeError`` in the reference's words."""
    if not keywords:
        raise RuntimeError("missing keywords")
    numbers = {name: _integer(keywords, name, bits) for name, bits in _INTEGERS.items()}
    if "send" not in keywords:
        raise RuntimeError("missing send keyword")
    if not callable(keywords["send"]):
        raise RuntimeError("send argument not callable")
    return all(numbers[name] for name in _NOT_ZERO)


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
