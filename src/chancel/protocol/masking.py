"""What is put around a datagram, whatever it carries, and taken off again.

A mask hides what a datagram is from somebody who looks at the path; it authenticates nothing. It is
the last step of sending and the first of receiving, so what is under it is as untrusted as before.
"""

from __future__ import annotations

from typing import Protocol

from chancel.wire.types import Buffer


class Mask(Protocol):
    """One way of masking, under one key."""

    def wrap(self, datagram: Buffer, limit: int) -> bytes:
        """Return the datagram to send. ``limit`` is the MTU of the inner device now in force, in
        bytes: a mask that grows small datagrams keeps them below it (section 12.2.3).
        """
        ...

    def unwrap(self, datagram: Buffer) -> bytes:
        """Return what was wrapped; the datagram is untrusted.

        Raises ``RemoteProtocolError`` for one that nobody can have wrapped.
        """
        ...
