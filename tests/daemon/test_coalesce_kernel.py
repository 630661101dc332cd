"""Joined packets, written to each kind of real device, reach a socket whole."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface
from typing import NamedTuple

import pytest

from chancel.daemon import device_packet, device_tun, netconf
from chancel.daemon.device_types import Device
from chancel.daemon.hot.writing import Writer, device_writer
from chancel.daemon.offloads import COALESCE, Offload
from tests.daemon.naive import ACK, SYN, TAIL, TCP, UDP, Flow, fill, new_slot, train

pytestmark = pytest.mark.usefixtures("twin")
"""Everything here holds for the hot functions in Python, and for their compiled twins."""

InNetwork = Callable[[Callable[[], None]], None]

NAME = "join0"
NEAR = {4: "10.77.0.1", 6: "fd77::1"}
FAR = {4: "10.77.0.2", 6: "fd77::2"}
FAR_MAC = "02:00:00:00:00:02"
IFA_F_NODAD = 2
PERMANENT = 0x80


class Opened(NamedTuple):
    """A device, and what an IP packet needs before it to be a packet of it."""

    device: Device
    version: int
    ethernet: bytes

    def flow(self, protocol: int, port: int) -> Flow:
        """Packets from the far side to a port of ours."""
        return Flow(
            self.version, protocol, FAR[self.version], NEAR[self.version], destination_port=port
        )

    def writer(self) -> Writer:
        made = self.device
        return device_writer(
            made.fd,
            (),
            vnet=made.vnet,
            coalesce=made.offloads & COALESCE,
            frame_header=made.frame_header,
            ethernet=bool(self.ethernet),
        )

    def write(self, packets: list[bytes], writer: Writer | None = None) -> Writer:
        writer = writer or self.writer()
        slot = new_slot()
        tailed = [self.ethernet + packet + bytes(TAIL) for packet in packets]
        writer.write_run(slot, fill(slot, tailed))
        return writer

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET if self.version == 4 else socket.AF_INET6


@pytest.fixture(params=["tun", "packet"])
def real(request: pytest.FixtureRequest) -> bool:
    """Whether the device is the kernel's own, or a veth pair in its place."""
    if request.param == "tun" and not os.access(device_tun.CLONE_DEVICE, os.R_OK | os.W_OK):
        pytest.skip("/dev/net/tun is closed to us: sudo chmod 0666 /dev/net/tun")
    return bool(request.param == "tun")


@pytest.fixture(params=[(4, False), (6, False), (4, True), (6, True)], ids=str)
def opened(request: pytest.FixtureRequest, real: bool) -> Callable[[], Opened]:
    version, tap = request.param

    def opened() -> Opened:
        if real:
            clone = device_tun.open_clone_device()
            made = device_tun.attach(clone, NAME, tap=tap)
        else:
            made = device_packet.open_packet_device(NAME, tap=tap)
        ours = IPv4Interface("10.77.0.1/30")
        if tap:
            netconf.configure_tap(NAME, None, 1422, [])
            ethernet = neighbour(version)
        else:
            ethernet = b""
            netconf.configure(NAME, ours, 1422, [], tunnel6=IPv6Interface("fd77::1/64"))
        found = Opened(made, version, ethernet)
        settle(found)
        return found

    return opened


def neighbour(version: int) -> bytes:
    """Give the TAP device an address and a neighbour; returns the frames' Ethernet header."""
    index = socket.if_nametoindex(NAME)
    with netconf.netlink() as ip:
        length = 30 if version == 4 else 64
        flags = {} if version == 4 else {"flags": IFA_F_NODAD}
        ip.addr("add", index=index, address=NEAR[version], prefixlen=length, **flags)
        ip.neigh("add", dst=FAR[version], lladdr=FAR_MAC, ifindex=index, state=PERMANENT)
        (link,) = ip.link("get", index=index)
    ours, theirs = link.get_attr("IFLA_ADDRESS"), FAR_MAC
    macs = bytes.fromhex((ours + theirs).replace(":", ""))
    return macs + (b"\x08\x00" if version == 4 else b"\x86\xdd")


def settle(opened: Opened) -> None:
    """Wait until the device passes packets: a veth pair takes a moment after it came up."""
    flow = opened.flow(UDP, 5000)
    with socket.socket(opened.family, socket.SOCK_DGRAM) as udp:
        udp.bind((NEAR[opened.version], 5000))
        for _ in range(500):
            opened.write([flow.packet(b"there?")])
            if select.select([udp], [], [], 0.01)[0]:
                return
    raise AssertionError("the device never passed a packet")


@pytest.mark.parametrize(("count", "size", "last"), [(40, 1300, 77), (200, 20, 20)])
def test_the_kernel_takes_udp_trains_apart(
    in_network: InNetwork, opened: Callable[[], Opened], count: int, size: int, last: int
) -> None:
    """It takes 128 packets in one, and older ones 64; of more it says that there is no such thing,
    which must not happen: trains would be given up for good."""

    def test() -> None:
        made = opened()
        with socket.socket(made.family, socket.SOCK_DGRAM) as udp:
            udp.bind((NEAR[made.version], 5001))
            udp.settimeout(5)
            flow = made.flow(UDP, 5001)
            packets = train(flow, count, size, last)
            writer = made.write(packets)
            assert [udp.recv(2000) for _ in packets] == [packet[flow.head :] for packet in packets]
        joins = Offload.COALESCE_UDP in made.device.offloads
        assert writer.writes == (-(-count // 64) if joins else count)
        assert not writer.drops

    in_network(test)


def test_the_kernel_takes_tcp_trains_apart(
    in_network: InNetwork, opened: Callable[[], Opened]
) -> None:
    """A handshake by hand, then a train, whose bytes the socket must have."""

    def test() -> None:
        made = opened()
        writer = made.writer()
        with socket.create_server((NEAR[made.version], 5001), family=made.family) as server:
            flow = made.flow(TCP, 5001)._replace(window=60_000)
            made.write([flow.packet(b"", sequence=99, flags=SYN)], writer)
            flow = flow._replace(acknowledged=answered(made) + 1)
            made.write([flow.packet(b"", sequence=100)], writer)
            packets = train(flow, 20, 1300, 77, first=100)
            made.write(packets, writer)
            server.settimeout(5)
            stream, _ = server.accept()
            stream.settimeout(5)
            received = b""
            while len(received) < 19 * 1300 + 77:
                received += stream.recv(70_000)
            assert received == b"".join(packet[flow.head :] for packet in packets)
        assert writer.writes == 3
        assert not writer.drops

    in_network(test)


def answered(made: Opened) -> int:
    """The sequence number of the kernel's SYN and ACK."""
    at = device_tun.VNET_HEADER_BYTES + len(made.device.frame_header or made.ethernet)
    protocol, start = (9, 20) if made.version == 4 else (6, 40)
    while True:
        assert select.select([made.device.fd], [], [], 5)[0]
        packet = os.read(made.device.fd, 70_000)[at:]
        if (
            packet[0] >> 4 == made.version
            and packet[protocol] == TCP
            and packet[start + 13] == SYN | ACK
        ):
            return int.from_bytes(packet[start + 4 : start + 8], "big")
