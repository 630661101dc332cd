"""IPv6 and TAP on both kinds of device, against the real kernel."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from chancel.daemon import device, device_packet, device_tun, netconf
from chancel.daemon.device_types import Device
from chancel.daemon.hot.reading import device_reader
from chancel.daemon.hot.tags import TaggedFrames
from chancel.daemon.interface import Interface
from chancel.daemon.linux import MachineError
from chancel.daemon.offloads import ALL, NONE, Offload
from tests.daemon.naive import TAIL, UDP, VNET, Flow, new_slot, packets_of

InNetwork = Callable[[Callable[[], None]], None]
Open = Callable[..., Device]

pytestmark = pytest.mark.usefixtures("twin")
"""Everything here holds for the hot functions in Python, and for their compiled twins."""

NAME = "dmB"
BRIDGE = "brB"
TUNNEL = IPv4Interface("10.77.0.1/30")
TUNNEL6 = IPv6Interface("fd77::1/64")
PEER6 = "fd77::2"
MAC, BROADCAST = bytes.fromhex("020000000002"), b"\xff" * 6
ARP, IPV6, VLAN, LLDP = (each.to_bytes(2, "big") for each in (0x0806, 0x86DD, 0x8100, 0x88CC))
UDP_SEGMENT = 103
ETH_P_ALL = 3
SOL_PACKET, PACKET_AUXDATA = 263, 8


@pytest.fixture(params=["tun", "packet"])
def open_kind(request: pytest.FixtureRequest) -> Open:
    if request.param == "packet":
        return lambda *, wanted=ALL, tap=False: device_packet.open_packet_device(
            NAME, wanted=wanted, tap=tap
        )
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        pytest.skip("/dev/net/tun is closed to us: sudo chmod 0666 /dev/net/tun")
    return lambda *, wanted=ALL, tap=False: device_tun.attach(
        device_tun.open_clone_device(), NAME, wanted=wanted, tap=tap
    )


class Reader:
    """The packets of a device, as heaven-rx would read them."""

    def __init__(self, made: Device, *, tap: bool) -> None:
        self.reader = device_reader(
            made.fd,
            vnet=made.vnet,
            frame_header_bytes=len(made.frame_header),
            ethernet=tap,
            tags_aside=made.tags_aside,
        )

    def until(self, wanted: Callable[[bytes], bool], count: int = 1) -> list[bytes]:
        """Read until so many packets came that are wanted; others are passed over."""
        found: list[bytes] = []
        while len(found) < count:
            assert select.select([self.reader.fd], [], [], 5)[0], "nothing more came"
            slot = new_slot()
            packets = packets_of(slot, self.reader.fill(slot, 1))
            found += [packet[:-TAIL] for packet in packets if wanted(packet[:-TAIL])]
        return found


@contextmanager
def udp6() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as inside:
        inside.bind((str(TUNNEL6.ip), 5000))
        inside.settimeout(5)
        yield inside


def from_us(packet: bytes) -> bool:
    return packet[:1] == b"\x60" and packet[8:24] == TUNNEL6.ip.packed


@pytest.mark.parametrize("wanted", [ALL, NONE])
def test_ipv6_packets_pass_each_way(
    in_network: InNetwork, open_kind: Open, wanted: Offload
) -> None:
    def test() -> None:
        made = open_kind(wanted=wanted)
        netconf.configure(NAME, TUNNEL, 1402, [], tunnel6=TUNNEL6)
        flow = Flow(6, UDP, str(TUNNEL6.ip), PEER6, 5000, 9, ttl=64)
        with udp6() as inside:
            inside.sendto(b"ping", (PEER6, 9))
            (packet,) = Reader(made, tap=False).until(from_us)
            assert packet[4:] == flow.packet(b"ping")[4:]
            back = Flow(6, UDP, PEER6, str(TUNNEL6.ip), 9, 5000).packet(b"pong")
            header = made.frame_header and made.frame_header[:-2] + IPV6
            for _ in range(500):  # the kernel knows its new address a moment after we were told
                os.write(made.fd, bytes(VNET.size if made.vnet else 0) + header + back)
                if select.select([inside], [], [], 0.01)[0]:
                    break
            assert inside.recvfrom(100)[0] == b"pong"

    in_network(test)


def test_trains_of_ipv6_are_cut(in_network: InNetwork, open_kind: Open) -> None:
    def test() -> None:
        made = open_kind()
        netconf.configure(NAME, TUNNEL, 1402, [], tunnel6=TUNNEL6)
        flow = Flow(6, UDP, str(TUNNEL6.ip), PEER6, 5000, 9)
        with udp6() as inside:
            inside.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
            payload = os.urandom(20_500)
            inside.sendto(payload, (PEER6, 9))
            reader = Reader(made, tap=False)
            packets = reader.until(from_us, 21)
            wanted = [flow.packet(payload[at : at + 1000]) for at in range(0, 20_500, 1000)]
            assert [packet[4:] for packet in packets] == [packet[4:] for packet in wanted]
            assert reader.reader.trains == (Offload.USO6 in made.offloads)

    in_network(test)


def test_the_device_has_the_addresses_of_the_file_and_no_other(
    in_network: InNetwork, open_kind: Open
) -> None:
    def test() -> None:
        made = open_kind()
        site, other = IPv6Network("2001:db8:7::/48"), IPv4Network("10.88.0.0/24")
        netconf.configure(NAME, TUNNEL, 1402, [site, other], tunnel6=TUNNEL6)
        with netconf.netlink() as ip:
            addresses = ip.get_addr(index=socket.if_nametoindex(NAME))
        own = {(each.get_attr("IFA_ADDRESS"), each["prefixlen"]) for each in addresses}
        assert own == {(str(TUNNEL.ip), 30), (str(TUNNEL6.ip), 64)}
        with udp6() as inside:  # an address that is still checked for duplicates couldn't be bound
            inside.sendto(b"site", ("2001:db8:7::9", 9))
            assert Reader(made, tap=False).until(from_us)[0][-4:] == b"site"
        again = IPv6Interface("fd78::1/64")
        with pytest.raises(MachineError, match=r"route 2001:db8:7::/48 already exists"):
            netconf.configure(NAME, None, 1402, [site], tunnel6=again)

    in_network(test)


def test_ipv6_that_is_switched_off_is_switched_on_for_the_device_alone(
    in_network: InNetwork, open_kind: Open
) -> None:
    def test() -> None:
        default = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
        default.write_text("1")
        open_kind()
        netconf.configure(NAME, TUNNEL, 1402, [], tunnel6=TUNNEL6)
        with udp6():
            assert default.read_text() == "1\n"

    in_network(test)


def test_a_machine_without_ipv6_says_so(
    in_network: InNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netconf, "_IPV6_SWITCH", "/nonexistent/{}")

    def test() -> None:
        device_packet.open_packet_device(NAME)
        with pytest.raises(MachineError, match="IPv6 is switched off here"):
            netconf.configure(NAME, TUNNEL, 1402, [], tunnel6=TUNNEL6)
        netconf.configure(NAME, TUNNEL, 1402, [])

    in_network(test)


def frame(kind: bytes, payload: bytes = b"payload", to: bytes = BROADCAST) -> bytes:
    return to + MAC + kind + payload.ljust(50, b".")


TAGGED = frame(VLAN, b"\x00\x07" + LLDP + b"tagged")


def ours(sent: bytes) -> bool:
    return sent[6:12] == MAC


@contextmanager
def wire(name: str) -> Iterator[socket.socket]:
    """What the kernel sees of an interface, VLAN tags aside."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packets:
        packets.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        packets.bind((name, ETH_P_ALL))
        packets.settimeout(5)
        yield packets


def arrived(packets: socket.socket) -> tuple[bytes, int]:
    """The next frame from us, and its VLAN tag."""
    while True:
        data, control, _, _ = packets.recvmsg(2000, 100)
        if ours(data):
            ((_, _, aside),) = control
            return data, struct.unpack_from("=H", aside, 16)[0]


@pytest.mark.parametrize("wanted", [ALL, NONE])
def test_whole_frames_pass_each_way(
    in_network: InNetwork, open_kind: Open, wanted: Offload
) -> None:
    """Of all types, to all addresses, with a VLAN tag or without, as large as the MTU allows."""

    def test() -> None:
        made = open_kind(wanted=wanted, tap=True)
        netconf.configure_tap(NAME, None, 1404, [])
        vnet = bytes(VNET.size if made.vnet else 0)
        full = frame(IPV6, bytes(1404), to=MAC)
        full_tagged = frame(VLAN, b"\x00\x07" + IPV6 + bytes(1404))
        sent = [frame(ARP), full, frame(LLDP), TAGGED, full_tagged]
        with wire(NAME) as near:
            for each in sent:
                near.send(each)
            assert Reader(made, tap=True).until(ours, len(sent)) == sent
        with wire(NAME) as near:
            for each in sent:
                os.write(made.fd, vnet + each)
            untagged = [TAGGED[:12] + TAGGED[16:], full_tagged[:12] + full_tagged[16:]]
            expected = [(each, 0) for each in sent[:3]] + [(each, 7) for each in untagged]
            assert [arrived(near) for _ in sent] == expected

    in_network(test)


def test_the_kernels_trains_come_out_of_a_tap_device(
    in_network: InNetwork, open_kind: Open
) -> None:
    def test() -> None:
        made = open_kind(tap=True)
        netconf.configure_tap(NAME, None, 1404, [])
        with netconf.netlink() as ip:
            index = socket.if_nametoindex(NAME)
            ip.addr("add", index=index, address=str(TUNNEL.ip), prefixlen=30)
            ip.neigh("add", dst="10.77.0.2", lladdr=MAC.hex(":"), ifindex=index, state=0x80)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
            inside.bind((str(TUNNEL.ip), 5000))
            inside.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
            payload = os.urandom(20_500)
            inside.sendto(payload, ("10.77.0.2", 9))
            frames = Reader(made, tap=True).until(lambda each: each[:6] == MAC, 21)
        flow = Flow(4, UDP, str(TUNNEL.ip), "10.77.0.2", 5000, 9)
        for i, each in enumerate(frames):
            identity = int.from_bytes(each[18:20], "big")
            wanted = flow.packet(payload[i * 1000 : (i + 1) * 1000], identity=identity)
            assert each[14:20] + each[26:] == wanted[:6] + wanted[12:]

    in_network(test)


class Packets:
    """A packet socket that gives one frame."""

    def __init__(self, prefix: bytes, frame: bytes, control: list[Any]) -> None:
        self.given = prefix, frame, control

    def recvmsg_into(self, parts: list[bytearray], _size: int) -> tuple[int, Any, int, None]:
        prefix, frame, control = self.given
        for part, data in zip(parts, (prefix, frame) if prefix else (frame,), strict=True):
            part[: len(data)] = data
        return len(prefix) + len(frame), control, 0, None

    def detach(self) -> None:
        pass


@pytest.mark.parametrize("vnet", [True, False])
def test_a_tag_moves_what_the_virtio_header_points_at(
    monkeypatch: pytest.MonkeyPatch, vnet: bool
) -> None:
    header = VNET.pack(1, 1, 66, 1300, 34, 16) if vnet else b""
    auxdata = struct.pack("=IIIHHHH", 0x10 | 0x40, 0, 0, 0, 0, 0x2007, 0x88A8)
    control = [(SOL_PACKET, 9, b""), (SOL_PACKET, PACKET_AUXDATA, auxdata)]
    fake = Packets(header, frame(ARP), control)
    monkeypatch.setattr(socket, "socket", lambda *_args, **_options: fake)
    prefix, scratch = bytearray(len(header)), bytearray(2000)
    frames = TaggedFrames(-1, memoryview(prefix), memoryview(scratch))
    size = frames.read() - len(header)
    assert bytes(scratch[:size]) == frame(b"\x88\xa8\x20\x07" + ARP)[:size]
    assert bytes(prefix) == (VNET.pack(1, 1, 70, 1300, 38, 16) if vnet else b"")
    fake.given = header, frame(ARP), [(SOL_PACKET, PACKET_AUXDATA, bytes(20))]
    size = frames.read() - len(header)
    assert bytes(scratch[:size]) == frame(ARP)


def link(name: str) -> Any:
    with netconf.netlink() as ip:
        (found,) = ip.link("get", index=socket.if_nametoindex(name))
    return found


def test_a_bridge_is_made_once_and_stays(in_network: InNetwork, open_kind: Open) -> None:
    def test() -> None:
        for _ in range(2):
            made = open_kind(tap=True)
            netconf.configure_tap(NAME, BRIDGE, 1404, [])
            assert link(NAME).get_attr("IFLA_MASTER") == socket.if_nametoindex(BRIDGE)
            assert link(BRIDGE)["flags"] & link(NAME)["flags"] & 1, "both are up"
            with netconf.netlink() as ip:
                assert not ip.get_addr(index=socket.if_nametoindex(NAME))
            os.close(made.fd)
            assert Interface.here(NAME).wait_gone()
            assert netconf.exists(BRIDGE)

    in_network(test)


def test_what_is_no_bridge_is_refused(in_network: InNetwork, open_kind: Open) -> None:
    def test() -> None:
        open_kind(tap=True)
        with pytest.raises(MachineError, match="can't be added to bridge lo"):
            netconf.configure_tap(NAME, "lo", 1404, [])

    in_network(test)


def test_without_tun_a_packet_device_is_the_tap(
    in_network: InNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_tun, "CLONE_DEVICE", "/nonexistent/tun")

    def test() -> None:
        made = device.open_device(NAME, tap=True)
        assert (made.frame_header, made.tags_aside) == (b"", True)

    in_network(test)
