"""Internet checksums (RFC 1071) of whole trains, and of a lone packet.

The ones' complement sum does not care about byte order as long as it is one order throughout, so
sums are taken of the machine's own 16-bit words and stored likewise.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from chancel.daemon.hot.views import Bytes

if TYPE_CHECKING:
    import numpy.typing as npt

Words: TypeAlias = "npt.NDArray[np.uint32]"


def word(number: int) -> int:
    """A 16-bit header value as the machine's own word of its two big-endian bytes."""
    return int.from_bytes(number.to_bytes(2, "big"), sys.byteorder)


def sums(rows: Bytes) -> Words:
    """The sum of 16-bit words of each row; rows have an even number of bytes."""
    total: Words = np.add.reduce(rows.view(np.uint16), axis=1, dtype=np.uint32)
    return total


_MULTIPLE = 65535 * 65536
"""Of 65535, and more than any sum of a packet's words."""


def finish(total: Words) -> Words:
    """Fold sums and complement them: what belongs into the checksum field.

    Sums of 16-bit words are equal modulo 65535 to their folded form.
    """
    finished: Words = (_MULTIPLE - total) % np.uint32(65535)
    return finished


def right(total: Words) -> npt.NDArray[np.bool_]:
    """Which sums, over packets with their checksums in them, come out as all ones."""
    found: npt.NDArray[np.bool_] = total % 65535 == 0
    return found


def checksum(data: bytes | bytearray | memoryview, initial: int = 0) -> int:
    """The checksum of one packet as a big-endian number; ``initial`` is a sum to start from.

    The sum of 16-bit words modulo 65535 is the whole as one big number modulo 65535, which Python
    computes at once.
    """
    number = int.from_bytes(data, "big")
    if len(data) % 2:
        number <<= 8
    return (65535 - (number + initial) % 65535) % 65535
