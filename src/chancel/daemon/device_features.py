"""Feature bits of a network device (``ethtool -K``): what the kernel leaves to it.

Bits have names, which stay, and numbers, which change from kernel to kernel.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Set

_SIOCETHTOOL = 0x8946
_GET_STRINGS = 0x1B
_SET_SIZE = 0x37
_GET_FEATURES = 0x3A
_SET_FEATURES = 0x3B
_FEATURES = 4
"""The set of strings with the names of features."""

_NAME_BYTES = 32
_WORD_BITS = 32


def names(device: str) -> list[str]:
    """The name of each feature bit, in the order of their numbers. Raises OSError."""
    size = array.array("I", (_SET_SIZE, 0, 1 << _FEATURES, 0, 0))
    _call(device, size)
    count = size[4]
    room = [0] * (count * _NAME_BYTES // 4)
    strings = array.array("I", (_GET_STRINGS, _FEATURES, count, *room))
    _call(device, strings)
    text = strings.tobytes()[12:]
    cut = [text[at : at + _NAME_BYTES] for at in range(0, len(text), _NAME_BYTES)]
    return [name.rstrip(b"\0").decode("ascii", "replace") for name in cut]


def active(device: str) -> frozenset[str]:
    """The features that are on. Raises OSError."""
    bits = names(device)
    words = -(-len(bits) // _WORD_BITS)
    answer = array.array("I", (_GET_FEATURES, words, *([0] * 4 * words)))
    _call(device, answer)
    on = answer[4::4]  # available, requested, active, never changed; from the third word on
    return frozenset(
        name for i, name in enumerate(bits) if name and on[i // _WORD_BITS] >> i % _WORD_BITS & 1
    )


def switch_off(device: str, unwanted: Set[str]) -> None:
    """Turn features off; those that the kernel doesn't know are off already. Raises OSError."""
    bits = names(device)
    words = -(-len(bits) // _WORD_BITS)
    blocks = [0] * (2 * words)  # valid, requested
    for i, name in enumerate(bits):
        if name in unwanted:
            blocks[2 * (i // _WORD_BITS)] |= 1 << i % _WORD_BITS
    _call(device, array.array("I", (_SET_FEATURES, words, *blocks)))


def _call(device: str, command: array.array[int]) -> None:
    """``command`` is answered in place."""
    request = struct.pack("16sP16x", device.encode(), command.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
