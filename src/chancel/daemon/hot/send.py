"""Sending runs: the third hot function. One system call a run, where the kernel cuts it (GSO).

The compiled twin sends many runs with one call. Only the number of calls tells the two apart.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable

from chancel.daemon.hot import twins
from chancel.daemon.run import Run, pack_address
from chancel.wire.drop import Drop
from chancel.wire.types import Address

UDP_SEGMENT = 103
_MAX_BYTES = 65_408
"""Of a train: less than 64 KiB with all headers, or the kernel cuts it before it is sent."""

_MAX_SEGMENTS = 64
"""Segments of one call: 128 in new kernels, 64 in those before 6.9."""

_SEGMENT = struct.Struct("=H")
_NO_TRAIN = frozenset({errno.EIO, errno.EINVAL})
"""Either the device can't do it, or (EINVAL, in older kernels) the packets are too large."""

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
        socket.EAI_ADDRFAMILY,  # an address of a family that the socket hasn't
    }
)


Target = tuple[str, int] | tuple[str, int, int, int]
"""Where a datagram goes, as the socket wants it: host and port; with IPv6 a flow and a zone."""


def target_of(peer: Address, *, ipv6: bool) -> Target:
    """A peer for a socket. To one of IPv6, IPv4 is a part of it."""
    if not ipv6:
        return peer
    host, _, zone = peer.host.partition("%")
    return (host if ":" in host else f"::ffff:{host}", peer.port, 0, int(zone or 0))


class UdpSender:
    """Sends on one socket and counts. ``gso`` is dropped on the error that proves it broken."""

    def __init__(self, udp: socket.socket, *, gso: bool) -> None:
        self.udp = udp
        self._ipv6 = udp.family == socket.AF_INET6
        self._peer: Address | None = None
        self._target: Target = ("", 0)
        self._packed = b""
        self._compiled = twins.compiled("send")
        self.gso = gso
        self.datagrams = 0
        self.bytes = 0
        self.calls = 0
        self.drops: dict[Drop, int] = {}
        self.error = 0
        """The ``errno`` of the last refusal."""
        self.on_gso_broken: Callable[[OSError], None] = lambda _error: None

    def send(self, memory: memoryview, runs: list[Run], peer: Address) -> None:
        """Send runs to the peer, in their order; what can't be sent is counted."""
        if peer is not self._peer:
            self._peer, self._target = peer, target_of(peer, ipv6=self._ipv6)
            self._packed = pack_address(peer)
        if self._compiled is not None:
            self._send_compiled(memory, runs)
            return
        for run in runs:
            if run.packets > 1:
                self._send_train(memory, run)
            elif error := self._try(memory[run.offset : run.offset + run.last], run.last, 1):
                self._refused(error, 1)

    def _send_compiled(self, memory: memoryview, runs: list[Run]) -> None:
        self.account(
            self._compiled.send_runs(
                self.udp.fileno(), self._ipv6, memory, runs, self._packed, self.gso
            )
        )

    @property
    def fixed(self) -> tuple[UdpSender | int, bool]:
        """What a turn needs beside an address: ourselves (a compiled one the descriptor), and
        whether the socket is IPv6."""
        return self if self._compiled is None else self.udp.fileno(), self._ipv6

    def account(self, sent: tuple[int, int, int, int, int, int, int, int]) -> None:
        """Count what compiled code has sent. Raises OSError if that met an error of our own."""
        datagrams, octets, calls, too_large, failed, error, refusal, fatal = sent
        self.datagrams += datagrams
        self.bytes += octets
        self.calls += calls
        if too_large:
            self.drop(Drop.SEND_TOO_LARGE, too_large)
        if failed:
            self.drop(Drop.SEND_FAILED, failed)
        if error and not fatal:
            self.error = error
        if refusal:
            self.gso = False
            self.on_gso_broken(OSError(refusal, os.strerror(refusal)))
        if fatal:
            self._refused(OSError(fatal, os.strerror(fatal)), 0)

    def _send_train(self, memory: memoryview, run: Run) -> None:
        step = max(1, min(_MAX_SEGMENTS, _MAX_BYTES // run.size)) if self.gso else 1
        refusal: OSError | None = None
        done = 0
        while done < run.packets:
            count = min(step, run.packets - done)
            at = run.offset + done * run.size
            stop = run.end if done + count == run.packets else at + count * run.size
            error = self._try(memory[at:stop], run.size, count)
            if error is None:
                if refusal is not None and stop - at == run.size:
                    self.gso = False  # the size was not at fault: a packet of it went out alone
                    self.on_gso_broken(refusal)
                    refusal = None
            elif count > 1 and error.errno in _NO_TRAIN:
                step = 1  # the rest of the run goes out one by one
                refusal = error
                continue
            else:
                self._refused(error, count)
            done += count

    def _try(self, data: memoryview, size: int, count: int) -> OSError | None:
        """Send one datagram or train; returns why it was refused, if it was."""
        self.calls += 1
        try:
            if count > 1:
                control = [(socket.SOL_UDP, UDP_SEGMENT, _SEGMENT.pack(size))]
                self.udp.sendmsg([data], control, 0, self._target)
            else:
                self.udp.sendto(data, self._target)
        except OSError as error:
            return error.with_traceback(None)  # or it would be a cycle with our frame
        self.datagrams += count
        self.bytes += len(data)
        return None

    def _refused(self, error: OSError, count: int) -> None:
        self.error = error.errno or 0
        if error.errno == errno.EMSGSIZE:
            self.drop(Drop.SEND_TOO_LARGE, count)
        elif error.errno in _PASSING:
            self.drop(Drop.SEND_FAILED, count)
        else:
            raise error

    def drop(self, reason: Drop, count: int) -> None:
        """Count datagrams that go no further."""
        self.drops[reason] = self.drops.get(reason, 0) + count
