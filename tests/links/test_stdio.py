"""Links over descriptors: pipes, sockets, children, and our own standard streams."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import stdio, unix
from chancel.links.conformance import check_link
from chancel.links.descriptors import DescriptorTransport
from chancel.links.framing import Cobs, LengthPrefix
from chancel.links.interface import Link
from chancel.links.stdio import ChildLink, spawn
from chancel.links.stream import StreamLink
from tests.links.streams import run, steps, until

ECHO = """
import asyncio
from chancel.links import stdio

async def main():
    async with await stdio.connect() as link:
        print("noise", flush=True)
        async for message in link:
            await link.send(message.upper())

asyncio.run(main())
"""
"""A program for the far end."""

RELAY = """
import os, socket, sys, threading
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
def back():
    while data := s.recv(65536):
        while data:
            data = data[os.write(1, data):]
    os._exit(0)
threading.Thread(target=back, daemon=True).start()
while data := os.read(0, 65536):
    s.sendall(data)
os._exit(0)
"""
"""Carries bytes between its standard streams and a socket, so that both ends are in one process."""


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", script, *arguments]


def over(source: int, sink: int) -> StreamLink:
    link = StreamLink(lambda _: "test:", LengthPrefix())
    DescriptorTransport(link, source, sink)
    return link


@contextlib.asynccontextmanager
async def piped() -> AsyncIterator[tuple[Link, Link]]:
    """Two links over two pipes."""
    (there, into_there), (here, into_here) = os.pipe(), os.pipe()
    async with over(here, into_there) as left, over(there, into_here) as right:
        yield left, right


@contextlib.asynccontextmanager
async def socketed() -> AsyncIterator[tuple[Link, Link]]:
    """Two links, each with one socket for both directions, as sshd hands it over."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        left = over(os.dup(ours.fileno()), os.dup(ours.fileno()))
        right = over(os.dup(theirs.fileno()), os.dup(theirs.fileno()))
    async with left, right:
        yield left, right


def test_links_over_pipes_keep_the_rules() -> None:
    async def test() -> None:
        await check_link(piped)

    asyncio.run(test())


def test_links_over_one_socket_twice_keep_the_rules() -> None:
    async def test() -> None:
        await check_link(socketed)

    asyncio.run(test())


def test_links_to_children_keep_the_rules(tmp_path: Path) -> None:
    numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def related() -> AsyncIterator[tuple[Link, Link]]:
        path = str(tmp_path / f"s{next(numbers)}")
        relay = [sys.executable, "-I", "-S", "-c", RELAY, path]
        async with (
            await unix.listen(path) as listener,
            await spawn(relay) as left,
            await listener.accept() as right,
        ):
            yield left, right

    async def test() -> None:
        await check_link(related)

    asyncio.run(test())


def test_a_failed_write_leaves_what_can_be_read() -> None:
    async def test() -> None:
        (there, into_there), (here, into_here) = os.pipe(), os.pipe()
        async with over(here, into_there) as link:
            os.write(into_here, b"\0\5first\0\4last")
            os.close(there)
            with pytest.raises(LinkClosed, match="Broken pipe"):
                await link.send_batch([b"x"] * 100_000)
            assert await link.receive_batch() == [b"first", b"last"]
            os.close(into_here)
            with pytest.raises(LinkClosed, match="closed"):
                await link.receive()

    run(test)


def test_descriptors_are_left_as_they_were_found() -> None:
    async def test() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            shared = os.dup(ours.fileno())
            assert os.get_blocking(shared)
            async with over(shared, os.dup(shared)):
                assert not os.get_blocking(ours.fileno())
            assert os.get_blocking(ours.fileno())

    run(test)


# Children.


def test_a_program_at_the_other_end_answers_and_its_noise_does_no_harm() -> None:
    async def test() -> None:
        async with await spawn(python(ECHO), keep_stderr=True) as link:
            for message in (b"ping", b"", b"x" * 60_000):
                await link.send(message)
                assert await link.receive() == message.upper()
            link.close()
            await link.wait_closed()
            assert link.stderr.split() == [b"noise"]
            assert link.peer.name == f"exec:{sys.executable}"
        assert gone(link.pid)

    run(test)


def gone(pid: int) -> bool:
    """Whether a child was reaped."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("pass", "ended with status 0"),
        ("raise SystemExit(3)", "ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("import os; os.kill(os.getpid(), 40)", r"was ended by (signal 40|SIGRT\w*)"),
        ("import sys; sys.exit('\\x1b[31mHost key verification failed.')", "status 1: .*Host key"),
    ],
)
def test_how_a_child_ended_is_told_in_words(script: str, words: str) -> None:
    async def test() -> None:
        async with await spawn(python(script), keep_stderr=True) as link:
            with pytest.raises(LinkClosed, match=words) as caught:
                await link.receive()
            assert str(caught.value).isprintable()
            with pytest.raises(LinkClosed, match=words):
                await link.send(b"x")
        assert gone(link.pid)

    run(test)


def test_what_a_child_said_before_its_end_is_received() -> None:
    script = r"import os; os.write(1, b'\0\1a' * 5000 + b'\0\2b'); raise SystemExit(1)"

    async def test() -> None:
        async with await spawn(python(script)) as link:
            assert [message async for message in link] == [b"a"] * 5000
            with pytest.raises(LinkClosed, match="status 1 in the middle of a message"):
                await link.receive()

    run(test)


def test_a_child_gets_all_that_was_sent_before_close(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    script = (
        "import sys, os, time\n"
        "time.sleep(0.1)\n"  # all of it is in the pipe by then, and our end closed
        "with open(sys.argv[1], 'wb') as copy:\n"
        "    while data := os.read(0, 1000):\n"
        "        copy.write(data)\n"
        "        os.write(1, b'\\0\\0')\n"  # fails if we let go too early
    )

    async def test() -> None:
        async with await spawn(python(script, str(copy))) as link:
            await link.send_batch([b"x" * 998] * 50)
        assert copy.stat().st_size == 50 * 1000
        assert link._process.returncode == 0

    run(test)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_child_that_does_not_end_is_ended(ignored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "PATIENCE_S", 0.1)
    script = "import os, signal, time\n"
    if ignored:
        script += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    script += "os.write(1, b'\\0\\5ready')\ntime.sleep(1000)\n"

    async def test() -> None:
        async with await spawn(python(script)) as link:
            assert await link.receive() == b"ready"
        assert link._process.returncode == -(signal.SIGKILL if ignored else signal.SIGTERM)
        assert gone(link.pid)

    run(test)


def test_a_child_of_the_child_that_keeps_the_pipe_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stdio, "EXIT_GRACE_S", 0.05)
    monkeypatch.setattr(stdio, "PATIENCE_S", 0.05)
    script = (
        "import subprocess, sys, os\n"
        "child = subprocess.Popen(['sleep', '100'])\n"
        "os.write(1, b'\\0\\4' + child.pid.to_bytes(4, 'big'))\n"
        "os._exit(5)"
    )

    async def test() -> None:
        async with await spawn(python(script)) as link:
            grandchild = int.from_bytes(await link.receive(), "big")
            try:
                with pytest.raises(LinkClosed, match="status 5"):
                    await link.receive()
            finally:
                os.kill(grandchild, signal.SIGKILL)

    run(test)


def test_a_child_that_closes_its_output_and_lives_is_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stdio, "EXIT_GRACE_S", 0.05)

    async def test() -> None:
        async with await spawn(python("import os; os.close(1); os.read(0, 1)")) as link:
            with pytest.raises(LinkClosed, match="closed its output"):
                await link.receive()

    run(test)


def test_of_standard_error_the_end_is_kept() -> None:
    script = "import sys; sys.stderr.write('x' * 1_000_000 + 'the end')"

    async def test() -> None:
        async with await spawn(python(script), keep_stderr=True) as link:
            with pytest.raises(LinkClosed, match=r"status 0: x+$") as caught:
                await link.receive()
            assert len(str(caught.value)) < 300
            assert len(link.stderr) == stdio.MAX_STDERR_BYTES
            assert link.stderr.endswith(b"the end")

    run(test)


def test_a_cancelled_task_leaves_no_child() -> None:
    links: list[ChildLink] = []

    async def test() -> None:
        links.append(await spawn(python("import time; time.sleep(1000)")))
        await steps(3)

    run(test)  # its end cancels what still runs
    with contextlib.suppress(ChildProcessError):
        os.waitpid(links[0].pid, 0)


def descriptors() -> int:
    """How many are open."""
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("name", ["no-such-program", "/dev/null", "a\0b", ""])
def test_what_can_not_be_started_is_named(name: str) -> None:
    async def test() -> None:
        before = descriptors()
        with pytest.raises(LocalProtocolError, match="can't be started"):
            await spawn([name])
        assert descriptors() == before

    run(test)


def test_nothing_to_start_is_refused() -> None:
    async def test() -> None:
        with pytest.raises(LocalProtocolError, match="no program"):
            await spawn([])

    run(test)


def test_a_shell_that_greets_does_no_harm_to_a_framer_that_finds_its_frames() -> None:
    script = ECHO.replace("stdio.connect(", "stdio.connect(framer=Cobs").replace(
        "import stdio", "import stdio\nfrom chancel.links.framing import Cobs"
    )
    shell = ["sh", "-c", 'echo "Welcome to the far end!"; exec "$@"', "sh", *python(script)]

    async def test() -> None:
        async with await spawn(shell, framer=Cobs) as link:
            await link.send(b"ping")
            assert await link.receive() == b"PING"
            assert link.drops.total() == 1

    run(test)


# Our own streams, in a process of their own.


def test_a_program_is_served_over_one_socket_as_by_sshd() -> None:
    async def test() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            child = subprocess.Popen(
                python(ECHO),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
            )
        try:
            with ours:
                link = over(os.dup(ours.fileno()), os.dup(ours.fileno()))
            async with link:
                await link.send_batch([b"one", b"two"])
                assert [await link.receive() for _ in range(2)] == [b"ONE", b"TWO"]
            await until(lambda: child.poll() is not None)
            assert child.returncode == 0
        finally:
            child.kill()
            child.wait()

    run(test)


ONCE = """
import asyncio
from chancel.errors import LocalProtocolError
from chancel.links import stdio

async def main():
    async with await stdio.connect() as link:
        try:
            await stdio.connect()
        except LocalProtocolError as error:
            await link.send(str(error).encode())

asyncio.run(main())
"""


def test_the_streams_are_taken_once() -> None:
    async def test() -> None:
        async with await spawn(python(ONCE)) as link:
            assert b"standard input is no pipe" in await link.receive()

    run(test)


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
@pytest.mark.parametrize("other", ["null", "file", "closed"])
def test_streams_that_carry_nothing_are_refused(tmp_path: Path, stream: str, other: str) -> None:
    script = (
        "import asyncio, os, sys\n"
        "from chancel.links import stdio\n"
        "if sys.argv[1] != '-': os.close(int(sys.argv[1]))\n"
        "asyncio.run(stdio.connect())"
    )
    number = {"stdin": "0", "stdout": "1"}[stream]
    streams: dict[str, object] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (tmp_path / "file").open("w+") as file:
        if other != "closed":
            streams[stream] = subprocess.DEVNULL if other == "null" else file
        done = subprocess.run(
            python(script, number if other == "closed" else "-"),
            **streams,  # type: ignore[call-overload]
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    name = {"stdin": "standard input", "stdout": "standard output"}[stream]
    assert f"LocalProtocolError: {name} is no pipe or socket" in done.stderr.decode()
