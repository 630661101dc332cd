"""The shroud: a mask from KMAC256 over a random header (protocol section 12.2).

::

    id 16 | seed_id 16 | seed_data 16 | (datagram, one byte ff, zeros) XOR mask

Between peers all 48 bytes of the header are random and mean nothing; towards a cathedral they begin
with a mark (``shroud_marks``). Small datagrams grow by a
random number of zeros, so that sizes tell less. Like any mask it authenticates nothing: whoever
flips a bit here flips one in the datagram, which has a tag of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from chancel.crypto.suite import Suite
from chancel.errors import RemoteProtocolError
from chancel.wire.drop import Drop
from chancel.wire.traffic import OVERHEAD_BYTES
from chancel.wire.types import Buffer

if TYPE_CHECKING:
    import numpy.typing as npt

HEADER_BYTES: Final = 48
SHROUD_BYTES: Final = HEADER_BYTES + 1
"""By how much a datagram that doesn't grow is longer: header and end mark."""
MIN_BYTES: Final = HEADER_BYTES + OVERHEAD_BYTES
"""Nothing shorter is unwrapped."""

END: Final = 0xFF
"""The byte behind a datagram; then come zeros, or nothing."""
DRAWN_BYTES: Final = HEADER_BYTES + 4
"""Random bytes for one datagram: a header (all of it or behind the mark), and how far it grows."""

_CUSTOM = b"SANCTUM.SHROUD.KDF"
_MARK = bytes((END,))


class Shroud:
    """Masks datagrams under one 32-byte key (``chancel.crypto.kdf.peer_shroud_key``)."""

    def __init__(self, key: Buffer, suite: Suite) -> None:
        self._suite = suite
        self._masks = suite.keyed_kmac256(key, _CUSTOM)

    def wrap(self, datagram: Buffer, limit: int, mark: bytes = b"") -> bytes:
        """Return header and masked datagram; one smaller than ``limit`` grows, but not up to it.

        The header begins with ``mark``, for whoever must tell whose it is; the rest is random.
        """
        return self.wrap_drawn(datagram, limit, mark + self._suite.random(DRAWN_BYTES - len(mark)))

    def wrap_drawn(self, datagram: Buffer, limit: int, drawn: bytes) -> bytes:
        """:meth:`wrap` with what was drawn, behind the mark: ``DRAWN_BYTES`` with that."""
        header = drawn[:HEADER_BYTES]
        room = limit - SHROUD_BYTES - len(datagram)
        # The remainder prefers small numbers by one in three million at most: nobody could tell.
        growth = int.from_bytes(drawn[HEADER_BYTES:], "big") % room if room >= 2 else 0
        return header + self._masked(header, b"".join((datagram, _MARK, bytes(growth))))

    def masks(self, headers: bytes, count: int, size: int) -> npt.NDArray[np.uint8]:
        """``size`` bytes each for ``count`` headers, as rows: XOR puts a mask on or takes it off.

        For whole runs (``chancel.daemon.hot.masking``).
        """
        masks = self._masks.rows(headers, count, size)
        return np.frombuffer(masks, np.uint8).reshape(count, size)

    def unwrap(self, datagram: Buffer) -> bytes:
        """Return what was wrapped; 50 bytes at least, as untrusted as before.

        Raises ``RemoteProtocolError``: ``TOO_SHORT`` (under 98 bytes); ``BAD_MASK`` where no end
        mark appears, which is the case for all but one in 255 datagrams that were masked under
        another key or not at all, or where too little stands before it.
        """
        if len(datagram) < MIN_BYTES:
            raise RemoteProtocolError(Drop.TOO_SHORT)
        header = bytes(datagram[:HEADER_BYTES])
        return shown(self._masked(header, datagram[HEADER_BYTES:]))

    def _masked(self, header: bytes, body: Buffer) -> bytes:
        mask = self._masks.rows(header, 1, len(body))
        view = np.frombuffer
        return np.bitwise_xor(view(body, np.uint8), view(mask, np.uint8)).tobytes()


def shown(body: bytes) -> bytes:
    """What stands before the end mark of an untrusted datagram whose mask was taken off.

    Raises ``RemoteProtocolError`` (``BAD_MASK``).
    """
    body = body.rstrip(b"\0")
    if len(body) <= OVERHEAD_BYTES or body[-1] != END:
        raise RemoteProtocolError(Drop.BAD_MASK)
    return body[:-1]
