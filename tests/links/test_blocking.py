"""The blocking adapter: threads, timeouts, Ctrl-C, forks and the end of the program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import blocking
from chancel.links.blocking import BlockingLink, BlockingListener, BlockingPort
from chancel.links.interface import Link
from chancel.links.memory import memory_pair
from chancel.tunnel import Tunnel

LONG_S = 60.0
"""Only bounds a hang."""


@contextlib.contextmanager
def pair() -> Iterator[tuple[BlockingLink, BlockingLink]]:
    with (
        blocking.listen("tcp://127.0.0.1:0") as listener,
        blocking.connect(listener.address, timeout_s=LONG_S) as left,
        listener.accept(LONG_S) as right,
    ):
        yield left, right


@contextlib.contextmanager
def interrupted() -> Iterator[None]:
    """The block, which waits for ever, interrupted by Ctrl-C."""
    main = threading.get_ident()
    finger = threading.Timer(0.05, lambda: signal.pthread_kill(main, signal.SIGINT))
    finger.start()
    try:
        yield
    except KeyboardInterrupt:
        finger.join()
        return
    raise AssertionError("it was not interrupted")


def test_messages_pass_in_both_directions() -> None:
    with pair() as (left, right):
        left.send(b"question", LONG_S)
        assert right.receive(LONG_S) == b"question"
        right.send_batch([b"one", b"two", b"three"])
        assert left.receive() == b"one"
        rest = left.receive_batch(1, LONG_S) + left.receive_batch(timeout_s=LONG_S)
        assert rest == [b"two", b"three"]


def test_they_say_what_they_are() -> None:
    with blocking.listen("tcp://127.0.0.1:0") as listener:
        assert listener.address.startswith("tcp://127.0.0.1:")
        with blocking.connect(listener.address) as link:
            assert link.peer.name == listener.address
            assert link.reliable
            assert link.max_message == 65535
            assert listener.address in repr(link)
    with blocking.bind("udp://127.0.0.1:0") as port:
        assert port.local.host == "127.0.0.1"
        assert port.max_datagram == 65507


def test_ports_pass_datagrams() -> None:
    with (
        blocking.bind("udp://127.0.0.1:0") as left,
        blocking.bind("udp://127.0.0.1:0") as right,
    ):
        left.send(b"one", right.local)
        left.send_batch([(b"two", right.local)], LONG_S)
        assert right.receive(LONG_S) == (b"one", left.local)
        assert right.receive_batch(timeout_s=LONG_S) == [(b"two", left.local)]
        with pytest.raises(TimeoutError):
            right.receive(timeout_s=0.01)


def test_iteration_ends_with_the_link() -> None:
    with pair() as (left, right):
        left.send_batch([b"%d" % number for number in range(500)])
        left.close()
        assert list(right) == [b"%d" % number for number in range(500)]
        with pytest.raises(LinkClosed, match="the peer closed"):
            right.receive()


def test_after_close_calls_are_refused_and_close_is_not() -> None:
    with pair() as (left, _):
        left.close()
        left.close(LONG_S)
        for call in (left.receive, lambda: left.send(b"x")):
            with pytest.raises(LocalProtocolError, match="was closed"):
                call()


def test_close_wakes_whoever_waits_in_another_thread() -> None:
    with pair() as (left, _), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(left.receive)
        with pytest.raises(TimeoutError):
            waiting.result(0.05)
        left.close()
        with pytest.raises(LinkClosed, match="closed at this end"):
            waiting.result(LONG_S)


def test_errors_of_the_link_come_through() -> None:
    with pair() as (left, _):
        with pytest.raises(LocalProtocolError, match="too large"):
            left.send(bytes(70_000))
        with pytest.raises(LocalProtocolError, match="ask for 1 or more"):
            left.receive_batch(0)
    with pytest.raises(LinkClosed, match="can't be reached"):
        blocking.connect("unix:///nowhere/s")
    with pytest.raises(LocalProtocolError, match="unknown option"):
        blocking.listen("tcp://127.0.0.1:0", colour="red")


# Timeouts.


def test_a_timeout_loses_nothing() -> None:
    with pair() as (left, right), ThreadPoolExecutor(1) as pool:
        count = 300

        def send() -> None:
            for number in range(count):
                left.send(b"%d" % number)
                time.sleep(0.0005)

        sending = pool.submit(send)
        arrived: list[bytes] = []
        timeouts = 0
        while len(arrived) < count:
            try:
                arrived += right.receive_batch(timeout_s=0.0004)
            except TimeoutError:
                timeouts += 1
        sending.result(LONG_S)
        assert arrived == [b"%d" % number for number in range(count)]
        assert timeouts > 0


def test_a_timeout_of_zero_takes_what_is_there() -> None:
    with pair() as (left, right):
        with pytest.raises(TimeoutError):
            right.receive(timeout_s=0)
        left.send_batch([b"one", b"two"])
        assert right.receive(LONG_S) == b"one"
        assert right.receive(timeout_s=0) == b"two"


def test_a_send_that_runs_into_its_timeout_has_sent_whole_messages() -> None:
    with pair() as (left, right):
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:
                left.send(sent.to_bytes(4, "big") * 10_000, 0.2)
                sent += 1
        assert [right.receive(LONG_S)[:4] for _ in range(sent)] == [
            number.to_bytes(4, "big") for number in range(sent)
        ]
        left.send(b"last", LONG_S)
        assert right.receive(LONG_S) == b"last"


def test_connect_and_accept_have_timeouts() -> None:
    with blocking.listen("tcp://127.0.0.1:0") as listener:
        with pytest.raises(TimeoutError):
            listener.accept(0.01)
        with blocking.connect(listener.address), listener.accept(LONG_S):
            pass
    with pytest.raises(TimeoutError):
        blocking.connect("unix:///nowhere/s", timeout_s=0.05, retries=-1, interval=0.01)


def test_a_second_receiver_waits_its_turn() -> None:
    with pair() as (left, right), ThreadPoolExecutor(4) as pool:
        taking = [pool.submit(right.receive, LONG_S) for _ in range(4)]
        with pytest.raises(TimeoutError):
            right.receive(0.05)
        left.send_batch([b"a", b"b", b"c", b"d"])
        assert sorted(each.result(LONG_S) for each in taking) == [b"a", b"b", b"c", b"d"]


def test_many_threads_send_at_once() -> None:
    with pair() as (left, right), ThreadPoolExecutor(8) as pool:
        sends = [pool.submit(left.send, b"%d" % number) for number in range(400)]
        arrived = [right.receive(LONG_S) for _ in sends]
        for each in sends:
            each.result(LONG_S)
        assert sorted(arrived) == sorted(b"%d" % number for number in range(400))


# Ctrl-C.


def test_ctrl_c_ends_a_wait_and_loses_nothing() -> None:
    with pair() as (left, right):
        with interrupted():
            right.receive()
        left.send(b"after")
        assert right.receive(LONG_S) == b"after"
        with interrupted():
            right.receive_batch()


def test_a_result_that_nobody_waits_for_any_more_is_kept() -> None:
    """The message arrives just when the wait for it is interrupted."""
    with pair() as (left, right):
        runner = right._runner
        gate = threading.Event()
        main = threading.get_ident()

        async def slow() -> list[bytes]:
            messages = await right._end.receive_batch()
            signal.pthread_kill(main, signal.SIGINT)
            try:
                await asyncio.sleep(LONG_S)
            except asyncio.CancelledError:
                gate.set()  # cancelled, and completes in spite of it
            return messages

        left.send_batch([b"one", b"two"])
        with pytest.raises(KeyboardInterrupt):
            runner.call(slow, None, right._rescued.extend)
        assert gate.is_set()
        assert right.receive(0) == b"one"
        assert right.receive_batch(timeout_s=0) == [b"two"]


def test_ctrl_c_in_connect_leaves_nothing_behind() -> None:
    with interrupted():
        blocking.connect("unix:///nowhere/s", retries=-1, interval=0.01)
    assert blocking.run(still_running) == 0


async def still_running() -> int:
    """Tasks in the loop besides this one."""
    return len(asyncio.all_tasks()) - 1


# Other things in the loop.


def test_anything_can_be_run_and_wrapped() -> None:
    async def make() -> object:
        return asyncio.get_running_loop()

    assert blocking.run(make) is blocking.run(make)
    left, right = memory_pair()
    with blocking.wrap(left) as one, blocking.wrap(right) as other:
        assert isinstance(one, BlockingLink)
        one.send(b"through memory")
        assert other.receive(LONG_S) == b"through memory"


def test_the_right_wrapper_is_found() -> None:
    with blocking.listen("udp://127.0.0.1:0") as listener, blocking.bind("udp://[::1]:0") as port:
        assert isinstance(listener, BlockingListener)
        assert isinstance(port, BlockingPort)


def test_timers_run_while_the_script_does_something_else() -> None:
    beats: list[float] = []

    async def start() -> None:
        async def beat() -> None:
            for _ in range(3):
                await asyncio.sleep(0.01)
                beats.append(1)

        start.task = asyncio.create_task(beat())  # type: ignore[attr-defined]

    blocking.run(start)
    deadline = time.monotonic() + LONG_S
    while len(beats) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(beats) == 3


def test_a_link_of_another_loop_is_refused() -> None:
    async def elsewhere() -> None:
        left, _ = memory_pair()
        await left.send(b"x")
        kept.append(left)

    kept: list[object] = []
    asyncio.run(elsewhere())
    with pytest.raises(LocalProtocolError, match="another event loop"):
        blocking.wrap(kept[0]).receive()  # type: ignore[call-overload]


def test_a_thread_with_a_running_loop_is_not_blocked() -> None:
    with pair() as (left, _):

        async def test() -> None:
            with pytest.raises(LocalProtocolError, match="an event loop runs in this thread"):
                left.send(b"x")

        asyncio.run(test())


# Forks and ends.


def test_a_fork_refuses_what_was_open_and_opens_its_own() -> None:
    with pair() as (left, right):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            report = b"?"
            try:
                with contextlib.suppress(LocalProtocolError):
                    left.send(b"mixed up")
                    report = b"sent"
                if report == b"?":
                    left.close()  # does nothing
                    with pair() as (one, other):
                        one.send(b"own")
                        report = other.receive(LONG_S)
            finally:
                os.write(write, report)
                os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:
            assert pipe.read() == b"own"
        os.waitpid(child, 0)
        left.send(b"still ours")
        assert right.receive(LONG_S) == b"still ours"


FORGETFUL = """
import sys
from chancel.links import blocking
link = blocking.connect(sys.argv[1])
for number in range(200):
    link.send(b"x" * 60000)
"""


def test_a_program_that_forgets_to_close_still_sends_everything() -> None:
    with blocking.listen("tcp://127.0.0.1:0") as listener:
        child = subprocess.Popen([sys.executable, "-c", FORGETFUL, listener.address])
        with listener.accept(LONG_S) as link:
            assert sum(map(len, link)) == 200 * 60_000
        assert child.wait(LONG_S) == 0


WAITING = """
import sys
from chancel.links import blocking
with blocking.connect(sys.argv[1]) as link:
    link.send(b"ready")
    link.receive()
"""


def test_ctrl_c_ends_a_program() -> None:
    with blocking.listen("tcp://127.0.0.1:0") as listener:
        child = subprocess.Popen(
            [sys.executable, "-c", WAITING, listener.address], stderr=subprocess.PIPE
        )
        with listener.accept(LONG_S) as link:
            assert link.receive(LONG_S) == b"ready"
            child.send_signal(signal.SIGINT)
            _, stderr = child.communicate(timeout=LONG_S)
            with pytest.raises(LinkClosed, match="the peer closed"):
                link.receive(LONG_S)
        assert stderr.rstrip().endswith(b"KeyboardInterrupt")
        assert child.returncode == -signal.SIGINT


def test_a_peer_that_only_holds_the_line_does_not_hold_up_close() -> None:
    with (
        blocking.listen("tcp://127.0.0.1:0") as listener,
        socket.create_connection(("127.0.0.1", int(listener.address.rpartition(":")[2]))),
    ):
        link = listener.accept(LONG_S)
        link.send(b"unread")
        link.close(LONG_S)


def test_a_tunnel_begins_with_the_block_and_says_when_it_can_send() -> None:
    def end(link: Link) -> BlockingLink:
        return blocking.wrap(Tunnel(link, bytes(32)))

    left, right = memory_pair()
    with end(left) as alice, end(right) as bob:
        alice.ready(LONG_S)
        alice.send(b"by way of a thread")
        assert bob.receive(LONG_S) == b"by way of a thread"
    with end(memory_pair()[0]) as alone, pytest.raises(LinkClosed, match="doesn't answer"):
        alone.ready(0.01)


def test_a_link_that_can_send_at_once_is_ready() -> None:
    with pair() as (left, _):
        left.ready()


LATE = """
import sys
from chancel.links import blocking

class Client:
    def __init__(self):
        self.link = blocking.connect(sys.argv[1])

    def __del__(self):
        self.link.close()

client = Client()
"""


def test_a_finalizer_at_the_end_of_a_program_does_not_hang() -> None:
    with blocking.listen("tcp://127.0.0.1:0") as listener:
        child = subprocess.Popen([sys.executable, "-c", LATE, listener.address])
        with listener.accept(LONG_S):
            assert child.wait(LONG_S) == 0
