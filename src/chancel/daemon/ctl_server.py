"""The server's side of ``NAME.ctl``: requests and answers as lines of JSON.

What the lines mean is in ``duties.control``; the client is ``ctl``.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from chancel.daemon.loop import Loop
from chancel.daemon.stream_server import CLIENT_REQUESTS_PER_S, Client, StreamServer

MAX_LINE_BYTES = 64 * 1024

Request = dict[str, Any]

_TOO_MANY = f"too many requests (expected at most {CLIENT_REQUESTS_PER_S:.0f} in a second)"


class CtlServer(StreamServer):
    """All clients of all sockets of the group.

    ``serve(client, request)`` is called for each request; it calls :meth:`answer` at once or later.
    ``gone(client)`` tells that nobody waits for an answer any more.
    """

    max_request_bytes = MAX_LINE_BYTES

    def __init__(
        self, loop: Loop, serve: Callable[[Client, Request], None], gone: Callable[[Client], None]
    ) -> None:
        super().__init__(loop)
        self._serve = serve
        self._gone_client = gone

    def answer(
        self, client: Client, message: Request, *, last: bool = True, fds: Sequence[int] = ()
    ) -> bool:
        """Send a line, and descriptors with it; they are the server's from now on.

        ``last``: afterwards the client may ask again. False if the client is gone; then the
        descriptors are still the caller's.
        """
        if client not in self._clients:
            return False
        client.is_asking = not last
        client.output_fds += fds
        self._send(client, json.dumps(message).encode() + b"\n")
        return True

    def is_behind(self, client: Client) -> bool:
        """Whether an earlier answer has not left yet."""
        return bool(client.output)

    def _gone(self, client: Client) -> None:
        self._gone_client(client)

    def _take(self, client: Client) -> None:
        """Serve a request if a whole one is there, then be deaf until it was answered."""
        line, end, rest = client.input.partition(b"\n")
        if rest or len(line) >= MAX_LINE_BYTES:  # the next request comes after the answer
            self._drop(client)
            return
        if not end:
            return
        client.input = b""
        client.is_asking = True
        self._loop.pause(client.stream)
        if not self._may_ask(client):
            self.answer(client, {"ok": False, "error": _TOO_MANY})
            self._drop(client)
            return
        request = _decode_untrusted(line)
        if request is None:
            self.answer(client, {"ok": False, "error": "expected one JSON object on a line"})
        else:
            self._serve(client, request)


def _decode_untrusted(line: bytes) -> Request | None:
    """A request, or ``None`` for anything that is no JSON object."""
    with contextlib.suppress(ValueError, RecursionError):
        request = json.loads(line.decode())  # bytes might be UTF-32, which would be imported
        if isinstance(request, dict):
            return request
    return None
