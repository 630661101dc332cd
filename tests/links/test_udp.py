"""UDP ports: trains, what the network refuses, and sockets that are full, broken or unwatched."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import udp_offload, udp_socket
from chancel.links.interface import MAX_BATCH
from chancel.links.udp import UdpPort
from chancel.links.udp_offload import MAX_DATAGRAM, MAX_SEGMENTS, Train, trains
from chancel.wire.types import Address, Buffer
from tests.links.ends import LOOPBACK

HERE = Address(LOOPBACK, 0)


class Socket(socket.socket):
    """A real UDP socket that counts its calls, and fails some of them first."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.setblocking(False)
        self.bind(HERE)
        self.trains = self.singles = self.reads = 0
        self.train_error = 0
        self.error = 0
        self.errors_left = 0

    def sendmsg(self, *arguments: Any) -> int:
        self.trains += 1
        if self.train_error:
            raise OSError(self.train_error, os.strerror(self.train_error))
        self._fail()
        return super().sendmsg(*arguments)

    def sendto(self, *arguments: Any) -> int:
        self.singles += 1
        self._fail()
        return super().sendto(*arguments)

    def recvmsg(self, *arguments: Any) -> Any:
        self.reads += 1
        if self.error == errno.EBADF:
            self._fail()
        return super().recvmsg(*arguments)

    def _fail(self) -> None:
        if self.errors_left:
            self.errors_left -= 1
            raise OSError(self.error, os.strerror(self.error))


def carried_on(
    test: Callable[[Socket, UdpPort, UdpPort], Coroutine[Any, Any, None]],
) -> Callable[[], None]:
    """Run a test with a port over a :class:`Socket`, and a peer."""

    async def main() -> None:
        udp = Socket()
        async with UdpPort(udp) as port, UdpPort.bind(HERE) as peer:
            await test(udp, port, peer)

    def run() -> None:
        asyncio.run(main())

    run.__doc__ = test.__doc__
    return run


def needs_trains(port: UdpPort) -> None:
    if not all(port.offloads):
        pytest.skip("needs UDP_SEGMENT and UDP_GRO: Linux 5.0 or later")


async def received(port: UdpPort, count: int) -> list[bytes]:
    datagrams: list[bytes] = []
    while len(datagrams) < count:
        datagrams += [datagram for datagram, _ in await port.receive_batch()]
    return datagrams


def numbered(count: int, size: int) -> list[bytes]:
    return [number.to_bytes(2, "big") + bytes(size - 2) for number in range(count)]


@carried_on
async def test_a_train_takes_one_call_each_way(udp: Socket, port: UdpPort, peer: UdpPort) -> None:
    needs_trains(port)
    sent = numbered(100, 1300)
    await peer.send_batch([(datagram, port.local) for datagram in sent])
    assert await received(port, 100) == sent
    assert udp.reads < 10
    await port.send_batch([(datagram, peer.local) for datagram in sent])
    assert await received(peer, 100) == sent
    assert (udp.trains, udp.singles) == (2, 0)


@carried_on
async def test_a_short_datagram_ends_a_train(udp: Socket, port: UdpPort, peer: UdpPort) -> None:
    needs_trains(port)
    sent = [bytes(500), b"\1" * 500, b"\2" * 7, b"\3" * 500, b"", b"\4" * 500, b"\5" * 500]
    await port.send_batch([(datagram, peer.local) for datagram in sent])
    assert await received(peer, len(sent)) == sent
    assert (udp.trains, udp.singles) == (2, 2)


@carried_on
async def test_a_device_that_carries_no_trains(udp: Socket, port: UdpPort, peer: UdpPort) -> None:
    """EIO proves the offload broken: it is dropped, and nothing is lost."""
    needs_trains(port)
    udp.train_error = errno.EIO
    sent = numbered(20, 1000)
    for _ in range(2):
        await port.send_batch([(datagram, peer.local) for datagram in sent])
        assert await received(peer, 20) == sent
    assert not port.offloads.send
    assert port.offloads.receive
    assert (udp.trains, udp.singles, port.refused) == (1, 40, 0)


@pytest.mark.parametrize("error", [errno.EINVAL, errno.EMSGSIZE])
def test_a_train_above_the_mtu_goes_alone(error: int) -> None:
    """The path's MTU is too small for this train, and not for others: the offload stays."""

    @carried_on
    async def test(udp: Socket, port: UdpPort, peer: UdpPort) -> None:
        needs_trains(port)
        udp.train_error = error
        sent = numbered(20, 3000)
        await port.send_batch([(datagram, peer.local) for datagram in sent])
        assert await received(peer, 20) == sent
        udp.train_error = 0
        await port.send_batch([(datagram, peer.local) for datagram in sent])
        assert await received(peer, 20) == sent
        assert port.offloads.send
        assert (udp.trains, udp.singles) == (2, 20)

    test()


@carried_on
async def test_a_full_socket_is_waited_for(udp: Socket, port: UdpPort, peer: UdpPort) -> None:
    udp.error, udp.errors_left = errno.EAGAIN, 3
    await asyncio.gather(port.send(b"1", peer.local), port.send(b"1", peer.local))
    assert await received(peer, 2) == [b"1", b"1"]
    assert udp.errors_left == 0


@carried_on
async def test_a_send_that_waits_can_be_cancelled(
    udp: Socket, port: UdpPort, peer: UdpPort
) -> None:
    udp.error, udp.errors_left = errno.EAGAIN, 1 << 30
    waiting = asyncio.create_task(port.send(b"1", peer.local))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    udp.errors_left = 0
    await port.send(b"2", peer.local)
    assert await received(peer, 1) == [b"2"]


@carried_on
async def test_a_send_that_waits_notices_the_end(udp: Socket, port: UdpPort, peer: UdpPort) -> None:
    udp.error, udp.errors_left = errno.EAGAIN, 1 << 30
    waiting = asyncio.create_task(port.send(b"1", peer.local))
    await asyncio.sleep(0)
    port.close()
    with pytest.raises(LinkClosed, match="at this end"):
        await waiting


@carried_on
async def test_a_broken_socket_ends_the_port(udp: Socket, port: UdpPort, peer: UdpPort) -> None:
    udp.error, udp.errors_left = errno.EBADF, 1 << 30
    for _ in range(2):
        with pytest.raises(LinkClosed, match="failed"):
            await port.send(b"1", peer.local)
        with pytest.raises(LinkClosed, match="failed"):
            await port.receive()


@carried_on
async def test_a_socket_that_breaks_wakes_who_waits(
    udp: Socket, port: UdpPort, peer: UdpPort
) -> None:
    waiting = asyncio.create_task(port.receive())
    await asyncio.sleep(0)
    udp.error, udp.errors_left = errno.EBADF, 1 << 30
    await peer.send(b"1", port.local)
    with pytest.raises(LinkClosed, match="failed"):
        await waiting


@carried_on
async def test_what_the_system_refuses_is_counted(
    udp: Socket, port: UdpPort, peer: UdpPort
) -> None:
    elsewhere = Address("::1", 9)  # out of reach for a socket of IPv4
    await port.send_batch([(b"1", elsewhere), (b"2", elsewhere), (b"3", peer.local)])
    assert port.refused == 2
    await port.send(b"4", Address(LOOPBACK, 0))
    assert port.refused == 3
    udp.error, udp.errors_left = errno.ENOBUFS, 1
    await port.send(b"5", peer.local)
    assert port.refused == 4
    assert await received(peer, 1) == [b"3"]


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
def test_what_icmp_refuses_is_counted_and_hurts_nobody_else(host: str) -> None:
    async def main() -> None:
        gone = UdpPort.bind(Address(host, 0))
        gone.close()
        async with UdpPort.bind(Address(host, 0)) as port, UdpPort.bind(Address(host, 0)) as peer:
            if not port.offloads.receive:
                pytest.skip("needs Linux: elsewhere a socket with many peers hears no refusal")
            for number in range(5):
                await port.send(b"to nobody", gone.local)
                await port.send(bytes([number]), peer.local)
            assert await received(peer, 5) == [bytes([number]) for number in range(5)]
            assert 1 <= port.refused <= 5
            waiting = asyncio.create_task(port.receive())
            while port.refused < 6:  # while it waits, too
                await port.send(b"to nobody", gone.local)
                await asyncio.sleep(0.001)
            await peer.send(b"answer", port.local)
            assert await waiting == (b"answer", peer.local)

    asyncio.run(main())


def test_while_nobody_receives_little_is_read() -> None:
    async def main() -> None:
        async with UdpPort.bind(HERE) as port, UdpPort.bind(HERE) as peer:
            receiving = asyncio.create_task(port.receive())
            await asyncio.sleep(0)
            receiving.cancel()
            for _ in range(20):
                await peer.send_batch([(bytes(100), port.local)] * 100)
                await asyncio.sleep(0.001)
            assert 0 < len(port.inbox) < MAX_BATCH + MAX_SEGMENTS
            assert port.inbox.lost == 0
            assert len(await received(port, 100)) >= 100

    asyncio.run(main())


def test_without_offload_there_are_no_trains() -> None:
    async def main() -> None:
        udp = Socket()
        async with UdpPort(udp, offload=False) as port, UdpPort.bind(HERE) as peer:
            assert not any(port.offloads)
            sent = numbered(20, 100)
            await port.send_batch([(datagram, peer.local) for datagram in sent])
            assert await received(peer, 20) == sent
            await peer.send_batch([(datagram, port.local) for datagram in sent])
            assert await received(port, 20) == sent
            assert (udp.trains, udp.reads, udp.singles) == (0, 0, 20)

    asyncio.run(main())


def test_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that only Linux has is asked for."""
    for module in (udp_offload, udp_socket):
        monkeypatch.setattr(module, "ON_LINUX", False)

    async def main() -> None:
        udp = Socket()
        async with UdpPort(udp) as port, UdpPort.bind(HERE) as peer:
            assert not any(port.offloads)
            sent = numbered(20, 1300)
            await port.send_batch([(datagram, peer.local) for datagram in sent])
            assert await received(peer, 20) == sent
            await port.send(b"1", Address(LOOPBACK, 0))
            assert (udp.trains, udp.reads, port.refused) == (0, 0, 1)

    asyncio.run(main())
    with pytest.raises(LocalProtocolError, match="fragment=True"):
        UdpPort.bind(HERE, fragment=False)


def test_a_port_of_both_families_names_its_peers_as_they_do() -> None:
    async def main() -> None:
        async with (
            UdpPort.bind(Address("::", 0)) as both,
            UdpPort.bind(HERE) as four,
            UdpPort.bind(Address("::1", 0)) as six,
        ):
            for peer in (four, six):
                await both.send(b"1", peer.local)
                _, source = await peer.receive()
                assert source == Address(peer.local.host, both.local.port)
                await peer.send(b"2", source)
                assert await both.receive() == (b"2", peer.local)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        (Address("localhost", 9), "look the name up"),
        (Address("127.1", 9), "numeric"),
        (Address(LOOPBACK, 65536), "no port 65536"),
        (Address("fe80::1%nosuchdevice", 9), "no network interface"),
    ],
)
def test_addresses_that_are_none(address: Address, remedy: str) -> None:
    async def main() -> None:
        async with UdpPort.bind(Address("::1", 0)) as port:
            with pytest.raises(LocalProtocolError, match=remedy):
                await port.send(b"1", address)

    asyncio.run(main())
    with pytest.raises(LocalProtocolError, match=remedy):
        UdpPort.bind(address)


def test_ports_that_can_not_be_bound() -> None:
    port = UdpPort.bind(HERE)
    with pytest.raises(LocalProtocolError, match="in use"):
        UdpPort.bind(port.local)
    port.close()
    UdpPort.bind(port.local).close()
    with pytest.raises(LocalProtocolError, match="no address 192"):
        UdpPort.bind(Address("192.0.2.1", 0))


def test_never_fragmenting_is_asked_of_the_socket() -> None:
    for host in (LOOPBACK, "::1"):
        port = UdpPort.bind(Address(host, 0), fragment=False)
        level, option = (socket.IPPROTO_IPV6, 23) if ":" in host else (socket.IPPROTO_IP, 10)
        assert port._udp.getsockopt(level, option) == 2  # IP_PMTUDISC_DO
        port.close()


class BlindLoop(asyncio.SelectorEventLoop):
    """Watches no socket, as the proactor loop of Windows."""

    def add_reader(self, *_: Any) -> None:  # type: ignore[override]
        raise NotImplementedError

    def add_writer(self, *_: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


def test_a_loop_that_watches_no_sockets_is_refused() -> None:
    async def main() -> None:
        udp = Socket()
        async with UdpPort(udp) as port:
            with pytest.raises(LocalProtocolError, match="SelectorEventLoop"):
                await port.receive()
            udp.error, udp.errors_left = errno.EAGAIN, 1 << 30
            with pytest.raises(LocalProtocolError, match="SelectorEventLoop"):
                await port.send(b"1", port.local)

    with asyncio.Runner(loop_factory=BlindLoop) as runner:
        runner.run(main())


def test_a_port_can_be_closed_after_its_event_loop() -> None:
    port = UdpPort.bind(HERE)

    async def main() -> None:
        receiving = asyncio.create_task(port.receive())
        await asyncio.sleep(0)
        receiving.cancel()

    asyncio.run(main())
    port.close()
    UdpPort.bind(port.local).close()


SIZES = st.sampled_from([0, 1, 99, 100, 101, 1300, 40_000, MAX_DATAGRAM])
PEERS = [Address(LOOPBACK, port) for port in (1, 2)]


@given(st.lists(st.tuples(SIZES, st.sampled_from(PEERS), st.integers(1, 70)), max_size=8))
def test_trains_are_runs_that_the_kernel_takes(runs: list[tuple[int, Address, int]]) -> None:
    batch: list[tuple[Buffer, Address]] = [
        (bytes(size), peer) for size, peer, count in runs for _ in range(count)
    ]
    found = trains(batch, offload=True)
    assert [(one, train.address) for train in found for one in train.datagrams] == batch
    for train in found:
        *others, last = map(len, train.datagrams)
        assert set(others) <= {train.size}
        assert last == train.size if not others else 0 < last <= train.size
        assert len(train.datagrams) <= MAX_SEGMENTS
        assert sum(map(len, train.datagrams)) <= MAX_DATAGRAM
    assert trains(batch, offload=False) == [Train([one], len(one), peer) for one, peer in batch]


def test_a_run_is_as_few_trains_as_can_be() -> None:
    batch: list[tuple[Buffer, Address]] = [(bytes(1300), PEERS[0])] * 100
    assert [len(train.datagrams) for train in trains(batch, offload=True)] == [50, 50]
