"""TCP links: calling, being called, and callers who do nothing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import resource
import socket
from functools import partial

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import calls, tcp
from chancel.links.conformance import Dial, check_link, check_listener
from chancel.links.framing import Cobs, LengthPrefix
from chancel.links.interface import Link, Listener
from chancel.links.stream import StreamLink
from tests.links.jumping import run_jumping
from tests.links.streams import listener_of, pair_of, port_of, run, steps, until


async def opened(host: str = "127.0.0.1") -> tuple[Listener, Dial]:
    listener = await tcp.listen(host, 0)
    return listener, partial(tcp.connect, host, port_of(listener))


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def raw(listener: Listener) -> socket.socket:
    """A caller who may do anything."""
    return socket.create_connection(("127.0.0.1", port_of(listener)))


def test_it_keeps_the_rules_of_links() -> None:
    async def test() -> None:
        await check_link(pair_of(opened))

    asyncio.run(test())


def test_it_keeps_the_rules_of_listeners() -> None:
    async def test() -> None:
        await check_listener(listener_of(opened))

    asyncio.run(test())


@pytest.mark.parametrize("framer", [partial(LengthPrefix, 4), Cobs])
def test_any_framing_will_do(framer: type[Cobs]) -> None:
    async def test() -> None:
        async with await tcp.listen("127.0.0.1", 0, framer=framer) as listener:
            port = port_of(listener)
            async with await tcp.connect("127.0.0.1", port, framer=framer) as left:
                message = bytes(left.max_message)
                async with await listener.accept() as right:
                    await left.send(message)
                    assert await right.receive() == message

    run(test)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_addresses_of_both_families_and_names(host: str) -> None:
    async def test() -> None:
        try:
            listener, dial = await opened(host)
        except LocalProtocolError:
            if host == "::1" and not socket.has_ipv6:
                pytest.skip("no IPv6 here")
            raise
        async with listener, await dial() as left, await listener.accept() as right:
            await left.send(b"ping")
            assert await right.receive() == b"ping"
            assert left.peer.name == listener.address or host == "localhost"
            assert right.peer.name.startswith("tcp://[::1]:" if ":" in host else "tcp://127")

    run(test)


def test_the_sockets_are_set_as_they_should_be() -> None:
    async def test() -> None:
        listener, dial = await opened()
        async with listener, await dial() as left, await listener.accept() as right:
            for link in (left, right):
                assert isinstance(link, StreamLink)
                shared = link._live.get_extra_info("socket")
                assert shared.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert shared.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(test)


def test_a_port_can_be_listened_on_again_at_once() -> None:
    async def test() -> None:
        listener, dial = await opened()
        async with listener, await dial() as left, await listener.accept() as right:
            right.close()  # this end waits in TIME_WAIT then
            await right.wait_closed()
            left.close()
            await left.wait_closed()
        again = await tcp.listen("127.0.0.1", port_of(listener))
        async with again:
            assert again.address == listener.address

    run(test)


def test_a_port_in_use_is_refused_with_a_remedy() -> None:
    async def test() -> None:
        async with await tcp.listen("127.0.0.1", 0) as listener:
            with pytest.raises(LocalProtocolError, match="already in use; choose another"):
                await tcp.listen("127.0.0.1", port_of(listener))

    run(test)


def test_an_address_of_nobody_cannot_be_listened_on() -> None:
    async def test() -> None:
        with pytest.raises(LocalProtocolError, match=r"tcp://192\.0\.2\.1:0 can't be listened on"):
            await tcp.listen("192.0.2.1", 0)

    run(test)


# Retries: Ockam, section 1.3. On a clock that jumps, where only the pauses take time.


@pytest.mark.parametrize("retries", [0, 1, 10])
def test_so_many_attempts_with_pauses_between_and_none_after_the_last(retries: int) -> None:
    async def test() -> None:
        attempts = 0

        async def attempt() -> StreamLink:
            nonlocal attempts
            attempts += 1
            raise ConnectionRefusedError(errno.ECONNREFUSED, "no")

        with pytest.raises(LinkClosed, match="x can't be reached: Connection refused"):
            await calls.call("x", attempt, retries, 3.0)
        assert attempts == retries + 1
        assert asyncio.get_running_loop().time() == pytest.approx(3.0 * retries)

    run_jumping(test())


def test_nobody_there_is_told_in_words() -> None:
    async def test() -> None:
        port = free_port()
        with pytest.raises(LinkClosed, match=f"tcp://127.0.0.1:{port} can't be reached: Conn.*ref"):
            await tcp.connect("127.0.0.1", port, retries=3, interval_s=0.0)

    run(test)


def test_for_ever_is_for_ever() -> None:
    async def test() -> None:
        attempts = 0

        async def attempt() -> StreamLink:
            nonlocal attempts
            attempts += 1
            if attempts <= 1000:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "no")
            raise AssertionError("enough")

        with pytest.raises(AssertionError, match="enough"):
            await calls.call("x", attempt, calls.FOR_EVER, 60.0)
        assert asyncio.get_running_loop().time() == pytest.approx(60_000.0)

    run_jumping(test())


def test_an_attempt_without_answer_ends_in_time() -> None:
    async def test() -> None:
        async def attempt() -> StreamLink:
            await asyncio.Event().wait()
            raise AssertionError

        with pytest.raises(LinkClosed, match="no answer in time"):
            await calls.call("x", attempt, 2, 1.0)
        assert asyncio.get_running_loop().time() == pytest.approx(3 * calls.OPEN_S + 2.0)

    run_jumping(test())


def test_a_listener_that_comes_later_is_found() -> None:
    async def test() -> None:
        port = free_port()
        calling = asyncio.create_task(tcp.connect("127.0.0.1", port, retries=-1, interval_s=0.01))
        await steps(20)
        async with (
            await tcp.listen("127.0.0.1", port) as listener,
            await calling as left,
            await listener.accept() as right,
        ):
            await right.send(b"welcome")
            assert await left.receive() == b"welcome"

    run(test)


@pytest.mark.parametrize(("retries", "interval_s"), [(-2, 1.0), (0, -1.0)])
def test_impossible_retries_are_refused(retries: int, interval_s: float) -> None:
    async def test() -> None:
        with pytest.raises(LocalProtocolError, match="-1 is for ever"):
            await tcp.connect("127.0.0.1", 1, retries=retries, interval_s=interval_s)

    run(test)


def test_a_name_of_nobody_is_told_in_words() -> None:
    async def test() -> None:
        with pytest.raises(LinkClosed, match=r"tcp://nobody\.invalid:1 can't be reached: \w+"):
            await tcp.connect("nobody.invalid", 1)

    run(test)


# Callers.


def test_a_caller_that_resets_before_accept_is_passed_over() -> None:
    async def test() -> None:
        listener, dial = await opened()
        assert isinstance(listener, calls.StreamListener)
        async with listener:
            rude = raw(listener)
            await until(lambda: len(listener.inbox) == 1)
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            rude.close()
            (waiting,) = listener._waiting
            await until(lambda: waiting.over)
            async with await dial() as left, await listener.accept() as right:
                await left.send(b"polite")
                assert await right.receive() == b"polite"
            assert listener.failed == 1

    run(test)


def test_many_silent_callers_cost_a_bounded_number_of_links() -> None:
    async def test() -> None:
        listener, dial = await opened()
        assert isinstance(listener, calls.StreamListener)
        callers = []
        with contextlib.ExitStack() as closing:
            async with listener:
                for _ in range(2 * calls.MAX_CALLS):
                    callers.append(closing.enter_context(raw(listener)))
                    await steps(3)
                await until(lambda: listener.inbox.full)
                await steps(50)
                assert len(listener._waiting) == calls.MAX_CALLS
                # Whoever waits in the kernel comes in as others are accepted.
                for number in range(2 * calls.MAX_CALLS):
                    link = await listener.accept()
                    callers[number].send(b"\0\1x")
                    assert await link.receive() == b"x"
                    link.close()
                async with await dial() as left, await listener.accept() as right:
                    await left.send(b"still here")
                    assert await right.receive() == b"still here"

    run(test)


def test_callers_that_nobody_accepted_are_let_go_with_the_listener() -> None:
    async def test() -> None:
        listener, _ = await opened()
        with raw(listener) as caller:
            await steps(10)
            listener.close()
            await listener.wait_closed()
            caller.settimeout(30)
            with contextlib.suppress(ConnectionResetError):
                assert caller.recv(1) == b""

    run(test)


def test_without_descriptors_the_listener_waits_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "ACCEPT_PAUSE_S", 0.01)

    async def test() -> None:
        listener, _ = await opened()
        assert isinstance(listener, calls.StreamListener)
        async with listener:
            with raw(listener) as caller:
                # Nothing below the highest descriptor in use is free, and nothing above allowed.
                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
                try:
                    await until(lambda: listener.failed > 2)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                caller.send(b"\0\1x")
                async with await listener.accept() as link:
                    assert await link.receive() == b"x"

    run(test)


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_cancelled_connect_leaves_nothing_open() -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            for number in range(12):
                task = asyncio.create_task(tcp.connect("127.0.0.1", port))
                await steps(number)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    link: Link = task.result()
                    link.close()
                    await link.wait_closed()

    run(test)
    gc.collect()
