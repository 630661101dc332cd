"""What may lie between a connection and the framer. TLS does (``tls``)."""

from __future__ import annotations

from typing import Protocol


class Cover(Protocol):
    """Takes and gives bytes; no IO. One object serves one connection."""

    @property
    def ready(self) -> bool:
        """Whether messages can be sent."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the peer has said that nothing more comes."""
        ...

    @property
    def failure(self) -> str | None:
        """Why this connection can't go on, in words for a person; ``None`` while it can."""
        ...

    def open_untrusted(self, data: bytes) -> bytes:
        """Take what has arrived; return the plain bytes in it. Raises nothing."""
        ...

    def seal(self, data: bytes) -> bytes:
        """What has to be written for ``data`` to arrive."""
        ...

    def output(self) -> bytes:
        """What the cover itself wants written; to be asked at the start and after each
        :meth:`open_untrusted`."""
        ...

    def goodbye(self) -> bytes:
        """What has to be written last."""
        ...
