"""Both kinds of device against the real kernel: a packet each way, trains, and their end."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv4Network

import pytest

from chancel.daemon import device, device_packet, device_tun, linux, netconf
from chancel.daemon.device_types import Device
from chancel.daemon.interface import Interface
from chancel.daemon.linux import MachineError
from chancel.daemon.offloads import ALL, NONE, Offload
from tests.daemon.network import InNetwork

Open = Callable[..., Device]

NAME = "dmA"
TUNNEL = IPv4Interface("10.77.0.1/30")
PEER = "10.77.0.2"
UDP_SEGMENT = 103


def open_tun(wanted: Offload = ALL) -> Device:
    return device_tun.attach(device_tun.open_clone_device(), NAME, wanted=wanted)


def open_packet(wanted: Offload = ALL) -> Device:
    return device_packet.open_packet_device(NAME, wanted=wanted)


@pytest.fixture(params=[open_tun, open_packet], ids=["tun", "packet"])
def open_kind(request: pytest.FixtureRequest) -> Open:
    if request.param is open_tun and not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("/dev/net/tun is closed to us: sudo chmod 0666 /dev/net/tun")
    kind: Open = request.param
    return kind


def vnet_bytes(made: Device) -> int:
    return device_tun.VNET_HEADER_BYTES if made.vnet else 0


def read(made: Device) -> tuple[bytes, bytes]:
    """The next frame's virtio header, and its packet."""
    assert select.select([made.fd], [], [], 5)[0]
    frame = os.read(made.fd, 70_000)
    at = vnet_bytes(made)
    return frame[:at], frame[at + len(made.frame_header) :]


def write(made: Device, packet: bytes) -> None:
    os.write(made.fd, bytes(vnet_bytes(made)) + made.frame_header + packet)


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def answer(packet: bytes) -> bytes:
    """The UDP packet, sent back: addresses and ports swapped, no UDP checksum."""
    header = bytearray(packet[:20])
    header[12:16], header[16:20] = packet[16:20], packet[12:16]
    header[10:12] = bytes(2)
    header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header) + packet[22:24] + packet[20:22] + packet[24:26] + bytes(2) + packet[28:]


@pytest.mark.parametrize("wanted", [ALL, NONE])
def test_a_packet_each_way(in_network: InNetwork, open_kind: Open, wanted: Offload) -> None:
    def test() -> None:
        made = open_kind(wanted)
        assert made.vnet == bool(wanted)
        netconf.configure(NAME, TUNNEL, 1422, [])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
            inside.bind((str(TUNNEL.ip), 0))
            inside.settimeout(5)
            inside.sendto(b"ping", (PEER, 9))
            _header, packet = read(made)
            assert packet[12:20] == TUNNEL.ip.packed + socket.inet_aton(PEER)
            assert packet[28:] == b"ping"
            if not wanted:  # nobody fills it in later
                pseudo = packet[12:20] + bytes((0, 17)) + packet[24:26]
                assert checksum(pseudo + packet[20:]) == 0
            write(made, answer(packet))
            assert inside.recvfrom(100) == (b"ping", (PEER, 9))

    in_network(test)


@pytest.mark.parametrize("wanted", [ALL, NONE])
def test_trains_come_only_with_offloads(
    in_network: InNetwork, open_kind: Open, wanted: Offload
) -> None:
    def test() -> None:
        made = open_kind(wanted)
        if wanted and Offload.USO4 not in made.offloads:
            return
        netconf.configure(NAME, TUNNEL, 1422, [])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
            inside.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
            inside.sendto(bytes(3000), (PEER, 9))
            packets = [read(made)[1] for _ in range(1 if wanted else 3)]
            sizes = [len(packet) for packet in packets]
            assert sizes == ([3028] if wanted else [1028] * 3)

    in_network(test)


def test_the_device_ends_with_its_last_descriptor(in_network: InNetwork, open_kind: Open) -> None:
    def test() -> None:
        made = open_kind()
        another = os.dup(made.fd)
        os.close(made.fd)
        assert netconf.exists(NAME)
        os.close(another)
        assert Interface.here(NAME).wait_gone()

    in_network(test)


def test_addresses_routes_and_mtu(in_network: InNetwork, open_kind: Open) -> None:
    def test() -> None:
        made = open_kind()
        route = IPv4Network("10.88.0.0/24")
        netconf.configure(NAME, TUNNEL, 1422, [route])
        Interface.here(NAME).set_mtu(1300)
        with netconf.netlink() as ip:
            index = socket.if_nametoindex(NAME)
            (link,) = ip.link("get", index=index)
            assert link.get_attr("IFLA_MTU") == 1300
            (address,) = ip.get_addr(index=index)  # so there is none of IPv6
            assert address.get_attr("IFA_LOCAL") == str(TUNNEL.ip)
            assert address["prefixlen"] == 30
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
            inside.sendto(b"site", ("10.88.0.7", 9))
            assert read(made)[1][28:] == b"site"
        with pytest.raises(MachineError, match=r"10\.88\.0\.0/24 already exists"):
            netconf.configure(NAME, IPv4Interface("10.99.0.1/30"), 1422, [route])

    in_network(test)


def test_a_name_that_is_taken_is_refused(in_network: InNetwork) -> None:
    def test() -> None:
        with pytest.raises(MachineError, match="network device lo already exists"):
            device.open_device("lo")

    in_network(test)


def test_without_tun_the_packet_device_steps_in(
    in_network: InNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_tun, "CLONE_DEVICE", "/nonexistent/tun")

    def test() -> None:
        assert device.open_device(NAME).frame_header[12:] == b"\x08\x00"

    in_network(test)


@pytest.mark.parametrize(
    ("has_right", "remedy"),
    [
        (False, "run as root.*without root.*chancel exec"),
        (True, "chmod 0666 /nonexistent/tun"),
    ],
)
def test_without_any_device_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, has_right: bool, remedy: str
) -> None:
    monkeypatch.setattr(device_tun, "CLONE_DEVICE", "/nonexistent/tun")
    monkeypatch.setattr(linux, "has_capability", lambda _number: has_right)

    def refuse(name: str, *, wanted: Offload, tap: bool) -> Device:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(device_packet, "open_packet_device", refuse)
    with pytest.raises(MachineError, match=remedy):
        device.open_device(NAME)
