"""A secret in memory, masked whenever nobody looks.

Two buffers, a random pad and the secret XORed with it, so that no single page, dump or stray read
shows the key. :meth:`Secret.reveal` puts it together in a third, which is zeroed when the ``with``
block ends. What can't be erased: copies that others make of the revealed bytes (``bytes(view)``,
the inside of a cipher object of a library) and pages that the kernel has already swapped out.
"""

from __future__ import annotations

import hmac
import os
from contextlib import AbstractContextManager
from typing import NoReturn, SupportsIndex

from chancel.errors import LocalProtocolError
from chancel.wire.types import Buffer


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite every byte of ``buffer`` with zero, in place."""
    buffer[:] = bytes(len(buffer))


class Secret:
    """Some secret bytes.

    ``data`` is copied; the caller still owns its buffer and should :func:`wipe` it. Erased by
    :meth:`erase` or when the last reference goes.
    """

    __slots__ = ("_masked", "_pad")

    def __init__(self, data: Buffer) -> None:
        self._pad = bytearray(os.urandom(len(data)))
        self._masked = bytearray(len(data))
        _xor_into(self._masked, data, self._pad)

    def reveal(self) -> AbstractContextManager[memoryview]:
        """Lend the bytes for the length of a ``with`` block; afterwards the view shows zeros.

        Raises ``LocalProtocolError`` once the secret is erased.
        """
        return _Revealing(self)

    def equals(self, other: Secret) -> bool:
        """Whether both hold the same bytes, in a time that doesn't depend on where they differ."""
        with self.reveal() as ours, other.reveal() as theirs:
            return hmac.compare_digest(ours, theirs)

    def erase(self) -> None:
        """Overwrite the bytes for good. Safe to repeat."""
        wipe(self._masked)
        wipe(self._pad)
        self._masked = self._pad = bytearray()

    def __len__(self) -> int:
        return len(self._pad)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Secret {len(self)} bytes>" if self._pad else "<Secret erased>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        # What copy, deepcopy and pickle ask for.
        raise LocalProtocolError("a secret is never copied or pickled: pass the object itself")

    def __del__(self) -> None:
        if hasattr(self, "_masked"):  # not where __init__ failed
            self.erase()


class _Revealing:
    """One ``with`` block; as :func:`contextlib.contextmanager` it would cost more than its work."""

    __slots__ = ("_revealed", "_secret")

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def __enter__(self) -> memoryview:
        masked, pad = self._secret._masked, self._secret._pad
        if not pad:
            raise LocalProtocolError("this secret is erased: load it again")
        self._revealed = bytearray(len(pad))
        _xor_into(self._revealed, masked, pad)
        return memoryview(self._revealed)

    def __exit__(self, *_: object) -> None:
        wipe(self._revealed)


def _xor_into(target: bytearray, left: Buffer, right: Buffer) -> None:
    # Byte by byte, since numbers of one byte are objects that there are anyway; larger ones, and
    # expressions of whole arrays, would leave a copy of the result in freed memory.
    for at, (one, other) in enumerate(zip(left, right, strict=True)):
        target[at] = one ^ other
