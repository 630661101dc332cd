"""What may reach the device: the receiver's filter (protocol section 3.4).

The sender does not filter; the receiver believes nothing that is inside, authentic or not. On a TUN
device only IP, only ICMP, TCP and UDP, and only addresses of the tunnel's own networks or of one
named by ``accept``; IPv6 only where the tunnel has an IPv6 network. On a TAP device only Ethernet
frames of a few types.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from chancel.daemon.config_types import Network
from chancel.daemon.hot.views import SlotView
from chancel.daemon.records import NO_IP
from chancel.daemon.run import Run
from chancel.wire.drop import Drop
from chancel.wire.traffic import TAIL_BYTES

_MIN_BYTES = 20
_MAPPED = bytes(10) + b"\xff\xff"
_IP6_BYTES = 16
_PROTOCOLS = frozenset({1, 6, 17})

_MIN_BYTES6 = 40
_PROTOCOLS6 = frozenset({6, 17, 58})
_FRAGMENT6 = 44
"""The one extension header that the three protocols need. Others either steer packets (routing) or
have no meaning beyond one link (hop by hop), or hide what follows them; they are refused."""
_FRAGMENT6_BYTES = 8
_LINK_LOCAL6_BITS = 10
_LINK_LOCAL6 = 0xFE80 >> 6

_MAX_REMEMBERED = 4096
"""Address pairs remembered as allowed. A peer can make any number: when full, all are forgotten."""

_ETHERNET_BYTES = 14
_ETHERTYPES = frozenset({b"\x08\x00", b"\x08\x06", b"\x81\x00", b"\x86\xdd"})


class Filter(Protocol):
    """Judges inner packets of one tunnel."""

    refused: tuple[bytes, bytes]
    """Source and target of the last packet refused for its addresses; IPv4 mapped into IPv6."""

    def judge(self, packet: memoryview | bytes) -> Drop | None:
        """The reason to drop an inner packet, or ``None`` if it may pass."""

    def uniform(self, slot: SlotView, run: Run) -> bool:
        """Whether all packets of a run are surely judged as its first one."""


def allowed(rules: Filter, slot: SlotView, run: Run, drops: dict[Drop, int]) -> list[Run]:
    """The parts of a run that may pass, in order; the rest is counted in ``drops``."""
    if run.packets == 1 or rules.uniform(slot, run):
        reason = rules.judge(slot.memory[run.offset : run.offset + run.size - TAIL_BYTES])
        if reason is None:
            return [run]
        drops[reason] = drops.get(reason, 0) + run.packets
        return []
    passed: list[Run] = []
    for i in range(run.packets):
        size = run.last if i == run.packets - 1 else run.size
        at = run.offset + i * run.size
        reason = rules.judge(slot.memory[at : at + size - TAIL_BYTES])
        if reason is not None:
            drops[reason] = drops.get(reason, 0) + 1
            continue
        last = passed[-1] if passed else None
        if last and last.end == at and last.size == last.last >= size:
            passed[-1] = last._replace(packets=last.packets + 1, last=size)
        else:
            passed.append(run._replace(packets=1, size=size, last=size, offset=at))
    return passed


class InnerFilter:
    """Judges IP packets (TUN)."""

    def __init__(self, networks: Iterable[Network]) -> None:
        masks: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        self._names_link_local = False
        for network in networks:
            masks[network.version].append((int(network.network_address), int(network.netmask)))
            self._names_link_local |= network.is_link_local and network.version == 6
        self._networks, self._networks6 = masks[4], masks[6]
        self._allowed: set[bytes] = set()
        self.refused = (NO_IP, NO_IP)

    def judge(self, packet: memoryview | bytes) -> Drop | None:
        """The reason to drop an inner packet, or ``None`` if it may pass."""
        if len(packet) < _MIN_BYTES:
            return Drop.INNER_TOO_SHORT
        version = packet[0] >> 4
        if version == 6 and self._networks6:
            return self._judge6(packet)
        if version != 4:
            return Drop.INNER_VERSION
        if packet[9] not in _PROTOCOLS:
            return Drop.INNER_PROTOCOL
        return None if self._addresses(bytes(packet[12:20]), 4) else Drop.INNER_ADDRESS

    def _judge6(self, packet: memoryview | bytes) -> Drop | None:
        if len(packet) < _MIN_BYTES6:
            return Drop.INNER_TOO_SHORT
        protocol = packet[6]
        if protocol == _FRAGMENT6:
            if len(packet) < _MIN_BYTES6 + _FRAGMENT6_BYTES:
                return Drop.INNER_TOO_SHORT
            protocol = packet[_MIN_BYTES6]
        if protocol not in _PROTOCOLS6:
            return Drop.INNER_PROTOCOL
        return None if self._addresses(bytes(packet[8:40]), 6) else Drop.INNER_ADDRESS

    def uniform(self, slot: SlotView, run: Run) -> bool:
        """Whether all packets of a run have the first one's version, protocol and addresses."""
        at, size, count = run.offset, run.size, run.packets
        memory = slot.memory
        if memory[at] >> 4 == 6:
            return self._uniform6(slot, run)
        if run.last < _MIN_BYTES + TAIL_BYTES:
            return False
        return not (
            np.count_nonzero(slot.column("=u8", at + 12, size, count) != _word(memory, at + 12))
            or np.count_nonzero(slot.column("u1", at + 9, size, count) != memory[at + 9])
            or np.count_nonzero(slot.column("u1", at, size, count) != memory[at])
        )

    @staticmethod
    def _uniform6(slot: SlotView, run: Run) -> bool:
        at, size, count = run.offset, run.size, run.packets
        if run.last < _MIN_BYTES6 + TAIL_BYTES or slot.memory[at + 6] == _FRAGMENT6:
            return False
        addresses = np.ndarray((count, 4), "=u8", slot.memory, at + 8, (size, 8))
        return not (
            np.count_nonzero(addresses != addresses[0])
            or np.count_nonzero(slot.column("u1", at + 6, size, count) != slot.memory[at + 6])
            or np.count_nonzero(slot.column("u1", at, size, count) != slot.memory[at])
        )

    def _addresses(self, pair: bytes, version: int) -> bool:
        if pair in self._allowed:
            return True
        half = len(pair) // 2
        inside = self._inside if version == 4 else self._inside6
        ends = pair[:half], pair[half:]
        if not all(inside(int.from_bytes(each, "big")) for each in ends):
            self.refused = (_as_ipv6(ends[0]), _as_ipv6(ends[1]))
            return False
        if len(self._allowed) >= _MAX_REMEMBERED:
            self._allowed.clear()
        self._allowed.add(pair)
        return True

    def _inside(self, address: int) -> bool:
        return any(address & mask == network for network, mask in self._networks)

    def _inside6(self, address: int) -> bool:
        """Link-local addresses aren't routed, so ``accept ::/0`` doesn't mean them.

        A router's advertisement comes from one: it would give the device addresses and routes.
        """
        if address >> (128 - _LINK_LOCAL6_BITS) == _LINK_LOCAL6 and not self._names_link_local:
            return False
        return any(address & mask == network for network, mask in self._networks6)


class FrameFilter:
    """Judges Ethernet frames (TAP): IPv4, ARP, VLAN-tagged, IPv6. No address matters to it."""

    refused = (NO_IP, NO_IP)

    def judge(self, packet: memoryview | bytes) -> Drop | None:
        """The reason to drop a frame, or ``None`` if it may pass."""
        if len(packet) < _ETHERNET_BYTES:
            return Drop.INNER_TOO_SHORT
        return None if bytes(packet[12:14]) in _ETHERTYPES else Drop.INNER_ETHERTYPE

    def uniform(self, slot: SlotView, run: Run) -> bool:
        """Whether all frames of a run have the first one's type."""
        if run.last < _ETHERNET_BYTES + TAIL_BYTES:
            return False
        types = slot.column("=u2", run.offset + 12, run.size, run.packets)
        return not np.count_nonzero(types != types[0])


def _as_ipv6(address: bytes) -> bytes:
    return address if len(address) == _IP6_BYTES else _MAPPED + address


def _word(memory: memoryview, at: int) -> int:
    return int.from_bytes(memory[at : at + 8], sys.byteorder)
