"""TLS over TCP. No IO in :class:`TlsCover`.

TLS hides a link from the network between two machines and proves the server's name. It ends where
TCP ends: what has to be secret beyond that is for a channel or a tunnel on top.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import NoReturn

from chancel.errors import LocalProtocolError
from chancel.links.calls import StreamListener
from chancel.links.framing import Framer, LengthPrefix
from chancel.links.sockets import in_words
from chancel.links.stream import StreamLink
from chancel.links.tcp import reach, serve

_READ_BYTES = 1 << 16


async def connect(
    host: str,
    port: int,
    *,
    context: ssl.SSLContext | None = None,
    server_name: str | None = None,
    framer: Callable[[], Framer] = LengthPrefix,
    retries: int = 0,
    interval_s: float = 1.0,
) -> StreamLink:
    """Connect as :func:`chancel.links.tcp.connect` does.

    The server's certificate has to be good for ``server_name``, or ``host``, in the eyes of
    ``context`` (:func:`client_context`, the system's authorities). One that isn't raises
    ``LinkClosed`` at once, whatever ``retries`` says.
    """
    trust = context or client_context()
    name = server_name or host
    return await reach(
        "tls",
        host,
        port,
        lambda describe: StreamLink(describe, framer(), TlsCover(trust, server_name=name)),
        retries,
        interval_s,
    )


async def listen(
    host: str,
    port: int,
    *,
    context: ssl.SSLContext,
    framer: Callable[[], Framer] = LengthPrefix,
) -> StreamListener:
    """Listen as :func:`chancel.links.tcp.listen` does, with the certificate in ``context``."""
    return await serve(
        "tls", host, port, lambda describe: StreamLink(describe, framer(), TlsCover(context))
    )


def client_context(
    cafile: str | None = None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Trust the authorities in ``cafile`` (PEM), or the system's. Servers are verified, always.

    ``certificate`` and ``key`` (PEM) are shown to servers that ask for one. TLS 1.3 or later; a
    context made elsewhere may allow more. Raises ``LocalProtocolError`` naming the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if cafile is None:
        context.load_default_certs()
    return _prepared(context, cafile, certificate, key)


def server_context(
    certificate: str, key: str | None = None, cafile: str | None = None
) -> ssl.SSLContext:
    """Show ``certificate`` (PEM, the chain; ``key`` may be in the same file).

    With ``cafile``, callers need a certificate of one of its authorities. TLS 1.3 or later. Raises
    ``LocalProtocolError`` naming the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if cafile is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return _prepared(context, cafile, certificate, key)


def _prepared(
    context: ssl.SSLContext, cafile: str | None, certificate: str | None, key: str | None
) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if cafile is not None:
        try:
            context.load_verify_locations(cafile)
        except OSError as error:  # ssl.SSLError is one
            raise LocalProtocolError(f"cafile {cafile}: {in_words(error)}") from error
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except OSError as error:
            files = certificate if key is None else f"{certificate} and key {key}"
            raise LocalProtocolError(f"certificate {files}: {in_words(error)}") from error
    elif key is not None:
        raise LocalProtocolError(f"key {key} without a certificate: give both")
    return context


def _no_password() -> NoReturn:
    # Without this, OpenSSL would ask on the terminal, and block the event loop meanwhile.
    raise LocalProtocolError("this TLS key is encrypted: give a context that has it loaded")


class TlsCover:
    """One end of a TLS session between the connection and the framer.

    A client if ``server_name`` is given, which is verified as ``context`` says.
    """

    def __init__(self, context: ssl.SSLContext, server_name: str | None = None) -> None:
        self.ready = False
        self.ended = False
        self.failure: str | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_name is None,
            server_hostname=server_name,
        )
        if server_name is not None:
            self._handshake_untrusted()

    def open_untrusted(self, data: bytes) -> bytes:
        """Take what has arrived; return the plain bytes in it."""
        if self.failure is not None:
            return b""
        self._incoming.write(data)
        if not self.ready:
            self._handshake_untrusted()
        plain: list[bytes] = []
        try:
            while self.ready and not self.ended:
                part = self._session.read(_READ_BYTES)
                self.ended = not part
                plain.append(part)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError) as wanted:
            self.ended = isinstance(wanted, ssl.SSLZeroReturnError)
        except ssl.SSLError as error:
            self.failure = in_words(error)
        return b"".join(plain)

    def seal(self, data: bytes) -> bytes:
        """What has to be written for ``data`` to arrive."""
        try:
            with memoryview(data) as view:
                done = 0
                while done < len(view):
                    done += self._session.write(view[done:])
        except ssl.SSLError as error:
            self.failure = in_words(error)
        return self.output()

    def output(self) -> bytes:
        """What TLS itself wants written."""
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """The note that nothing more comes, without which an end could be an attacker's doing."""
        if self.ready and self.failure is None:
            # The note is out by then; the peer's is missing, or data comes before it.
            with contextlib.suppress(ssl.SSLError):
                self._session.unwrap()
        return self.output()

    def _handshake_untrusted(self) -> None:
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            self.failure = in_words(error)
        else:
            self.ready = True
