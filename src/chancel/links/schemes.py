"""The schemes that come with Chancel, for :mod:`chancel.links.addresses`.

Each imports its transport when it is used: some need a package that not everybody has.
"""

from __future__ import annotations

import asyncio
import shlex
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from chancel.errors import LinkClosed
from chancel.links.addresses import Action, Option, Scheme, Target
from chancel.links.framing import Cobs, Framer, LengthPrefix, Slip
from chancel.links.interface import Link, Listener, Port
from chancel.links.sockets import in_words
from chancel.wire.types import Address

FRAMINGS: Final[dict[str, Callable[[], Framer]]] = {
    "u16": LengthPrefix,
    "u32": partial(LengthPrefix, 4),
    "slip": Slip,
    "cobs": Cobs,
}


def _framing(text: str) -> Callable[[], Framer]:
    if text not in FRAMINGS:
        raise ValueError
    return FRAMINGS[text]


def _retries(text: str) -> int:
    number = int(text)
    if number < -1:
        raise ValueError
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError
    return text == "yes"


_FRAMING = {"framing": Option("framer", _framing, f"one of {', '.join(FRAMINGS)}")}
_RETRYING = {
    "retries": Option("retries", _retries, "a whole number; -1 is for ever"),
    "interval": Option("interval_s", _seconds, "seconds"),
}
_TRUST = {
    "cafile": Option("cafile", str, "a file of certificates"),
    "certificate": Option("certificate", str, "a file with a certificate"),
    "key": Option("key", str, "a file with its key"),
    "context": Option("context", None, "an ssl.SSLContext, as an argument"),
}
_SERVER_NAME = {"server_name": Option("server_name", str, "the name in the certificate")}
_MAX_MESSAGE = {"max_message": Option("max_message", _positive, "a number of bytes")}
_SERIAL = {
    "baud": Option("baud", _positive, "a whole number"),
    "flow": Option("flow", str, "none, rtscts or dsrdtr"),
    "framing": Option("framing", str, "cobs or slip"),
}
_KEEP_STDERR = {"keep_stderr": Option("keep_stderr", _yes, "yes or no")}


def _place(target: Target, *, path: bool = False, any_port: bool = False) -> tuple[str, int]:
    """Host and port of an address that consists of them."""
    expected = f"{target.scheme}://host:port"
    if not target.host:
        target.refuse(f"no host: expected {expected}; 0.0.0.0 or [::] to listen on all addresses")
    if target.port is None:
        target.refuse(f"no port: expected {expected}")
    if target.port == 0 and not any_port:
        target.refuse("port 0 can't be called: expected 1 to 65535")
    if target.path.strip("/") and not path:
        target.refuse(f"no path can be here ({target.path}): expected {expected}")
    return target.host, target.port


def _file(target: Target) -> str:
    """The path of an address that is one."""
    if target.host or target.port is not None or len(target.path) < 2:
        target.refuse(f"expected {target.scheme}:///path, with three slashes")
    return target.path


async def _connect_tcp(target: Target) -> Link:
    from chancel.links import tcp

    return await tcp.connect(*_place(target), **_as_given(target))


async def _listen_tcp(target: Target) -> Listener:
    from chancel.links import tcp

    return await tcp.listen(*_place(target, any_port=True), **_as_given(target))


async def _connect_tls(target: Target) -> Link:
    from chancel.links import tls

    arguments = _with_context(target, server=False, name="context")
    return await tls.connect(*_place(target), **arguments)


async def _listen_tls(target: Target) -> Listener:
    from chancel.links import tls

    arguments = _with_context(target, server=True, name="context")
    return await tls.listen(*_place(target, any_port=True), **arguments)


async def _connect_unix(target: Target) -> Link:
    from chancel.links import unix

    return await unix.connect(_file(target), **_as_given(target))


async def _listen_unix(target: Target) -> Listener:
    from chancel.links import unix

    return await unix.listen(_file(target), **_as_given(target))


_THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a listener may be at
"""Where to call who listens everywhere; answers come from there, and not from everywhere."""


async def _connect_udp(target: Target) -> Link:
    from chancel.links.port_link import PortLink
    from chancel.links.udp import UdpPort

    host, port = _place(target)
    try:
        peer = await _resolved(_THIS_MACHINE.get(host, host), port)
    except OSError as error:
        raise LinkClosed(f"{target.address} can't be reached: {in_words(error)}") from error
    everywhere = "::" if ":" in peer.host else "0.0.0.0"  # noqa: S104 - port 0: answers come here
    return PortLink(UdpPort.bind(Address(everywhere, 0)), peer)


async def _listen_udp(target: Target) -> Listener:
    from chancel.links.port_link import PortListener

    return PortListener(await _bind_udp(target))


async def _bind_udp(target: Target) -> Port:
    from chancel.links.udp import UdpPort

    host, port = _place(target, any_port=True)
    try:
        local = await _resolved(host, port)
    except OSError as error:
        target.refuse(f"host {host}: {in_words(error)}: expected an address of this machine")
    return UdpPort.bind(local)


async def _connect_ws(target: Target) -> Link:
    from chancel.links import websocket

    if not target.host:
        target.refuse(f"no host: expected {target.scheme}://host:port/path")
    arguments = _as_given(target)
    if target.scheme == "wss":
        arguments = _with_context(target, server=False, name="ssl")
    return await websocket.connect(target.address.partition("?")[0], **arguments)


async def _listen_ws(target: Target) -> Listener:
    from chancel.links import websocket

    arguments = _as_given(target)
    if target.scheme == "wss":
        arguments = _with_context(target, server=True, name="ssl")
    place = _place(target, path=True, any_port=True)
    return await websocket.listen(*place, path=target.path or "/", **arguments)


async def _connect_serial(target: Target) -> Link:
    device = _file(target)
    from chancel.links import serial

    return await serial.connect(device, **_as_given(target))


async def _connect_stdio(target: Target) -> Link:
    from chancel.links import stdio

    if target.host or target.path.strip("/"):
        target.refuse("expected stdio: and nothing more")
    return await stdio.connect(**_as_given(target))


async def _connect_exec(target: Target) -> Link:
    from chancel.links import stdio

    try:
        command = shlex.split(target.path)
    except ValueError as error:
        target.refuse(f"{error}: expected a command as a shell would take it")
    if not command:
        target.refuse("no program: expected exec:PROGRAM ARGUMENTS")
    return await stdio.spawn(command, **_as_given(target))


def _as_given(target: Target) -> dict[str, Any]:
    """The arguments; whether they fit was decided by the tables of options."""
    return dict(target.arguments)


def _with_context(target: Target, *, server: bool, name: str) -> dict[str, Any]:
    """The arguments, with the files of TLS made into a context."""
    from chancel.links import tls

    arguments = _as_given(target)
    files = {each: arguments.pop(each) for each in _TRUST if each in arguments}
    context = files.pop("context", None)
    if context is not None and files:
        target.refuse(f"context and {', '.join(files)}: give one or the other")
    if context is None and server and "certificate" not in files:
        target.refuse("no certificate: expected ?certificate=FILE&key=FILE, or a context")
    if context is None:
        context = tls.server_context(**files) if server else tls.client_context(**files)
    return {**arguments, name: context}


async def _resolved(host: str, port: int) -> Address:
    """The first address of a name, as a port's datagrams will name it."""
    from chancel.links.udp_socket import address_of

    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    return address_of(found[0][4])


BUILT_IN: Final[dict[str, Scheme]] = {
    "tcp": Scheme(Action(_connect_tcp, _FRAMING | _RETRYING), Action(_listen_tcp, _FRAMING)),
    "tls": Scheme(
        Action(_connect_tls, _FRAMING | _RETRYING | _TRUST | _SERVER_NAME),
        Action(_listen_tls, _FRAMING | _TRUST),
    ),
    "unix": Scheme(Action(_connect_unix, _FRAMING | _RETRYING), Action(_listen_unix, _FRAMING)),
    "udp": Scheme(Action(_connect_udp), Action(_listen_udp), Action(_bind_udp)),
    "ws": Scheme(Action(_connect_ws, _RETRYING | _MAX_MESSAGE), Action(_listen_ws, _MAX_MESSAGE)),
    "wss": Scheme(
        Action(_connect_ws, _RETRYING | _MAX_MESSAGE | _TRUST),
        Action(_listen_ws, _MAX_MESSAGE | _TRUST),
    ),
    "serial": Scheme(Action(_connect_serial, _SERIAL | _MAX_MESSAGE)),
    "stdio": Scheme(Action(_connect_stdio, _FRAMING)),
    "exec": Scheme(Action(_connect_exec, _FRAMING | _KEEP_STDERR), opaque=True),
}
