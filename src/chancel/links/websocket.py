"""WebSocket (RFC 6455): a reliable link through whatever lets the web through.

One binary message is one message. Both ends insist on the subprotocol ``chancel``, so that neither
talks to something else by accident; text messages are refused and counted. Messages aren't
compressed: ciphertext can't be.

A ping each 20 s keeps proxies from cutting a silent connection (nginx does after 60 s). A pong that
is missing ends nothing: a peer that reads slowly answers late, and is not gone. Whether a peer is
alive is for a tunnel or channel to know, which has a key to prove it with.

Behind a reverse proxy the listener sees the proxy's address. ``examples/websocket_proxy`` has a
configuration for nginx.
"""

from __future__ import annotations

import asyncio
import http
import logging
import ssl as tls
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links.calls import MAX_CALLS, MAX_OPENING, OPEN_S, call
from chancel.links.endpoint import LinkEndpoint, ListenerEndpoint
from chancel.links.interface import Link, Peer
from chancel.links.outbox import Outbox
from chancel.links.sockets import prepare_tcp
from chancel.wire.types import Buffer

try:
    from websockets.asyncio import client, server
    from websockets.asyncio.connection import Connection
    from websockets.exceptions import (
        ConnectionClosed,
        InvalidHandshake,
        InvalidStatus,
        InvalidURI,
    )
    from websockets.http11 import Request, Response
    from websockets.protocol import State
    from websockets.typing import Subprotocol
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "WebSocket links need the package websockets: pip install 'chancel[websocket]'",
        name=missing.name,
    ) from missing

SUBPROTOCOL: Final = Subprotocol("chancel")

MAX_MESSAGE: Final = 65536
"""What ``max_message`` is unless another number is given. Any datagram fits; and what one peer can
make us hold (the queues below, full) stays within a few megabytes."""

MAX_UNREAD: Final = 32
"""Messages that wait for ``receive``. With more, nothing is read, and the peer has to wait."""

MAX_UNSENT: Final = 16
"""Messages that ``send`` takes over before it waits."""

LINGER_S: Final = 30.0
"""How long, after ``close``, a peer may take to read the rest and to say goodbye."""

HOLD_S: Final = 0.1
"""How long, after ``close``, a peer that we don't read from is still held up. Our goodbye reaches
it before it has room again, so it won't take messages over that nobody will read."""

PING_S: Final = 20.0

# The library reports what any stranger does wrong, with a traceback. Set a level to see it.
_LOG = logging.getLogger("chancel.links.websocket")
_LOG.setLevel(logging.CRITICAL)

_WORDS: Final = {
    1000: "the peer closed the connection",
    1001: "the peer is going away",
    1002: "the peer objects to how we speak the protocol",
    1003: "the peer takes no binary messages",
    1005: "the peer closed the connection",
    1007: "the peer can't decode a message",
    1008: "the peer's policy forbids a message",
    1009: "a message was too large for the peer",
    1011: "the peer failed",
    1012: "the peer restarts",
    1013: "the peer is busy: try again later",
    1014: "a proxy got no sensible answer from the peer",
}
"""What the peer means by a close code (RFC 6455, section 7.4, and IANA's registry)."""

_OUR_WORDS: Final = {
    1002: "the peer broke the WebSocket protocol",
    1007: "the peer sent text that is none",
    1009: "the peer sent a message that is too large",
}
"""Why the library closed a connection by itself."""


class WebSocketLink(LinkEndpoint):
    """A link over one open WebSocket. :func:`connect` and :func:`listen` make it."""

    reliable = True

    def __init__(self, connection: Connection, peer: Peer, max_message: int) -> None:
        super().__init__(max_message, MAX_UNREAD, self._resume)
        prepare_tcp(connection.transport.get_extra_info("socket"))
        self.refused = 0
        """Text messages that came, and were dropped."""
        self._peer = peer
        self._connection = connection
        self._outbox: Outbox[bytes] = Outbox(MAX_UNSENT)
        self._room = asyncio.Event()
        self._home = asyncio.get_running_loop()
        self._reader = asyncio.create_task(self._read())
        self._writer = asyncio.create_task(self._write())
        self._finisher: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<WebSocketLink {self._peer}>"

    @property
    def peer(self) -> Peer:
        """Who we called; or where the call came from, which may be a proxy."""
        return self._peer

    async def send(self, message: Buffer) -> None:
        """Send one message."""
        self._enter()
        self._check_size(message)
        await self._outbox.put(bytes(message))

    async def wait_closed(self) -> None:
        """Wait, after :meth:`close`, until the peer has what was sent, or :data:`LINGER_S`."""
        if self._finisher is not None:
            await asyncio.shield(self._finisher)

    def _release(self) -> None:
        super()._release()
        self._outbox.end("closed at this end")
        if not self._home.is_closed():
            self._home.call_later(HOLD_S, self._resume)
            self._finisher = self._home.create_task(self._finish())

    def _resume(self) -> None:
        self._room.set()

    async def _read(self) -> None:
        try:
            while True:
                message = await self._connection.recv()
                if isinstance(message, str):
                    self.refused += 1
                    continue
                while self.inbox.full:
                    self._room.clear()
                    await self._room.wait()
                self.inbox.put(message)
        except ConnectionClosed as end:
            self._ended(end)

    async def _write(self) -> None:
        try:
            while True:
                await self._connection.send(await self._outbox.first())
                if self._connection.state is not State.OPEN:
                    return  # nobody reads any more; whoever waits to send learns why at the end
                self._outbox.sent()
        except LinkClosed:
            return
        except ConnectionClosed as end:
            self._outbox.end(describe(end), discard=True)

    def _ended(self, end: ConnectionClosed) -> None:
        why = describe(end)
        self.inbox.end(why)
        self._outbox.end(why, discard=True)

    async def _finish(self) -> None:
        try:
            async with asyncio.timeout(LINGER_S):
                await asyncio.wait([self._writer])
                await self._connection.close()
        except TimeoutError:
            self._connection.transport.abort()
            self._writer.cancel()
        await asyncio.wait([self._reader, self._writer])


class WebSocketListener(ListenerEndpoint):
    """Brings a link for each peer that calls. :func:`listen` makes it."""

    def __init__(self, path: str, secure: bool, max_message: int) -> None:
        super().__init__(MAX_CALLS)
        self.refused = 0
        """Calls for another path, without our subprotocol, or while many wait for ``accept``."""
        self._path = path
        self._scheme = "wss" if secure else "ws"
        self._max_message = max_message
        self._server: server.Server | None = None
        self._address = ""
        self._unaccepted: set[Link] = set()
        self._opening: dict[server.ServerConnection, None] = {}

    def __repr__(self) -> str:
        return f"<WebSocketListener {self._address}>"

    @property
    def address(self) -> str:
        """Where to call: ``ws://host:port/path``."""
        return self._address

    async def accept(self) -> Link:
        """Return the link of the next peer."""
        link = await super().accept()
        self._unaccepted.discard(link)
        return link

    async def start(
        self, host: str, port: int, ssl: tls.SSLContext | None, ping_s: float | None
    ) -> None:
        """Bind. Raises ``LocalProtocolError`` if that can't be."""
        try:
            self._server = await server.serve(
                self._serve,
                host,
                port,
                ssl=ssl,
                subprotocols=[SUBPROTOCOL],
                process_request=self._admit,
                process_response=self._count,
                compression=None,
                server_header=None,
                open_timeout=OPEN_S,
                ping_interval=ping_s,
                ping_timeout=None,
                max_size=self._max_message,
                logger=_LOG,
                create_connection=self._connection_class(),
            )
        except OSError as error:
            raise LocalProtocolError(
                f"can't listen on {host}, port {port} ({error}): choose another address or port"
            ) from error
        bound_host, bound_port = self._server.sockets[0].getsockname()[:2]
        self._address = f"{self._scheme}://{_bracketed(bound_host)}:{bound_port}{quote(self._path)}"

    def _release(self) -> None:
        super()._release()
        if self._server is not None:
            self._server.close(close_connections=False)
        for link in self._unaccepted:
            link.close()
        self._unaccepted.clear()

    def _connection_class(self) -> type[server.ServerConnection]:
        """Connections that tell of themselves before they are open."""
        began, ended = self._began, self._opening.pop

        class Connection(server.ServerConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                began(self)

            def connection_lost(self, exc: Exception | None) -> None:
                ended(self, None)
                super().connection_lost(exc)

        return Connection

    def _began(self, connection: server.ServerConnection) -> None:
        """Where many only hold a place, the oldest has to go (see ``calls.MAX_OPENING``)."""
        self._opening[connection] = None
        while len(self._opening) > MAX_OPENING:
            oldest = next(iter(self._opening))
            del self._opening[oldest]
            self.refused += 1
            oldest.transport.abort()

    def _admit(self, connection: server.ServerConnection, request: Request) -> Response | None:
        if unquote(urlsplit(request.path).path) != self._path:
            return connection.respond(http.HTTPStatus.NOT_FOUND, "Nothing here.\n")
        if self.inbox.full:
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "Try again later.\n")
        return None

    def _count(self, _: server.ServerConnection, __: Request, response: Response) -> None:
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.refused += 1

    async def _serve(self, connection: server.ServerConnection) -> None:
        host, port = connection.remote_address[:2]
        peer = Peer(f"{self._scheme}://{_bracketed(host)}:{port}")
        link = WebSocketLink(connection, peer, self._max_message)
        self._opening.pop(connection, None)
        self._unaccepted.add(link)
        if not self.inbox.put(link):
            self._unaccepted.discard(link)
            link.close()
        await connection.wait_closed()


async def connect(
    url: str,
    *,
    ssl: tls.SSLContext | None = None,
    retries: int = 0,
    interval_s: float = 1.0,
    max_message: int = MAX_MESSAGE,
    ping_s: float | None = PING_S,
    proxy: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> WebSocketLink:
    """Call a listener: ``ws://host:port/path``, or ``wss://`` for TLS.

    If nobody answers, ``retries`` more attempts follow (-1: for ever), ``interval_s`` seconds
    apart. ``ssl`` replaces the default context of ``wss``. ``proxy`` is the URL of a forward proxy
    (the system's setting isn't looked at); ``headers`` go with the request. Raises ``LinkClosed``
    when the last attempt failed, and ``LocalProtocolError`` for what can't be a call.
    """
    name = _public(url)

    async def attempt() -> WebSocketLink:
        connection = await _open(
            url,
            name,
            ssl=ssl or (True if urlsplit(url).scheme == "wss" else None),
            additional_headers=headers,
            ping_interval=ping_s,
            max_size=max_message,
            proxy=proxy,
        )
        return WebSocketLink(connection, Peer(name), max_message)

    return await call(name, attempt, retries, interval_s)


async def listen(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    path: str = "/",
    ssl: tls.SSLContext | None = None,
    max_message: int = MAX_MESSAGE,
    ping_s: float | None = PING_S,
) -> WebSocketListener:
    """Listen on an address and TCP port (0: any that is free) for calls to ``path``.

    With ``ssl`` for ``wss``. Raises ``LocalProtocolError`` if the address can't be had.
    """
    listener = WebSocketListener(path, ssl is not None, max_message)
    await listener.start(host, port, ssl, ping_s)
    return listener


def describe(end: ConnectionClosed) -> str:
    """Why a connection ended, in words."""
    if end.rcvd is not None and (end.rcvd_then_sent or end.sent is None):
        words = _WORDS.get(end.rcvd.code, f"the peer closed with code {end.rcvd.code}")
        return f"{words} ({end.rcvd.reason!a})" if end.rcvd.reason else words
    if end.sent is not None:
        return _OUR_WORDS.get(end.sent.code, "closed at this end")
    cause = end.__cause__
    return f"the connection broke: {cause}" if cause else "the connection broke"


async def _open(url: str, name: str, **options: Any) -> Connection:
    """One attempt. Raises ``OSError`` where another one may succeed."""
    try:
        connection = await client.connect(
            url,
            subprotocols=[SUBPROTOCOL],
            user_agent_header=None,
            compression=None,
            open_timeout=None,
            ping_timeout=None,
            logger=_LOG,
            **options,
        )
    except OSError:  # among them a bad certificate, which is a ValueError as well
        raise
    except (InvalidURI, ValueError) as error:
        raise LocalProtocolError(
            f"can't call {name}: give ws://host:port/path or wss://host:port/path"
        ) from error
    except InvalidStatus as error:
        status = error.response.status_code
        answer = f"the server answers {status} instead of a WebSocket"
        if status < http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise LinkClosed(f"{name}: {answer}") from error
        raise ConnectionError(answer) from error
    except (InvalidHandshake, EOFError) as error:
        raise ConnectionError(f"no WebSocket answers: {error}") from error
    if connection.subprotocol != SUBPROTOCOL:
        await connection.close()
        raise LinkClosed(f"{name} is a WebSocket, but not one of Chancel")
    return connection


def _public(url: str) -> str:
    """The URL without user, password and query, which may be secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
