"""No packet number is used twice: what seals packets can't be copied, nor used after a fork."""

from __future__ import annotations

import asyncio
import copy
import functools
import os
import pickle
from collections.abc import Callable

import pytest

from chancel.errors import LocalProtocolError
from chancel.links.udp import UdpPort
from chancel.protocol.messages import InstallSendKey
from chancel.protocol.session import Session, SessionSettings
from chancel.protocol.traffic import Sealer
from chancel.protocol.uncopied import Uncopied
from chancel.tunnel import Tunnel
from chancel.vault.secret import Secret
from chancel.wire.traffic import NEXT_INNER
from chancel.wire.types import NO_FLOCKS, Address, Salt, SessionKey, Spi
from tests.protocol.pair import SUITE, Pair
from tests.tunnel.pair import LEFT, RIGHT, SECRET, both_ready, pair

LOOPBACK = Address("127.0.0.1", 0)

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def in_a_child(act: Callable[[], object]) -> str:
    """What ``act`` raised in a forked child; empty if nothing."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - whatever it was, the parent judges it
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as end:
        said = end.read().decode()
    os.waitpid(pid, 0)
    return said


def make_sealer() -> Sealer:
    sealer = Sealer(NO_FLOCKS, SUITE)
    sealer.execute(InstallSendKey(Spi(1), Salt(b"salt"), SessionKey(bytes(32))), 0.0)
    return sealer


def make_session() -> Session:
    return Session(SessionSettings(RIGHT), SUITE, lambda: Secret(SECRET), 0.0, 0.0)


@pytest.mark.parametrize("make", [make_sealer, make_session])
@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, pickle.dumps])
def test_copies_are_refused(make: Callable[[], Uncopied], act: Callable[[object], object]) -> None:
    with pytest.raises(LocalProtocolError, match="never copied or pickled"):
        act(make())


def test_copies_of_a_tunnel_are_refused() -> None:
    async def main() -> None:
        async with pair() as (left, _):
            for act in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(LocalProtocolError, match="never copied or pickled"):
                    act(left)

    asyncio.run(main())


@needs_fork
@pytest.mark.parametrize(
    "act",
    [
        lambda sealer: sealer.seal(b"x", NEXT_INNER, 0.0),
        lambda sealer: sealer.seal_run([b"x"], NEXT_INNER, 0.0),
        lambda sealer: sealer.reserve(1, 0.0),
    ],
)
def test_a_sealer_seals_nothing_in_a_child(act: Callable[[Sealer], object]) -> None:
    sealer = make_sealer()
    refusal = in_a_child(lambda: act(sealer))
    assert refusal.startswith("LocalProtocolError")
    assert "make one of its own here" in refusal
    act(sealer)  # the parent goes on


@needs_fork
def test_a_session_sends_nothing_in_a_child() -> None:
    network = Pair()
    network.until(network.up, 10)
    session = network.left.session
    for act in (
        lambda: session.send(b"x", network.now),
        lambda: session.send_batch([b"x"], network.now),
        session.datagrams,
    ):
        assert "make one of its own here" in in_a_child(act)
    assert network.send(network.left, b"x")


@needs_fork
def test_what_is_made_in_a_child_works_there() -> None:
    assert in_a_child(lambda: make_sealer().seal(b"x", NEXT_INNER, 0.0)) == ""


@needs_fork
def test_a_tunnel_is_of_no_use_in_a_child() -> None:
    async def main() -> None:
        async with pair() as (left, right):
            calls = (left.send(b"x"), left.send_batch([b"x"]), left.receive(), left.ready())
            for call in calls:
                refusal = in_a_child(functools.partial(call.send, None))
                assert "make one of its own here" in refusal
                call.close()
            await left.send(b"the parent goes on")
            assert await right.receive() == b"the parent goes on"
            assert left.peer.name == str(RIGHT)
            assert right.peer.name == str(LEFT)

    asyncio.run(main())


@needs_fork
def test_closing_in_a_child_leaves_the_parent_alone() -> None:
    """Sockets, and what the kernel watches for the event loop, are shared with it."""

    async def main() -> None:
        ports = UdpPort.bind(LOOPBACK), UdpPort.bind(LOOPBACK)
        left, right = Tunnel(ports[0], SECRET, ports[1].local), Tunnel(ports[1], SECRET)
        async with left, right:
            await both_ready(left, right)
            waiting = asyncio.create_task(right.receive())
            await asyncio.sleep(0)
            for tunnel in (left, right):
                assert in_a_child(tunnel.close) == ""
            await left.send(b"still there")
            assert await waiting == b"still there"

    asyncio.run(main())
