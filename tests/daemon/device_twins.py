"""For tests of the twins that read and write the device: devices in pairs, and what meets them."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from hypothesis import strategies as st

from chancel.daemon.config_types import Network
from chancel.daemon.hot import twins
from chancel.daemon.hot.reading import Reader
from chancel.daemon.hot.writing import Writer
from tests.daemon.naive import (
    ACK,
    CWR,
    FIN,
    PSH,
    SYN,
    TCP,
    UDP,
    Flow,
)

NETWORKS: list[Network] = [
    IPv4Network("10.77.0.0/24"),
    IPv4Network("10.78.0.0/16"),
    IPv6Network("fd00::/16"),
]
MACS = bytes(range(12))
TYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
URG, ECE = 0x20, 0x40
HOP_BY_HOP, FRAGMENT = 0, 44


@contextmanager
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Two devices: of each the kernel's end, and ours."""
    with ExitStack() as stack:
        made = []
        for _ in range(2):
            kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for end in (kernel, ours):
                stack.enter_context(end)
                end.setblocking(False)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            made.append((kernel, ours))
        yield made


@contextmanager
def only(names: Sequence[str]) -> Iterator[None]:
    """Make what is made with these compiled twins."""
    before = twins.used()
    twins.use(names)
    try:
        yield
    finally:
        twins.use(before)


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def addressed(flow: Flow) -> Flow:
    """Give a flow addresses of its version; some of them are refused."""
    refused = flow.destination != "1"
    if flow.version == 4:
        destination = "192.0.2.1" if refused else "10.77.0.1"
        return flow._replace(source=f"10.77.0.{flow.source}", destination=destination)
    destination = "fe80::1" if refused else "fd00::1"
    return flow._replace(source=f"fd00::{flow.source}", destination=destination)


flows = st.builds(
    Flow()._replace,
    version=st.sampled_from([4, 6]),
    protocol=st.sampled_from([TCP, TCP, UDP]),
    source=st.sampled_from(["2", "2", "9"]),
    destination=st.sampled_from(["1", "1", "1", "0:0"]),
    source_port=st.sampled_from([7, 40_000]),
    flags_fragment=st.sampled_from([0x4000, 0x4000, 0, 0x2000, 0x0010]),
    ttl=st.sampled_from([64, 63]),
    options=st.integers(0, 10).map(lambda n: b"\x01" * (4 * n)),
).map(addressed)


flags = st.one_of(
    st.just(ACK),
    st.sampled_from([ACK | PSH, ACK | FIN, ACK | CWR, ACK | ECE, ACK | URG, SYN, 0]),
)
numbers = st.sampled_from([1, 0xFFF0, 2**32 - 3000])


def with_ip_options(packet: bytes, words: int) -> bytes:
    """The IPv4 packet with options of NOPs; the header's checksum is not made right."""
    if packet[0] >> 4 != 4 or not words:
        return packet
    head = bytearray(packet[:20] + b"\x01" * 4 * words)
    head[0] += words
    struct.pack_into("!H", head, 2, len(packet) + 4 * words)
    return bytes(head) + packet[20:]


def with_extension(packet: bytes, kind: int | None) -> bytes:
    """The IPv6 packet with an extension header of eight bytes."""
    if packet[0] >> 4 != 6 or kind is None:
        return packet
    head = bytearray(packet[:40])
    extension = bytes((head[6], 0, 1, 4, 0, 0, 0, 0)) if kind != FRAGMENT else bytes(8)
    head[6] = kind
    struct.pack_into("!H", head, 4, len(packet) - 40 + 8)
    return bytes(head) + extension + packet[40:]


def counters(counted: Reader | Writer, *names: str) -> dict[str, Any]:
    return {name: getattr(counted, name) for name in (*names, "packets", "bytes", "drops", "fd")}
