"""What tests do inside a host of the lab: ``host.call("tests.e2e.inside:FUNCTION", ...)``.

Each call is a process of its own; arguments and results are what JSON can carry. Bytes travel as
hexadecimal digits.
"""

from __future__ import annotations

import fcntl
import random
import socket
import struct
import time
from collections.abc import Generator
from pathlib import Path
from typing import TypedDict

from chancel.daemon.interface import Interface

PORT = 5300
_NUMBER = struct.Struct(">QH")
_END = 2**64 - 1
_END_COPIES = 10
_BUFFER_BYTES = 4 << 20
_PATIENCE_S = 30.0

_SIOCGIFFLAGS = 0x8913
_SIOCGIFMTU = 0x8921
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_ETH_P_ALL = 0x0003
_ETH_P_IP = 0x0800
_PACKET_OUTGOING = 4
_ETH_P_8021Q = 0x8100
_SOL_PACKET = 263
_PACKET_AUXDATA = 8
_OUR_MAC = bytes.fromhex("02c4000000aa")
_UDP_SEGMENT = 103
_IPV6_MTU = 24


class Tally(TypedDict):
    """What one source sent us. Numbers count from 0, so ``highest + 1 - packets`` were lost."""

    packets: int
    highest: int
    reordered: int
    damaged: int


def _payload(number: int, size: int) -> bytes:
    return _NUMBER.pack(number, size) + random.Random(number).randbytes(size - _NUMBER.size)


def stream(targets: list[str], seconds: float, rate_pps: float, sizes: list[int]) -> int:
    """Send numbered UDP packets to all targets at once, of the sizes in turn (10 bytes at least).

    Never faster than asked: what was missed while the machine was busy is not made up for in
    bursts. Returns how many each was sent. Targets are of IPv6 if the first is.
    """
    family = socket.AF_INET6 if ":" in targets[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        start = time.monotonic()
        number = 0
        while time.monotonic() < start + seconds:
            payload = _payload(number, sizes[number % len(sizes)])
            for target in targets:
                sock.sendto(payload, (target, PORT))
            number += 1
            time.sleep(1 / rate_pps)
        for _ in range(_END_COPIES):
            time.sleep(0.05)
            for target in targets:
                sock.sendto(_NUMBER.pack(_END, 0), (target, PORT))
    return number


def tally(
    sources: int, patience_s: float = 8.0, ipv6: bool = False
) -> Generator[str, None, dict[str, Tally]]:
    """Receive streams until ``sources`` of them have ended, or nothing comes for ``patience_s``.

    Yields once, listening. Tallies are by source address.
    """
    tallies: dict[str, Tally] = {}
    ended: set[str] = set()
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        sock.bind(("", PORT))
        sock.settimeout(patience_s)
        yield "listening"
        while len(ended) < sources:
            try:
                data, (source, *_) = sock.recvfrom(65535)
            except TimeoutError:
                break
            number, size = _NUMBER.unpack_from(data)
            if number == _END:
                ended.add(source)
            else:
                _count(tallies, source, number, data == _payload(number, size))
    return tallies


def _count(tallies: dict[str, Tally], source: str, number: int, intact: bool) -> None:
    empty: Tally = {"packets": 0, "highest": -1, "reordered": 0, "damaged": 0}
    seen = tallies.setdefault(source, empty)
    seen["packets"] += 1
    seen["reordered"] += number < seen["highest"]
    seen["damaged"] += not intact
    seen["highest"] = max(seen["highest"], number)


def throw(datagrams: list[str], host: str, port: int, rate_pps: float) -> None:
    """Send datagrams from a port of our own, never faster than asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for datagram in datagrams:
            sock.sendto(bytes.fromhex(datagram), (host, port))
            time.sleep(1 / rate_pps)


def overhear(interface: str, port: int, count: int) -> Generator[str, None, dict[str, list[str]]]:
    """The next UDP payloads from and to a port, in order: ``in`` and ``out``.

    Yields once, listening. Raises TimeoutError after a long silence.
    """
    heard: dict[str, list[str]] = {"in": [], "out": []}
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL)) as sock:
        sock.bind((interface, _ETH_P_ALL))
        yield "listening"
        sock.settimeout(_PATIENCE_S)
        while len(heard["in"]) + len(heard["out"]) < count:
            packet, (_, protocol, kind, *_) = sock.recvfrom(65535)
            start = (packet[0] & 0x0F) * 4
            if protocol != _ETH_P_IP or packet[9] != socket.IPPROTO_UDP:
                continue
            source, destination = struct.unpack_from(">HH", packet, start)
            if port in (source, destination):
                direction = "out" if kind == _PACKET_OUTGOING else "in"
                heard[direction].append(packet[start + 8 :].hex())
    return heard


def inject(interface: str, packets: list[str]) -> None:
    """Hand packets to a network device as if the kernel had routed them there."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock:
        for packet in packets:
            sock.sendto(bytes.fromhex(packet), (interface, _ETH_P_IP, 0, 0, b"\xff" * 6))


def add_address(interface: str, address: str) -> None:
    """One more address (``192.0.2.1/32``) for an interface."""
    from pyroute2 import IPRoute  # takes longer than most of what is done here

    host, _, length = address.partition("/")
    with IPRoute() as ip:
        index = socket.if_nametoindex(interface)
        ip.addr("add", index=index, address=host, prefixlen=int(length))


def set_up(interface: str, up: bool) -> None:
    """Set an interface up or down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh22x", interface.encode(), 0)
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("h", answer, 16)
        flags = flags | _IFF_UP if up else flags & ~_IFF_UP
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", interface.encode(), flags))


def set_mtu(interface: str, mtu: int) -> None:
    """Change the MTU of an interface."""
    Interface.here(interface).set_mtu(mtu)


def mtu(interface: str) -> int:
    """The MTU of an interface, bytes of IP packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFMTU, struct.pack("16si12x", interface.encode(), 0))
    return int(struct.unpack_from("i", answer, 16)[0])


def udp_ports() -> list[int]:
    """The local ports of all UDP sockets of the host."""
    with open("/proc/net/udp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows]


def add_interface(name: str, address: str, route: str) -> None:
    """Another interface, up, with an address and a route."""
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.link("add", ifname=name, kind="veth", peer={"ifname": f"{name}-peer"})
        index = socket.if_nametoindex(name)
        ip.link("set", index=index, state="up")
        ip.link("set", index=socket.if_nametoindex(f"{name}-peer"), state="up")
        own, _, length = address.partition("/")
        ip.addr("add", index=index, address=own, prefixlen=int(length))
        ip.route("add", dst=route, oif=index)


def delete_interface(name: str) -> None:
    """What ``ip link delete NAME`` does."""
    from pyroute2 import IPRoute

    with IPRoute() as ip:
        ip.link("del", index=socket.if_nametoindex(name))


def routes_to(network: str) -> int:
    """How many routes there are to a network."""
    from pyroute2 import IPRoute

    address = network.partition("/")[0]
    with IPRoute() as ip:
        return sum(route.get_attr("RTA_DST") == address for route in ip.get_routes())


def routes() -> list[str]:
    """The destinations of the host's IPv4 routes."""
    with open("/proc/net/route") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return [socket.inet_ntoa(bytes.fromhex(row[1])[::-1]) for row in rows]


def echo_tcp(port: int) -> Generator[str, None, None]:
    """Answer every TCP connection with what it says, until killed. Yields once, listening."""
    with socket.create_server(("", port)) as server:
        yield "listening"
        while True:
            stream, _ = server.accept()
            with stream:
                stream.sendall(stream.recv(4096))


def sniff(interface: str, until: str) -> Generator[str, None, list[list[str | int]]]:
    """Who sent what to whom on an interface until the file ``until`` exists: protocol, source, its
    port, target, its port. What the kernel says to its link (IPv6) doesn't count.

    Yields once, listening.
    """
    seen: set[tuple[int, str, int, str, int]] = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL)) as sock:
        sock.bind((interface, _ETH_P_ALL))
        sock.settimeout(0.05)
        yield "listening"
        while True:
            try:
                packet, _ = sock.recvfrom(65535)
            except TimeoutError:
                if Path(until).exists():
                    return [list(each) for each in seen]
                continue
            if packet[0] >> 4 == 4:
                start, protocol = (packet[0] & 0x0F) * 4, packet[9]
                source, target = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
            else:
                start, protocol = 40, packet[6]
                source, target = (
                    socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24)
                )
                if source == "::" or source.startswith("fe80:"):
                    continue
            ports = struct.unpack_from(">HH", packet, start)
            seen.add((protocol, source, ports[0], target, ports[1]))
