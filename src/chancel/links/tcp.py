"""TCP: a reliable link to a host and a port.

Messages have a length of 16 bits before them (:class:`~chancel.links.framing.LengthPrefix`), which
is what Ockam's endpoints speak; any other framer will do where both ends have it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from chancel.errors import LocalProtocolError
from chancel.links.calls import BACKLOG, StreamListener, call, opened
from chancel.links.eyeballs import connected
from chancel.links.framing import Framer, LengthPrefix
from chancel.links.sockets import in_words, prepare_tcp
from chancel.links.stream import Describe, StreamLink
from chancel.wire.types import Address


async def connect(
    host: str,
    port: int,
    *,
    framer: Callable[[], Framer] = LengthPrefix,
    retries: int = 0,
    interval_s: float = 1.0,
) -> StreamLink:
    """Connect to a name or an address.

    ``retries`` attempts follow the first one, ``interval_s`` seconds apart (Ockam, section 1.3);
    -1 is for ever. Raises ``LinkClosed`` with the reason of the last failure.
    """

    def make(describe: Describe) -> StreamLink:
        return StreamLink(describe, framer())

    return await reach("tcp", host, port, make, retries, interval_s)


async def listen(
    host: str, port: int, *, framer: Callable[[], Framer] = LengthPrefix
) -> StreamListener:
    """Listen on all addresses of a name, or on one address; port 0 is any free port.

    IPv6 sockets take no IPv4 calls, so ``0.0.0.0`` and ``::`` can be listened on side by side.
    Raises ``LocalProtocolError`` where that can't be.
    """
    return await serve("tcp", host, port, lambda describe: StreamLink(describe, framer()))


Make = Callable[[Describe], StreamLink]
"""Makes a link, given what names its peer."""


async def reach(
    scheme: str, host: str, port: int, make: Make, retries: int, interval_s: float
) -> StreamLink:
    """What :func:`connect` does, for links of any kind over TCP."""
    loop = asyncio.get_running_loop()

    async def attempt() -> StreamLink:
        connection = await connected(host, port)
        link = make(lambda transport: _meet(scheme, transport))
        await loop.connect_accepted_socket(lambda: link, connection)
        return await opened(link)

    return await call(f"{scheme}://{Address(host, port)}", attempt, retries, interval_s)


async def serve(scheme: str, host: str, port: int, make: Make) -> StreamListener:
    """What :func:`listen` does, for links of any kind over TCP."""
    listening = await _bound(f"{scheme}://{Address(host, port)}", host, port)
    bound = Address(*listening[0].getsockname()[:2])
    return StreamListener(
        f"{scheme}://{bound}",
        listening,
        lambda: make(lambda transport: _meet(scheme, transport)),
    )


def _meet(scheme: str, transport: asyncio.BaseTransport) -> str:
    """Prepare a new connection; return the peer's name."""
    prepare_tcp(transport.get_extra_info("socket"))
    peer = transport.get_extra_info("peername")
    return f"{scheme}://{Address(*peer[:2])}" if peer else f"{scheme}:gone"


async def _bound(name: str, host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address of a name, all with the same port."""
    loop = asyncio.get_running_loop()
    listening: list[socket.socket] = []
    try:
        for family, kind, proto, _, address in await loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            each = socket.socket(family, kind, proto)
            listening.append(each)
            each.setblocking(False)
            if hasattr(socket, "SO_REUSEADDR"):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            free = address[1] or listening[0].getsockname()[1]
            each.bind((address[0], free, *address[2:]))
            each.listen(BACKLOG)
    except OSError as error:
        for each in listening:
            each.close()
        raise LocalProtocolError(
            f"{name} can't be listened on: {in_words(error)}; choose another address or port"
        ) from error
    return listening
