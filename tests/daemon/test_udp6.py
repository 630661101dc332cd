"""IPv6 outside: the socket, whom it takes and reaches, and that it never fragments."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from chancel.daemon import netconf
from chancel.daemon.hot.receive import UdpReceiver
from chancel.daemon.hot.send import UdpSender
from chancel.daemon.interface import Interface
from chancel.daemon.linux import MachineError
from chancel.daemon.run import Run, unpack_address
from chancel.daemon.udp import UdpSocket, open_udp
from chancel.wire.drop import Drop
from chancel.wire.types import Address
from tests.daemon.naive import fill, new_slot, packets_of

pytestmark = pytest.mark.usefixtures("twin")

InNetwork = Callable[[Callable[[], None]], None]

ANY6, ANY4 = Address("::", 0), Address("0.0.0.0", 0)
LOOPBACK6, LOOPBACK4 = "::1", "127.0.0.1"
IFA_F_NODAD = 2
ZONE_ADDRESS = "fe80::1"


def port_of(udp: UdpSocket) -> int:
    return int(udp.socket.getsockname()[1])


def receive(udp: UdpSocket) -> tuple[list[bytes], set[Address]]:
    """What waits in the socket, and from where."""
    slot = new_slot()
    runs: list[Run] = []
    assert UdpReceiver(udp.socket).drain(slot, runs, 0, 1)[1]
    return packets_of(slot, runs), {unpack_address(run.source) for run in runs}


def talk(here: UdpSocket, there: UdpSocket, target: Address, source: str) -> None:
    """A train each way: to ``target``, and back to where it came from, which is ``source``."""
    packets = [bytes([i]) * 1300 for i in range(30)] + [bytes(77)]
    slot = new_slot()
    run = fill(slot, packets)
    sender = UdpSender(here.socket, gso=here.gso)
    sender.send(slot.memory, [run], target)
    assert not sender.drops
    received, (learned,) = receive(there)
    assert received == packets
    assert learned == Address(source, port_of(here))
    answering = UdpSender(there.socket, gso=there.gso)
    answering.send(slot.memory, [run], learned)
    assert not answering.drops
    received, (answered,) = receive(here)
    assert received == packets
    assert answered == target


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize(
    ("local", "remote", "host"),
    [
        pytest.param(ANY6, ANY6, LOOPBACK6, id="ipv6"),
        pytest.param(ANY4, ANY6, LOOPBACK4, id="from-ipv4"),
        pytest.param(ANY6, ANY4, LOOPBACK4, id="to-ipv4"),
        pytest.param(ANY6, ANY6, LOOPBACK4, id="ipv4-in-both"),
        pytest.param(Address(LOOPBACK6, 0), ANY6, LOOPBACK6, id="bound"),
    ],
)
def test_trains_pass_both_ways(
    in_network: InNetwork, local: Address, remote: Address, host: str, offload: bool
) -> None:
    def test() -> None:
        with ExitStack() as stack:
            here, there = (open_udp(each, gso=offload, gro=offload) for each in (local, remote))
            for udp in (here, there):
                stack.enter_context(udp.socket)
            assert here.gso == there.gro == offload
            talk(here, there, Address(host, port_of(there)), host)

    in_network(test)


def test_a_neighbour_is_answered_on_its_own_link(in_network: InNetwork) -> None:
    """A link-local address is nothing without the interface on which it was seen."""

    def test() -> None:
        with netconf.netlink() as ip:
            ip.link("add", ifname="here", kind="veth", peer={"ifname": "far"})
            for name in ("here", "far"):
                ip.link("set", index=socket.if_nametoindex(name), state="up")
            zone = socket.if_nametoindex("here")
            ip.addr("add", index=zone, address=ZONE_ADDRESS, prefixlen=64, flags=IFA_F_NODAD)
        here, there = (open_udp(ANY6) for _ in range(2))
        host = f"{ZONE_ADDRESS}%{zone}"
        for _ in range(500):  # the kernel knows its new address a moment after we were told
            here.socket.sendto(bytes(60), (ZONE_ADDRESS, port_of(there), 0, zone))
            if select.select([there.socket], [], [], 0.01)[0]:
                break
        receive(there)
        talk(here, there, Address(host, port_of(there)), host)

    in_network(test)


def test_a_socket_of_one_ipv6_address_takes_no_ipv4(in_network: InNetwork) -> None:
    def test() -> None:
        udp = open_udp(Address(LOOPBACK6, 0), gso=False, gro=False)
        assert udp.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        sender = UdpSender(udp.socket, gso=False)
        slot = new_slot()
        sender.send(slot.memory, [fill(slot, [bytes(60)])], Address(LOOPBACK4, 9))
        assert sender.drops == {Drop.SEND_FAILED: 1}

    in_network(test)


@pytest.mark.parametrize("host", [LOOPBACK6, LOOPBACK4])
def test_what_is_larger_than_the_link_is_never_fragmented(in_network: InNetwork, host: str) -> None:
    def test() -> None:
        Interface.here("lo").set_mtu(1400)
        here, there = (open_udp(ANY6, gso=False, gro=False) for _ in range(2))
        sender = UdpSender(here.socket, gso=False)
        head = 48 if host == LOOPBACK6 else 28
        slot = new_slot()
        for size in (1400 - head, 1401 - head):
            run = fill(slot, [bytes(size)])
            sender.send(slot.memory, [run], Address(host, port_of(there)))
        assert sender.drops == {Drop.SEND_TOO_LARGE: 1}
        assert [len(packet) for packet in receive(there)[0]] == [1400 - head]

    in_network(test)


@pytest.mark.parametrize("twin", ["python"], indirect=True)
def test_an_error_that_icmpv6_told_of_is_taken_off() -> None:
    """An administrator's prohibition becomes EACCES, which ICMP of IPv4 never makes."""

    class Prohibited:
        calls = 0

        def recvmsg_into(self, *_: object) -> None:
            self.calls += 1
            raise PermissionError(errno.EACCES, "") if self.calls == 1 else BlockingIOError

    slot = new_slot()
    receiver = UdpReceiver(Prohibited())  # type: ignore[arg-type]
    assert receiver.drain(slot, [], 0, 1) == (0, True)


def test_an_address_in_use_and_one_that_is_not_ours_are_refused(in_network: InNetwork) -> None:
    def test() -> None:
        first = open_udp(ANY6, gso=False, gro=False)
        with pytest.raises(MachineError, match=r"local \[::\]:\d+ is in use"):
            open_udp(Address("::", port_of(first)), gso=False, gro=False)
        with pytest.raises(MachineError, match="this machine has no such address"):
            open_udp(Address("2001:db8::1", 0), gso=False, gro=False)

    in_network(test)


def test_a_machine_without_ipv6_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(MachineError, match="this machine has no IPv6"):
        open_udp(ANY6, gso=False, gro=False)
