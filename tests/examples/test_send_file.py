"""``examples/send_file.py``: what arrives is what was sent, also after an interruption."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from pathlib import Path

import pytest

from tests.examples.programs import Program

SIZE = 3_000_000
CUT_AFTER = 1_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Something to send."""
    path = tmp_path / "some file.bin"
    path.write_bytes(random.Random(1).randbytes(SIZE))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where it is to arrive."""
    path = tmp_path / "arrived"
    path.mkdir()
    return path


def test_a_file_arrives(key: Path, file: Path, folder: Path) -> None:
    assert _transfer(key, file, folder) == ((0, ""), (0, ""))
    assert (folder / file.name).read_bytes() == file.read_bytes()


def test_an_empty_file_arrives(key: Path, file: Path, folder: Path) -> None:
    file.write_bytes(b"")
    assert _transfer(key, file, folder) == ((0, ""), (0, ""))
    assert (folder / file.name).read_bytes() == b""


def test_it_goes_on_where_it_was_cut_off(key: Path, file: Path, folder: Path) -> None:
    (sent, _), (received, _) = _transfer(key, file, folder, cut_after=CUT_AFTER)
    assert (sent, received) == (1, 1)
    part = folder / f"{file.name}.part"
    assert 0 < part.stat().st_size < CUT_AFTER
    assert file.read_bytes().startswith(part.read_bytes())
    assert _transfer(key, file, folder) == ((0, ""), (0, ""))
    assert (folder / file.name).read_bytes() == file.read_bytes()
    assert not part.exists()


def test_what_was_there_is_used_and_compared(key: Path, file: Path, folder: Path) -> None:
    part = folder / f"{file.name}.part"
    part.write_bytes(bytes(CUT_AFTER))
    sent, received = _transfer(key, file, folder)
    assert sent == (1, "send_file: what arrived is not what was sent: start both ends again\n")
    assert received == (1, f"send_file: {file.name} is not what was sent: start both ends again\n")
    assert not part.exists()
    assert _transfer(key, file, folder) == ((0, ""), (0, ""))


def test_nothing_is_overwritten(key: Path, file: Path, folder: Path) -> None:
    there = folder / file.name
    there.write_bytes(b"precious")
    (sent, _), received = _transfer(key, file, folder)
    assert (sent, received) == (1, (1, f"send_file: {there} is there already: move it away\n"))
    assert there.read_bytes() == b"precious"


def _transfer(
    key: Path, file: Path, folder: Path, cut_after: int | None = None
) -> tuple[tuple[int, str], tuple[int, str]]:
    """Status and errors of the sender, and of the receiver."""
    with Program("send_file.py", key, "tcp://127.0.0.1:0", "receive", folder) as receiver:
        address = receiver.line().removeprefix("waiting at ")
        if cut_after is not None:
            address = _cut(address, cut_after)
        with Program("send_file.py", key, address, "send", file) as sender:
            sent = sender.finish()[::2]
            return sent, receiver.finish()[::2]


def _cut(address: str, after: int) -> str:
    """The address of a way there that breaks after so many bytes."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    listening = socket.create_server(("127.0.0.1", 0))

    def carry(source: socket.socket, target: socket.socket, left: int) -> None:
        with contextlib.suppress(OSError):  # an end has gone: so does the way
            while left > 0 and (data := source.recv(min(left, 4096))):
                target.sendall(data)
                left -= len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with (
            listening,
            listening.accept()[0] as near,
            socket.create_connection((host, int(port))) as far,
        ):
            back = threading.Thread(target=carry, args=(far, near, SIZE), daemon=True)
            back.start()
            carry(near, far, after)
            back.join()

    threading.Thread(target=serve, daemon=True).start()
    return f"tcp://127.0.0.1:{listening.getsockname()[1]}"
