"""What may reach the device: the receiver's filter (protocol section 3.4).

The sender does not filter; the receiver believes nothing that is inside, authentic or not. On a TUN
device only IPv4, only ICMP, TCP and UDP, and only addresses of the tunnel's own subnet or of a
network named by ``accept``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np

from chancel.daemon.config_types import Network
from chancel.daemon.hot.views import SlotView
from chancel.daemon.records import NO_IP
from chancel.daemon.run import Run
from chancel.wire.drop import Drop
from chancel.wire.traffic import TAIL_BYTES

_MIN_BYTES = 20
_MAPPED = bytes(10) + b"\xff\xff"
_PROTOCOLS = frozenset({1, 6, 17})
_MAX_REMEMBERED = 4096
"""Address pairs remembered as allowed. A peer can make any number: when full, all are forgotten."""


class InnerFilter:
    """Judges inner packets of one tunnel."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = [
            (int(network.network_address), int(network.netmask))
            for network in networks
            if network.version == 4
        ]
        self._allowed: set[bytes] = set()
        self.refused = (NO_IP, NO_IP)
        """Source and target of the last packet refused for its addresses; IPv4 mapped into IPv6."""

    def judge(self, packet: memoryview | bytes) -> Drop | None:
        """The reason to drop an inner packet, or ``None`` if it may pass."""
        if len(packet) < _MIN_BYTES:
            return Drop.INNER_TOO_SHORT
        if packet[0] >> 4 != 4:
            return Drop.INNER_VERSION
        if packet[9] not in _PROTOCOLS:
            return Drop.INNER_PROTOCOL
        pair = bytes(packet[12:20])
        if self._addresses(pair):
            return None
        self.refused = (_MAPPED + pair[:4], _MAPPED + pair[4:])
        return Drop.INNER_ADDRESS

    def allowed(self, slot: SlotView, run: Run, drops: dict[Drop, int]) -> list[Run]:
        """The parts of a run that may pass, in order; the rest is counted in ``drops``."""
        if run.packets == 1 or self._uniform(slot, run):
            reason = self.judge(slot.memory[run.offset : run.offset + run.size - TAIL_BYTES])
            if reason is None:
                return [run]
            drops[reason] = drops.get(reason, 0) + run.packets
            return []
        passed: list[Run] = []
        for i in range(run.packets):
            size = run.last if i == run.packets - 1 else run.size
            at = run.offset + i * run.size
            reason = self.judge(slot.memory[at : at + size - TAIL_BYTES])
            if reason is not None:
                drops[reason] = drops.get(reason, 0) + 1
                continue
            last = passed[-1] if passed else None
            if last and last.end == at and last.size == last.last >= size:
                passed[-1] = last._replace(packets=last.packets + 1, last=size)
            else:
                passed.append(run._replace(packets=1, size=size, last=size, offset=at))
        return passed

    def _uniform(self, slot: SlotView, run: Run) -> bool:
        """Whether all packets of a run have the first one's version, protocol and addresses."""
        if run.last < _MIN_BYTES + TAIL_BYTES:
            return False
        at, size, count = run.offset, run.size, run.packets
        memory = slot.memory
        return not (
            np.count_nonzero(slot.column("=u8", at + 12, size, count) != _word(memory, at + 12))
            or np.count_nonzero(slot.column("u1", at + 9, size, count) != memory[at + 9])
            or np.count_nonzero(slot.column("u1", at, size, count) != memory[at])
        )

    def _addresses(self, pair: bytes) -> bool:
        if pair in self._allowed:
            return True
        source, destination = int.from_bytes(pair[:4], "big"), int.from_bytes(pair[4:], "big")
        if not (self._inside(source) and self._inside(destination)):
            return False
        if len(self._allowed) >= _MAX_REMEMBERED:
            self._allowed.clear()
        self._allowed.add(pair)
        return True

    def _inside(self, address: int) -> bool:
        return any(address & mask == network for network, mask in self._networks)


def _word(memory: memoryview, at: int) -> int:
    return int.from_bytes(memory[at : at + 8], sys.byteorder)
