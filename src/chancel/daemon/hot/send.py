"""Sending runs: the third hot function. One system call a run, where the kernel cuts it (GSO)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

from chancel.daemon.run import Run
from chancel.wire.drop import Drop
from chancel.wire.types import Address

UDP_SEGMENT = 103
_MAX_BYTES = 65_507
_MAX_SEGMENTS = 64
"""Segments of one call: 128 in new kernels, 64 in those before 6.9."""

_SEGMENT = struct.Struct("=H")
_TOO_LARGE = errno.EMSGSIZE
_PASSING = frozenset(
    {
        errno.EADDRNOTAVAIL,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENOBUFS,
        errno.EAGAIN,
        errno.EPERM,
        errno.ECONNREFUSED,
        errno.EINVAL,
        errno.EIO,
        errno.EACCES,
        errno.ENODEV,
    }
)


class UdpSender:
    """Sends on one socket and counts. ``gso`` is dropped on the error that proves it broken."""

    def __init__(self, udp: socket.socket, *, gso: bool) -> None:
        self._udp = udp
        self.gso = gso
        self.datagrams = 0
        self.bytes = 0
        self.calls = 0
        self.drops: dict[Drop, int] = {}
        self.on_gso_broken: Callable[[OSError], None] = lambda _error: None

    def send(self, memory: memoryview, run: Run, peer: Address) -> None:
        """Send one run to the peer; what can't be sent is counted."""
        step = max(1, min(_MAX_SEGMENTS, _MAX_BYTES // run.size)) if self.gso else 1
        done = 0
        while done < run.packets:
            count = min(step, run.packets - done)
            at = run.offset + done * run.size
            stop = run.end if done + count == run.packets else at + count * run.size
            if not self._call(memory[at:stop], run.size, count, peer):
                step = 1  # without GSO from here on
                continue
            done += count

    def _call(self, data: memoryview, size: int, count: int, peer: Address) -> bool:
        self.calls += 1
        try:
            if count > 1:
                control = [(socket.SOL_UDP, UDP_SEGMENT, _SEGMENT.pack(size))]
                self._udp.sendmsg([data], control, 0, peer)
            else:
                self._udp.sendto(data, peer)
        except OSError as error:
            if count > 1 and error.errno in (errno.EIO, errno.EINVAL):
                self.gso = False
                self.on_gso_broken(error)
                return False
            if error.errno == _TOO_LARGE:
                self.drop(Drop.SEND_TOO_LARGE, count)
            elif error.errno in _PASSING:
                self.drop(Drop.SEND_FAILED, count)
            else:
                raise
        else:
            self.datagrams += count
            self.bytes += len(data)
        return True

    def drop(self, reason: Drop, count: int) -> None:
        """Count datagrams that go no further."""
        self.drops[reason] = self.drops.get(reason, 0) + count
