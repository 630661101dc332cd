"""Landlock by itself, without a filter behind which its refusals couldn't be seen."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chancel.daemon import landlock, linux
from chancel.vault.files import load_secret

pytestmark = pytest.mark.skipif(
    not landlock.abi(), reason="needs a kernel with Landlock (5.13, switched on)"
)

VERSION = landlock.abi()


def confined(directory: Path, action: Callable[[], object], version: int = VERSION) -> int:
    """Run something that may read this directory, in a process of its own.

    Returns 0, the number of the OSError, or 255.
    """
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
            assert landlock.restrict(version, [str(directory)]) == []
            action()
            status = 0
        except OSError as error:
            status = error.errno or 255
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(bytes(32))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_files_are_closed_in_every_version(secret: Path, version: int) -> None:
    outside = secret.parent.parent
    for action, outcome in (
        (lambda: load_secret(secret), 0),
        (lambda: os.open("/etc/passwd", os.O_RDONLY), errno.EACCES),
        (lambda: os.open(outside, os.O_RDONLY), errno.EACCES),
        (lambda: list(secret.parent.iterdir()), errno.EACCES),
        (lambda: secret.write_bytes(b"x"), errno.EACCES),
        (secret.unlink, errno.EACCES),
        ((secret.parent / "new").touch, errno.EACCES),
        (lambda: os.execv("/bin/true", ["true"]), errno.EACCES),
    ):
        assert confined(secret.parent, action, version) == outcome


def test_a_secret_that_was_replaced_can_be_read(secret: Path) -> None:
    reading, writing = os.pipe()
    ready, telling = os.pipe()

    def read_twice() -> None:
        load_secret(secret)
        os.write(telling, b".")
        os.read(reading, 1)
        with load_secret(secret).reveal() as key:
            assert bytes(key) == b"n" * 32

    pid = os.fork()
    if pid == 0:
        os._exit(confined(secret.parent, read_twice))
    os.read(ready, 1)
    new = secret.with_name("new")
    new.write_bytes(b"n" * 32)
    new.chmod(0o600)
    new.rename(secret)
    os.write(writing, b".")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        missing = landlock.restrict(VERSION, [str(tmp_path / "none")])
        os._exit(0 if missing == [str(tmp_path / "none")] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.fixture
def sibling() -> Iterator[int]:
    pid = os.fork()
    if pid == 0:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pause()
        os._exit(0)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_siblings_of_one_user_are_apart(tmp_path: Path, sibling: int) -> None:
    """Dumpable and of our user: Landlock alone stands between."""
    memory = f"/proc/{sibling}/mem"
    assert confined(tmp_path, lambda: linux.syscall(_PTRACE, 16, sibling, 0, 0)) == errno.EPERM
    assert confined(Path("/proc"), lambda: os.open(memory, os.O_RDONLY)) == errno.EACCES


_PTRACE = 101 if os.uname().machine == "x86_64" else 117


@pytest.mark.skipif(VERSION < 6, reason="needs Landlock 6 (Linux 6.12)")
def test_no_signals_and_no_abstract_sockets(tmp_path: Path, sibling: int) -> None:
    assert confined(tmp_path, lambda: os.kill(sibling, 0)) == errno.EPERM
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0chancel-test-{os.getpid()}")
        listening.listen()
        address = listening.getsockname()
        with socket.socket(socket.AF_UNIX) as client:
            assert confined(tmp_path, lambda: client.connect(address)) == errno.EPERM


@pytest.mark.skipif(VERSION < 4, reason="needs Landlock 4 (Linux 6.7)")
def test_no_tcp(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
        address = listening.getsockname()
        assert confined(tmp_path, lambda: client.connect(address)) == errno.EACCES
        assert confined(tmp_path, lambda: client.bind(("127.0.0.1", 0))) == errno.EACCES
