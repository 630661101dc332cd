"""Address strings: one line names a transport, a place and its options.

====================================  =======================  =============================
address                               what for                 options
====================================  =======================  =============================
``tcp://host:port``                   connect, listen          framing, retries, interval
``tls://host:port``                   connect, listen          the same, and cafile,
                                                               certificate, key, context,
                                                               server_name
``unix:///path``                      connect, listen          framing, retries, interval
``udp://host:port``                   connect, listen, bind
``ws://host:port/path``, ``wss://``   connect, listen          retries, interval, max_message;
                                                               wss: cafile, certificate, key,
                                                               context
``serial:///dev/ttyUSB0``             connect                  baud, flow, framing,
                                                               max_message
``stdio:``                            connect                  framing
``exec:ssh host program``             connect                  framing, keep_stderr
====================================  =======================  =============================

Options stand in the query (``tcp://host:4000?retries=10&interval=1``) or are given as arguments,
which win. ``framing`` is u16, u32, slip or cobs (u16 unless told otherwise), or a function that
makes a framer; ``retries`` of -1 is for ever; ``interval`` is in seconds. IPv6 addresses stand in
brackets. ``exec:`` is cut into words as a shell would, and run without one; it has no query.

A query is ours: none is sent to a WebSocket server. Whoever needs that, or more settings than
these, calls the transport's own module. Others add schemes with :func:`register`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, NoReturn, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from chancel.errors import LocalProtocolError
from chancel.links.interface import Link, Listener, Port

T = TypeVar("T")

MAX_ADDRESS = 4096
"""Characters. Addresses may come from elsewhere (a message, a QR code)."""

_WITH_USER = re.compile(r"[^:]*://[^/?#]*@")
_SCHEME_NAME = re.compile(r"[a-z][a-z0-9+.-]*")


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One setting: the argument it becomes, how its text is read, and what that has to be.

    ``read`` raises ``ValueError`` for a text that it can't read; ``None`` is for what has no text,
    and can be given as an argument only. Arguments that are no text pass unread.
    """

    argument: str
    read: Callable[[str], object] | None
    expected: str


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """An address taken apart. ``port`` is ``None`` where none was given."""

    address: str
    scheme: str
    host: str
    port: int | None
    path: str
    """Decoded; with ``exec:`` all that follows."""
    arguments: Mapping[str, object]
    """What the options become."""

    def refuse(self, problem: str) -> NoReturn:
        """Raise ``LocalProtocolError`` about this address."""
        raise LocalProtocolError(f"{self.address}: {problem}")


@dataclasses.dataclass(frozen=True, slots=True)
class Action(Generic[T]):
    """How to connect, listen or bind, and the options that this takes, by their names.

    ``run`` may import what it needs; ``ModuleNotFoundError`` becomes one clear line.
    """

    run: Callable[[Target], Awaitable[T]]
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Scheme:
    """What an address of one kind can be used for. ``opaque``: what follows is no URL."""

    connect: Action[Link] | None = None
    listen: Action[Listener] | None = None
    bind: Action[Port] | None = None
    opaque: bool = False


_schemes: dict[str, Scheme] = {}


def register(name: str, scheme: Scheme) -> None:
    """Add a scheme. Raises ``LocalProtocolError`` for a name that is taken, or can't be one."""
    if not _SCHEME_NAME.fullmatch(name):
        raise LocalProtocolError(f"{name!r} can't be a scheme: use small letters, digits, + . -")
    if name in _known():
        raise LocalProtocolError(f"the scheme {name} is there already: choose another name")
    _schemes[name] = scheme


def schemes() -> list[str]:
    """The names of all schemes."""
    return sorted(_known())


async def connect(address: str, **options: object) -> Link:
    """The link to an address. Raises ``LinkClosed`` if nobody answers there, and
    ``LocalProtocolError``, naming the part, for an address that can't be."""
    scheme, rest, known = _found(address)
    return await _run(address, "connect to", scheme, rest, known, known.connect, options)


async def listen(address: str, **options: object) -> Listener:
    """A listener at an address. Raises ``LocalProtocolError``, naming the part."""
    scheme, rest, known = _found(address)
    return await _run(address, "listen on", scheme, rest, known, known.listen, options)


async def bind(address: str, **options: object) -> Port:
    """A port at an address; port 0 is any free one. Raises ``LocalProtocolError``."""
    scheme, rest, known = _found(address)
    return await _run(address, "bind", scheme, rest, known, known.bind, options)


def _known() -> dict[str, Scheme]:
    from chancel.links.schemes import BUILT_IN

    return {**BUILT_IN, **_schemes}


def _found(address: str) -> tuple[str, str, Scheme]:
    if len(address) > MAX_ADDRESS or not address.isprintable():
        raise LocalProtocolError(
            f"an address is one line of at most {MAX_ADDRESS} characters, this one has"
            f" {len(address)}: {address[:40]!r}"
        )
    name, colon, rest = address.partition(":")
    if _WITH_USER.match(address):
        # Without the address: a password may be in it.
        raise LocalProtocolError(f"{name}: a user name or password has no place in an address")
    known = _known()
    if not colon or name.lower() not in known:
        raise LocalProtocolError(
            f"{address}: unknown scheme {name!r}: expected one of {', '.join(sorted(known))}"
        )
    return name.lower(), rest, known[name.lower()]


async def _run(
    address: str,
    verb: str,
    scheme: str,
    rest: str,
    known: Scheme,
    action: Action[T] | None,
    options: Mapping[str, object],
) -> T:
    if action is None:
        able = [each for each in ("connect", "listen", "bind") if getattr(known, each) is not None]
        raise LocalProtocolError(f"{address}: can't {verb} {scheme}: it can {' and '.join(able)}")
    if known.opaque:
        target = Target(address, scheme, "", None, rest, {})
        query: dict[str, object] = {}
    else:
        target, query = _taken_apart(address, scheme)
    arguments = _arguments(target, {**query, **options}, action.options)
    try:
        return await action.run(dataclasses.replace(target, arguments=arguments))
    except ModuleNotFoundError as missing:
        raise LocalProtocolError(f"{address}: {missing}") from missing
    except (ValueError, OverflowError) as error:  # a name that can't be one, a number too large
        raise LocalProtocolError(
            f"{address}: {error}: expected names and numbers that exist"
        ) from error


def _taken_apart(address: str, scheme: str) -> tuple[Target, dict[str, object]]:
    try:
        parts = urlsplit(address)
        port = parts.port
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise LocalProtocolError(
            f"{address}: {error}: expected {scheme}://host:port?option=value, with a port of at"
            " most 65535"
        ) from error
    if parts.fragment:
        raise LocalProtocolError(f"{address}: # has no meaning here: write %23 for the character")
    query: dict[str, object] = {}
    for name, value in pairs:
        if name in query:
            raise LocalProtocolError(f"{address}: option {name} stands there twice: keep one")
        query[name] = value
    return (
        Target(address, scheme, parts.hostname or "", port, unquote(parts.path), {}),
        query,
    )


def _arguments(
    target: Target, given: Mapping[str, object], options: Mapping[str, Option]
) -> dict[str, object]:
    arguments: dict[str, object] = {}
    for name, value in given.items():
        option = options.get(name)
        if option is None:
            expected = ", ".join(options) or "none"
            target.refuse(f"unknown option {name!r}: expected {expected}")
        if isinstance(value, str):
            try:
                if option.read is None:
                    raise ValueError
                value = option.read(value)  # noqa: PLW2901 - the same, read
            except ValueError:
                target.refuse(f"option {name}={value}: expected {option.expected}")
        arguments[option.argument] = value
    return arguments
