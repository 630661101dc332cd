"""Each offload by itself: wanted, refused by a kernel, given up, and what the device does then."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

import pyseccomp
import pytest

from chancel.crypto.system import SystemSuite
from chancel.daemon import device_features, device_packet, device_trial, device_tun, netconf
from chancel.daemon.config import parse
from chancel.daemon.device_types import Device
from chancel.daemon.duties import heaven_tx, purgatory_tx
from chancel.daemon.hot.cut import GSO_NONE, GSO_TCP4, GSO_TCP6, VNET
from chancel.daemon.hot.writing import DeviceWriter
from chancel.daemon.offloads import (
    ALL,
    COALESCE,
    NONE,
    OF_DEVICE,
    SWITCHES,
    TSO,
    USO,
    Offload,
    names,
    states,
    switched,
    with_broken,
)
from chancel.daemon.udp import open_udp
from chancel.wire.types import Address
from tests.daemon.network import InNetwork
from tests.daemon.running import Running, text
from tests.daemon.test_guardian import MAKERS
from tests.daemon.test_status import SETTINGS

Open = Callable[[Offload], Device]

NAME = "offA"
TUNNEL, TUNNEL6 = IPv4Interface("10.77.0.1/30"), IPv6Interface("fd77::1/64")
OURS = {4: str(TUNNEL.ip), 6: str(TUNNEL6.ip)}
PEER = {4: "10.77.0.2", 6: "fd77::2"}
BULK = 4000
"""Less than the initial congestion window of the smallest segments."""
TUNSETOFFLOAD = 0x4004_54D0
UDP_SEGMENT, UDP_GRO = 103, 104
TCP_REPAIR, TCP_REPAIR_WINDOW = 19, 29

TUN_FLAGS = {
    Offload.CHECKSUM: 0x01,
    Offload.TSO4: 0x02,
    Offload.TSO6: 0x04,
    USO: 0x60,
    Offload.USO4: 0x20,
}


@pytest.fixture(params=["tun", "packet"])
def open_kind(request: pytest.FixtureRequest) -> Open:
    if request.param == "packet":
        return lambda wanted: device_packet.open_packet_device(NAME, wanted=wanted)
    if not os.access(device_tun.CLONE_DEVICE, os.R_OK | os.W_OK):
        pytest.skip("/dev/net/tun is closed to us: sudo chmod 0666 /dev/net/tun")
    return lambda wanted: device_tun.attach(device_tun.open_clone_device(), NAME, wanted=wanted)


def refuse(call: str, *arguments: pyseccomp.Arg) -> None:
    """From now on this process has a kernel that doesn't know this call."""
    found = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    found.add_rule(pyseccomp.ERRNO(errno.EINVAL), call, *arguments)
    found.load()


def refuse_flag(flag: int) -> None:
    """A kernel whose TUN devices lack this offload."""
    refuse(
        "ioctl",
        pyseccomp.Arg(1, pyseccomp.EQ, TUNSETOFFLOAD),
        pyseccomp.Arg(2, pyseccomp.MASKED_EQ, flag, flag),
    )


class TestSwitches:
    def test_all_offloads_have_one(self) -> None:
        together = NONE
        for each in SWITCHES.values():
            assert not together & each
            together |= each
        assert together == ALL

    def test_what_needs_checksums_comes_and_goes_with_them(self) -> None:
        without = switched(ALL, "checksum", on=False)
        assert without == ALL & ~(TSO | USO | Offload.CHECKSUM)
        assert switched(without, "uso", on=True) == without | USO | Offload.CHECKSUM
        assert switched(ALL, "tso", on=False) == ALL & ~TSO

    def test_names_and_states(self) -> None:
        assert (names(NONE), names(Offload.GRO | Offload.TSO4)) == ("none", "tso4,gro")
        found = states(ALL & ~USO, ALL & ~USO & ~Offload.GRO)
        assert set(found) == {each.name.lower() for each in Offload if each.name}
        assert [found[each] for each in ("gso", "gro", "uso4", "uso6")] == [
            *("on", "refused", "off", "off"),
        ]
        later = with_broken(found, Offload.GSO | Offload.COALESCE_UDP)
        assert {name for name in later if later[name] != found[name]} == {"gso", "coalesce_udp"}
        assert later["gso"] == later["coalesce_udp"] == "broken"


@pytest.mark.parametrize(
    ("lines", "offloads"),
    [
        ("", ALL),
        ("offload on", ALL),
        ("offload off", NONE),
        ("offload off tso", ALL & ~TSO),
        ("offload off  gso\tgro", ALL & ~Offload.GSO & ~Offload.GRO),
        ("offload off uso\noffload off coalesce", ALL & ~USO & ~COALESCE),
        ("offload off\noffload on gro gso", Offload.GSO | Offload.GRO),
        ("offload off\noffload on tso", TSO | Offload.CHECKSUM),
        ("offload off tso\noffload on", ALL),
        ("offload off checksum", ALL & ~(TSO | USO | Offload.CHECKSUM)),
    ],
)
def test_lines_of_a_configuration(tmp: Path, lines: str, offloads: Offload) -> None:
    assert parse(text(tmp, 1, lines), "t.conf").offloads == offloads


@pytest.mark.parametrize("wanted", [ALL, *(ALL & ~each for each in SWITCHES.values()), NONE])
def test_a_device_has_what_was_wanted(
    in_network: InNetwork, open_kind: Open, wanted: Offload
) -> None:
    if wanted & Offload.CHECKSUM == NONE:
        wanted &= ~(TSO | USO)

    def test() -> None:
        assert open_kind(wanted).offloads == wanted & OF_DEVICE

    in_network(test)


def established(version: int) -> socket.socket:
    """A TCP connection through the device; the peer says nothing and needs to say nothing."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    tcp = socket.socket(family, socket.SOCK_STREAM)
    tcp.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    tcp.bind((OURS[version], 0))
    tcp.connect((PEER[version], 9))
    window = struct.pack("=IIIII", 0, 65_000, 65_000, 65_000, 0)
    tcp.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_WINDOW, window)
    tcp.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 0)
    return tcp


def kinds_read(made: Device, port: int, enough: int) -> set[int]:
    """The kinds of packet that come from a port of ours until ``enough`` payload has come."""
    kinds, got = set(), 0
    while got < enough:
        assert select.select([made.fd], [], [], 5)[0]
        frame = os.read(made.fd, 70_000)
        at = VNET.size + len(made.frame_header)
        packet = frame[at:]
        header = 20 if packet[0] >> 4 == 4 else 40
        protocol = packet[9] if header == 20 else packet[6]
        if protocol != 6 or int.from_bytes(packet[header : header + 2], "big") != port:
            continue
        payload = len(packet) - header - (packet[header + 12] >> 4) * 4
        if payload:
            got += payload
            kinds.add(VNET.unpack_from(frame)[1])
    return kinds


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("wanted", [TSO, Offload.TSO4, Offload.TSO6, NONE])
def test_tcp_comes_in_trains_of_the_wanted_version_alone(
    in_network: InNetwork, open_kind: Open, wanted: Offload, version: int
) -> None:
    kind, own = ((GSO_TCP4, Offload.TSO4), (GSO_TCP6, Offload.TSO6))[version == 6]

    def test() -> None:
        made = open_kind(wanted | Offload.CHECKSUM)
        netconf.configure(NAME, TUNNEL, 1400, [], tunnel6=TUNNEL6)
        with established(version) as tcp:
            tcp.sendall(bytes(BULK))
            kinds = kinds_read(made, tcp.getsockname()[1], BULK)
        assert kinds == ({kind} if own in wanted else {GSO_NONE})

    in_network(test)


def test_udp_comes_in_trains_unless_switched_off(in_network: InNetwork, open_kind: Open) -> None:
    def test() -> None:
        made = open_kind(ALL & ~USO)
        netconf.configure(NAME, TUNNEL, 1422, [])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
            inside.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
            inside.sendto(bytes(3000), (PEER[4], 9))
            assert select.select([made.fd], [], [], 5)[0]
            skip = VNET.size + len(made.frame_header)
            assert [len(os.read(made.fd, 70_000)) - skip for _ in range(3)] == [1028] * 3

    in_network(test)


@pytest.mark.parametrize(
    ("refused", "left"),
    [
        (Offload.CHECKSUM, COALESCE),  # of which the kernel makes all the rest depend
        (Offload.TSO4, OF_DEVICE & ~Offload.TSO4),
        (Offload.TSO6, OF_DEVICE & ~Offload.TSO6),
        (Offload.USO4, OF_DEVICE & ~USO),  # of which this kernel has both or none
        (USO, OF_DEVICE & ~USO),
    ],
    ids=names,
)
def test_a_kernel_without_one_still_gives_the_others(
    in_network: InNetwork, refused: Offload, left: Offload
) -> None:
    if not os.access(device_tun.CLONE_DEVICE, os.R_OK | os.W_OK):
        pytest.skip("/dev/net/tun is closed to us: sudo chmod 0666 /dev/net/tun")

    def test() -> None:
        refuse_flag(TUN_FLAGS[refused])
        assert device_tun.attach(device_tun.open_clone_device(), NAME).offloads == left

    in_network(test)


def test_kinds_of_train_are_tried_by_writing_one(
    in_network: InNetwork, open_kind: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kernel knows kind 9, or takes TCP over IPv6 that is IPv4."""
    unknown = {
        Offload.COALESCE_TCP4: (GSO_TCP4, 4, 6),
        Offload.COALESCE_TCP6: (GSO_TCP6, 4, 6),
        Offload.COALESCE_UDP: (9, 4, 17),
    }
    monkeypatch.setattr(device_trial, "_KINDS", unknown)

    def test() -> None:
        made = open_kind(COALESCE | USO | Offload.CHECKSUM)
        assert made.offloads & COALESCE == Offload.COALESCE_TCP4
        if made.frame_header:  # where nothing else tells whether UDP trains can be read
            assert not made.offloads & USO

    in_network(test)


def test_a_veth_hands_over_nothing_that_a_virtio_header_cannot_say(in_network: InNetwork) -> None:
    def test() -> None:
        device_packet.open_packet_device(NAME)
        big = {name for name in device_features.active(NAME) if name.endswith("-segmentation")}
        assert big == {
            "tx-generic-segmentation",
            "tx-tcp-segmentation",
            "tx-tcp-mangleid-segmentation",
            "tx-tcp6-segmentation",
            "tx-tcp-ecn-segmentation",
            "tx-udp-segmentation",
        }

    in_network(test)


@pytest.mark.parametrize(
    ("option", "gso", "gro"), [(UDP_SEGMENT, False, True), (UDP_GRO, True, False)]
)
def test_a_kernel_that_has_one_of_the_sockets_two(
    in_network: InNetwork, option: int, gso: bool, gro: bool
) -> None:
    def test() -> None:
        refuse(
            "setsockopt",
            pyseccomp.Arg(1, pyseccomp.EQ, socket.IPPROTO_UDP),
            pyseccomp.Arg(2, pyseccomp.EQ, option),
        )
        udp = open_udp(Address("127.0.0.1", 0))
        assert (udp.gso, udp.gro) == (gso, gro)
        udp.socket.close()

    in_network(test)


@pytest.mark.parametrize(("gso", "gro"), [(True, False), (False, True)])
def test_a_socket_has_what_was_wanted(gso: bool, gro: bool) -> None:
    udp = open_udp(Address("127.0.0.1", 0), gso=gso, gro=gro)
    with udp.socket as opened:
        assert (udp.gso, udp.gro) == (gso, gro)
        assert opened.getsockopt(socket.IPPROTO_UDP, UDP_GRO) == gro


def test_status_and_log_tell_what_was_refused_and_what_was_switched_off(
    in_network: InNetwork, tmp: Path
) -> None:
    def test() -> None:
        refuse(
            "setsockopt",
            pyseccomp.Arg(1, pyseccomp.EQ, socket.IPPROTO_UDP),
            pyseccomp.Arg(2, pyseccomp.EQ, UDP_GRO),
        )
        running = Running(tmp, text(tmp, 1, "offload off tso"), makers=MAKERS)
        (tunnel,) = running.ask({"do": "status"})["tunnels"]
        assert tunnel["offloads"] == states(ALL & ~TSO, ALL & ~TSO & ~Offload.GRO)
        assert running.stop() == 0
        assert running.log().count("offloads tunnel=dm1 on=checksum,") == 1
        assert " off=tso4,tso6 refused=gro\n" in running.log()

    in_network(test)


def test_what_is_given_up_stands_on_the_boards_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    entry = heaven_tx._Tunnel(SETTINGS, -1)
    assert entry.snapshot()[0].broken == 0
    assert isinstance(entry.writer, DeviceWriter)
    entry.writer.joins.discard(GSO_TCP6)
    for _ in range(2):
        assert entry.snapshot()[0].broken == Offload.COALESCE_TCP6
    assert caplog.text.count("no longer joined tunnel=dm1 offload=coalesce_tcp6") == 1


def test_trains_of_datagrams_that_are_given_up(caplog: pytest.LogCaptureFixture) -> None:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    entry = purgatory_tx._Tunnel(SETTINGS, udp.detach(), SystemSuite())
    with entry.udp:
        assert entry.snapshot()[0].broken == 0
        entry.sender.gso = False
        entry.sender.on_gso_broken(OSError(errno.EIO, "Input/output error"))
        assert entry.snapshot()[0].broken == Offload.GSO
    assert "tunnel=dm1 offload=gso error=EIO" in caplog.text
