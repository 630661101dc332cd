"""Joined packets, written to both kinds of real device, reach a socket whole."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from ipaddress import IPv4Interface

import pytest

from chancel.daemon import device_packet, device_tun, netconf
from chancel.daemon.device_types import Device
from chancel.daemon.hot.coalesce import DeviceWriter, write_run
from tests.daemon.naive import ACK, SYN, TAIL, TCP, UDP, Flow, fill, new_slot, train

InNetwork = Callable[[Callable[[], None]], None]

NAME = "join0"
NEAR, FAR = "10.77.0.1", "10.77.0.2"


@pytest.fixture(params=["tun", "packet"])
def open_device(request: pytest.FixtureRequest) -> Callable[[], Device]:
    if request.param == "tun" and not os.access(device_tun.CLONE_DEVICE, os.R_OK | os.W_OK):
        pytest.skip("/dev/net/tun is closed to us: sudo chmod 0666 /dev/net/tun")

    def opened() -> Device:
        if request.param == "tun":
            made = device_tun.attach(device_tun.open_clone_device(), NAME, offload=True)
        else:
            made = device_packet.open_packet_device(NAME, offload=True)
        netconf.configure(NAME, IPv4Interface(f"{NEAR}/30"), 1422, [])
        settle(made)
        return made

    return opened


def writer_of(made: Device) -> DeviceWriter:
    return DeviceWriter(made.fd, vnet=made.vnet, uso=made.uso, frame_header=made.frame_header)


def settle(made: Device) -> None:
    """Wait until the device passes packets: a veth pair takes a moment after it came up."""
    flow = Flow(protocol=UDP, source=FAR, destination=NEAR, destination_port=5000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((NEAR, 5000))
        for _ in range(500):
            write(writer_of(made), [flow.packet(b"there?")])
            if select.select([udp], [], [], 0.01)[0]:
                return
    raise AssertionError("the device never passed a packet")


def write(writer: DeviceWriter, packets: list[bytes]) -> None:
    slot = new_slot()
    write_run(writer, slot, fill(slot, [packet + bytes(TAIL) for packet in packets]))


def test_the_kernel_takes_udp_trains_apart(
    in_network: InNetwork, open_device: Callable[[], Device]
) -> None:
    def test() -> None:
        made = open_device()
        writer = writer_of(made)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind((NEAR, 5001))
            udp.settimeout(5)
            flow = Flow(protocol=UDP, source=FAR, destination=NEAR, destination_port=5001)
            packets = train(flow, 40, 1300, 77)
            write(writer, packets)
            assert [udp.recv(2000) for _ in packets] == [packet[28:] for packet in packets]
        assert writer.writes == (1 if made.uso else 40)
        assert not writer.drops

    in_network(test)


def test_the_kernel_takes_tcp_trains_apart(
    in_network: InNetwork, open_device: Callable[[], Device]
) -> None:
    """A handshake by hand, then a train, whose bytes the socket must have."""

    def test() -> None:
        made = open_device()
        writer = writer_of(made)
        with socket.create_server((NEAR, 5001)) as server:
            flow = Flow(source=FAR, destination=NEAR, destination_port=5001, window=60_000)
            write(writer, [flow.packet(b"", sequence=99, flags=SYN)])
            flow = flow._replace(acknowledged=answered(made) + 1)
            write(writer, [flow.packet(b"", sequence=100)])
            packets = train(flow, 20, 1300, 77, first=100)
            write(writer, packets)
            server.settimeout(5)
            stream, _ = server.accept()
            stream.settimeout(5)
            received = b""
            while len(received) < 19 * 1300 + 77:
                received += stream.recv(70_000)
            assert received == b"".join(packet[40:] for packet in packets)
        assert writer.writes == 3
        assert not writer.drops

    in_network(test)


def answered(made: Device) -> int:
    """The sequence number of the kernel's SYN and ACK."""
    at = device_tun.VNET_HEADER_BYTES + len(made.frame_header)
    while True:
        assert select.select([made.fd], [], [], 5)[0]
        packet = os.read(made.fd, 70_000)[at:]
        if packet[0] == 0x45 and packet[9] == TCP and packet[33] == SYN | ACK:
            return int.from_bytes(packet[24:28], "big")
