"""Lines to a syslog daemon that is there, isn't yet, comes back, or doesn't keep up."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chancel.daemon.loop import Loop
from chancel.daemon.syslog import Syslog, SyslogHandler


class Listener:
    """A syslog daemon."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(10.0)
        self._socket.bind(str(path))

    def lines(self, count: int) -> list[str]:
        return [self._socket.recv(8192).decode() for _ in range(count)]

    def end(self) -> None:
        self._socket.close()
        self.path.unlink()


@pytest.fixture
def path(tmp: Path) -> Path:
    return tmp / "log"


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.Logger("chancel.test")
    yield logger
    logger.handlers.clear()


def handler(syslog: Syslog, identity: str = "chancel") -> SyslogHandler:
    handler = SyslogHandler(syslog)
    handler.identity = identity
    return handler


def test_a_line_as_the_c_library_would_send_it(path: Path, log: logging.Logger) -> None:
    listener = Listener(path)
    log.addHandler(handler(Syslog(path), "chancel-bless"))
    log.info("TX SA active tunnel=%s", "dm1")
    log.warning("ö")
    log.error("%s", "two\nlines")
    head = r"[A-Z][a-z]{2} [ 123]\d \d\d:\d\d:\d\d "
    expected = ["<30>{}: TX SA active tunnel=dm1", "<28>{}: ö", "<27>{}: two", "<27>{}: lines"]
    for line, wanted in zip(listener.lines(4), expected, strict=True):
        assert re.sub(head, "", line, count=1) == wanted.format(f"chancel-bless[{os.getpid()}]")
        assert re.match(r"<\d\d>" + head, line)


def test_nobody_listens(path: Path, log: logging.Logger) -> None:
    syslog = Syslog(path)
    assert not syslog.heard
    log.addHandler(handler(syslog))
    log.info("one")
    log.info("two")
    listener = Listener(path)
    assert syslog.connect()
    log.info("three")
    first, second = listener.lines(2)
    assert first.startswith("<28>")
    assert first.endswith(": log lines lost count=2")
    assert second.endswith(": three")


def test_a_slow_one_costs_lines_and_no_time(path: Path, log: logging.Logger) -> None:
    listener = Listener(path)
    log.addHandler(handler(Syslog(path)))
    capacity = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
    for number in range(capacity + 5):
        log.info("%d", number)
    assert [line.rpartition(" ")[2] for line in listener.lines(capacity)] == [
        str(number) for number in range(capacity)
    ]
    log.info("again")
    assert [line.rpartition("]: ")[2] for line in listener.lines(2)] == [
        "log lines lost count=5",
        "again",
    ]


def test_one_that_comes_back_is_found_for_those_who_may_not_look(
    path: Path, log: logging.Logger
) -> None:
    """The guardian's loop connects the socket that a child already has."""
    first = Listener(path)
    syslog = Syslog(path)
    log.addHandler(handler(syslog))
    first.end()
    go, going = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.read(go, 1)
        log.info("from the child")
        os._exit(0)
    loop = Loop()
    syslog.watch(loop)
    log.info("lost")
    second = Listener(path)
    reconnect = syslog.connect

    def connect() -> bool:
        loop.stop()
        return reconnect()

    syslog.connect = connect  # type: ignore[method-assign]
    loop.run()
    os.write(going, b".")
    assert second.lines(1)[0].endswith(f"chancel[{child}]: from the child")
    os.waitpid(child, 0)
    log.info("from the parent")
    assert [line.rpartition("]: ")[2] for line in second.lines(2)] == [
        "log lines lost count=1",
        "from the parent",
    ]
