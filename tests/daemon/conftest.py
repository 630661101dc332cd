"""Networks of one's own for tests of the daemon: user and network namespaces, no root needed."""

from __future__ import annotations

import os
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path

import pytest

from chancel.daemon import linux

CLONE_NEWUSER = 0x1000_0000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1

InNetwork = Callable[[Callable[[], None]], None]


@pytest.fixture
def in_network() -> InNetwork:
    """Run a function in a child process that is root of an empty network; its failure is ours."""
    return _run_in_network


def _run_in_network(test: Callable[[], None]) -> None:
    report, reporting = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(report)
        try:
            _enter()
            test()
        except BaseException:
            os.write(reporting, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(reporting)
    with open(report, "rb") as pipe:
        failure = pipe.read().decode()
    os.waitpid(child, 0)
    if failure:
        pytest.fail(failure, pytrace=False)


def _enter() -> None:
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(CLONE_NEWUSER | linux.CLONE_NEWNET)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
