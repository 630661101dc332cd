"""``NAME.metrics``: the group's metrics over HTTP on a private unix socket.

One GET for each connection, no more of HTTP than a scraper and ``curl --unix-socket`` need. A unix
socket with mode 0600, because metrics tell who talks to whom and how much.
"""

from __future__ import annotations

from collections.abc import Callable

from chancel.daemon.loop import Loop
from chancel.daemon.stream_server import Client, StreamServer

MAX_HEAD_BYTES = 8 * 1024
PATHS = (b"/metrics", b"/")

_END = b"\r\n\r\n"


class MetricsServer(StreamServer):
    """Answers each client with what ``exposition()`` says, and closes."""

    max_request_bytes = MAX_HEAD_BYTES

    def __init__(self, loop: Loop, exposition: Callable[[], bytes]) -> None:
        super().__init__(loop)
        self._exposition = exposition

    def _take(self, client: Client) -> None:
        if _END not in client.input and len(client.input) < MAX_HEAD_BYTES:
            return
        client.is_asking = True
        self._loop.pause(client.stream)
        self._send(client, self._answer(client))

    def _answer(self, client: Client) -> bytes:
        if _END not in client.input:
            return _response("431 Request Header Fields Too Large", b"expected at most 8 KiB\n")
        if not self._may_ask(client):
            return _response("429 Too Many Requests", b"expected fewer requests\n")
        match client.input.split(b"\r\n", 1)[0].split(b" "):
            case [b"GET", path, version] if version.startswith(b"HTTP/1."):
                if path.partition(b"?")[0] in PATHS:
                    return _response("200 OK", self._exposition())
                return _response("404 Not Found", b"expected GET /metrics\n")
            case [_, _, version] if version.startswith(b"HTTP/1."):
                return _response("405 Method Not Allowed", b"expected GET /metrics\n")
        return _response("400 Bad Request", b"expected GET /metrics HTTP/1.1\n")

    def _sent(self, client: Client) -> None:
        self._drop(client)

    def _gone(self, client: Client) -> None:
        """Nothing is kept for a client."""


def _response(status: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\n"
        "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
