"""News of the machine's addresses and routes, from a real kernel."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Interface

from hypothesis import given
from hypothesis import strategies as st

from chancel.daemon import netconf
from chancel.daemon.loop import Loop
from chancel.daemon.network_watch import QUIET_S, NetworkWatch, devices_of
from tests.daemon.network import InNetwork
from tests.daemon.running import LIMIT_S


class Heard:
    """A watch in a loop, and what it told. ``ours`` are devices of our own."""

    def __init__(self, *ours: int) -> None:
        self.loop = Loop()
        self.times = 0
        self.watch = NetworkWatch(self.loop, self._tell, ours.__contains__)

    def serve(self, until: float, enough: int) -> None:
        """Until that time, or until it told so often."""
        self._enough = enough
        self._until = until
        self.loop.run(self._wake_at, self._wake)

    def _wake_at(self) -> float:
        listen_at = self.watch.wake_at()
        return self._until if listen_at is None else min(self._until, listen_at)

    def _wake(self, now: float) -> None:
        self.watch.wake(now)
        if now >= self._until:
            self.loop.stop()

    def _tell(self) -> None:
        self.times += 1
        if self.times == self._enough:
            self.loop.stop()


@contextlib.contextmanager
def wire() -> Iterator[int]:
    """An interface with an address."""
    with netconf.netlink() as ip:
        ip.link("add", ifname="wire", kind="veth", peer={"ifname": "other"})
        netconf.configure("wire", IPv4Interface("192.0.2.1/24"), 1500, [])
        yield socket.if_nametoindex("wire")


def test_changes_are_told(in_network: InNetwork) -> None:
    def test() -> None:
        heard = Heard()
        heard.serve(time.monotonic(), 1)
        assert heard.times == 0
        with wire() as index:
            heard.serve(time.monotonic() + LIMIT_S, 1)
            assert heard.times == 1
            with netconf.netlink() as ip:
                ip.link("del", index=index)
            heard.serve(time.monotonic() + LIMIT_S, 2)
            assert heard.times == 2
        heard.watch.close()

    in_network(test)


def test_what_happens_to_devices_of_our_own_is_no_news(in_network: InNetwork) -> None:
    """An address, a route to a gateway behind it, a local one; and their end with the device."""

    def test() -> None:
        with wire() as index, netconf.netlink() as ip:
            heard = Heard(index)
            ip.addr("add", index=index, address="192.0.2.7", prefixlen=24)
            ip.route("add", dst="203.0.113.0/24", gateway="192.0.2.99")
            ip.route("add", dst="198.51.100.0/24", oif=index)
            ip.route("del", dst="198.51.100.0/24", oif=index)
            ip.addr("del", index=index, address="192.0.2.7", prefixlen=24)
            ip.link("del", index=index)
            heard.serve(time.monotonic() + QUIET_S / 2, 1)
            assert heard.times == 0
            assert heard.loop.wakeups > 1, "they were heard all the same"
            assert heard.watch.wake_at() is None, "and it still listens"
        with wire():
            heard.serve(time.monotonic() + LIMIT_S, 1)
            assert heard.times == 1
        heard.watch.close()

    in_network(test)


def test_a_route_over_several_devices_is_news(in_network: InNetwork) -> None:
    def test() -> None:
        with wire() as index, netconf.netlink() as ip:
            heard = Heard(index)
            hops = [{"gateway": f"192.0.2.{number}"} for number in (98, 99)]
            ip.route("add", dst="203.0.113.0/24", multipath=hops)
            heard.serve(time.monotonic() + LIMIT_S, 1)
            assert heard.times == 1
        heard.watch.close()

    in_network(test)


@given(st.binary(max_size=200))
def test_whatever_the_kernel_says_is_taken(messages: bytes) -> None:
    """Whole, cut, or followed by anything."""
    about_3 = struct.pack("=IHHII", 24, 20, 0, 0, 0) + struct.pack("=BBBBI", 2, 24, 0, 0, 3)
    assert next(devices_of(about_3 + messages)) == 3
    assert all(device >= 0 for device in devices_of(messages))


def test_a_message_of_another_kind_is_about_no_device() -> None:
    link = struct.pack("=IHHII", 32, 16, 0, 0, 0) + bytes(16)
    assert list(devices_of(link * 2)) == [0, 0]


def test_without_end_they_are_told_once_a_second(in_network: InNetwork) -> None:
    """Nobody even wakes for the others, nor for more of them than the kernel keeps."""

    def test() -> None:
        heard = Heard()
        with wire() as index, netconf.netlink() as ip:
            began = time.monotonic()
            for turn in range(3):
                for number in range(2, 250):
                    ip.addr("add", index=index, address=f"192.0.2.{number}", prefixlen=24)
                    ip.addr("del", index=index, address=f"192.0.2.{number}", prefixlen=24)
                heard.serve(time.monotonic() + (turn + 1) * 0.1, 1000)
            seconds = (time.monotonic() - began) / QUIET_S
            assert 1 <= heard.times <= seconds + 1
            # Each time: one to hear, and one to listen again; and the end of each turn.
            assert heard.loop.wakeups <= 2 * heard.times + 6
        heard.watch.close()

    in_network(test)
