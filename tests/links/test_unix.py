"""Links over Unix sockets: paths, rights, and sockets that were left behind."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from chancel.errors import LinkClosed, LocalProtocolError
from chancel.links import unix
from chancel.links.conformance import Dial, check_link, check_listener
from chancel.links.interface import Listener
from tests.links.streams import listener_of, pair_of, run


async def opened(path: Path) -> tuple[Listener, Dial]:
    return await unix.listen(path), lambda: unix.connect(path)


def test_it_keeps_the_rules_of_links(tmp_path: Path) -> None:
    async def test() -> None:
        await check_link(pair_of(lambda: opened(tmp_path / "s")))

    asyncio.run(test())


def test_it_keeps_the_rules_of_listeners(tmp_path: Path) -> None:
    async def test() -> None:
        await check_listener(listener_of(lambda: opened(tmp_path / "s")))

    asyncio.run(test())


def test_the_socket_is_its_owners_alone_and_goes_with_the_listener(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "s"
        old = os.umask(0)
        try:
            listener = await unix.listen(path)
        finally:
            os.umask(old)
        async with listener:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert listener.address == f"unix://{path}"
        assert not path.exists()

    run(test)


def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        listener, dial = await opened(path)
        async with listener, await dial() as left, await listener.accept() as right:
            await left.send(b"alive")
            assert await right.receive() == b"alive"

    run(test)


def test_a_socket_on_which_somebody_listens_stays_his(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "s"
        listener, dial = await opened(path)
        async with listener:
            with pytest.raises(LocalProtocolError, match="somebody listens"):
                await unix.listen(path)
            async with await dial() as left, await listener.accept() as first:
                # The probe was a caller who left; it may have got a link that is over.
                link = first
                await left.send(b"still here")
                try:
                    assert await link.receive() == b"still here"
                except LinkClosed:
                    async with await listener.accept() as link:
                        assert await link.receive() == b"still here"

    run(test)


def test_a_full_backlog_is_somebody_too(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as busy:
            busy.bind(str(path))
            busy.listen(0)
            callers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
            try:
                for each in callers:
                    each.setblocking(False)
                    each.connect_ex(str(path))
                with pytest.raises(LocalProtocolError, match="somebody listens"):
                    await unix.listen(path)
            finally:
                for each in callers:
                    each.close()

    run(test)


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "s"
        path.write_text("precious")
        with pytest.raises(LocalProtocolError, match="no socket"):
            await unix.listen(path)
        link = tmp_path / "link"
        link.symlink_to(path)
        with pytest.raises(LocalProtocolError, match="no socket"):
            await unix.listen(link)
        assert path.read_text() == "precious"

    run(test)


def test_a_socket_that_took_our_place_is_not_removed(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "s"
        first = await unix.listen(path)
        path.unlink()
        async with await unix.listen(path):
            first.close()
            await first.wait_closed()
            assert path.is_socket()

    run(test)


@pytest.mark.parametrize("size", [0, unix.MAX_PATH_BYTES + 1])
def test_a_path_that_does_not_fit_is_refused(size: int) -> None:
    async def test() -> None:
        for attempt in (unix.listen, unix.connect):
            with pytest.raises(LocalProtocolError, match=f"1 to {unix.MAX_PATH_BYTES} bytes"):
                await attempt("x" * size)

    run(test)


def test_the_longest_path_fits(tmp_path: Path) -> None:
    async def test() -> None:
        room = unix.MAX_PATH_BYTES - len(str(tmp_path)) - 1
        if room < 1:
            pytest.skip("the folder for tests has too long a name: pytest --basetemp=/tmp/t")
        path = tmp_path / ("s" * room)
        listener, dial = await opened(path)
        async with listener, await dial():
            assert path.is_socket()

    run(test)


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing/s", "No such file or directory"), ("file/s", "Not a directory")],
)
def test_a_place_where_no_socket_can_be_is_told_in_words(
    tmp_path: Path, name: str, words: str
) -> None:
    async def test() -> None:
        (tmp_path / "file").touch()
        with pytest.raises(LocalProtocolError, match=words):
            await unix.listen(tmp_path / name)
        with pytest.raises(LinkClosed, match=words):
            await unix.connect(tmp_path / name)

    run(test)


def test_nobody_there_is_told_in_words_and_retried(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "s"
        calling = asyncio.create_task(unix.connect(path, retries=-1, interval_s=0.01))
        with pytest.raises(LinkClosed, match="No such file"):
            await unix.connect(path)
        async with await unix.listen(path) as listener, await calling, await listener.accept():
            pass

    run(test)


def test_a_caller_whom_the_queue_has_no_room_for_tries_again(tmp_path: Path) -> None:
    async def test() -> None:
        path = str(tmp_path / "s")
        waiting: list[socket.socket] = []
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen(1)
            while True:
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                try:
                    waiting[-1].connect(path)
                except BlockingIOError:
                    break
            with pytest.raises(LinkClosed, match="can't be reached"):
                await unix.connect(path)
            calling = asyncio.create_task(unix.connect(path, retries=-1, interval_s=0.01))
            for _ in waiting[:-1]:
                listening.accept()[0].close()
            (await calling).close()
        for each in waiting:
            each.close()

    run(test)
