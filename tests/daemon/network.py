"""Networks of one's own for tests of the daemon: user and network namespaces, no root needed."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from fcntl import ioctl
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from chancel.daemon import linux, netconf

CLONE_NEWUSER = 0x1000_0000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1

InNetwork = Callable[[Callable[[], None]], None]


def run_in_network(test: Callable[[], None]) -> None:
    report, reporting = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(report)
        try:
            _enter()
            test()
        except BaseException:  # noqa: BLE001 - raised again by the parent
            os.write(reporting, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(reporting)
    try:
        with open(report, "rb") as pipe:
            failure = pipe.read().decode()
    except BaseException:  # out of time: what it started ends here, or the next test meets it
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.waitpid(child, 0)
    if failure:
        pytest.fail(failure, pytrace=False)


def _enter() -> None:
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(CLONE_NEWUSER | linux.CLONE_NEWNET)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    raise_loopback()


def raise_loopback() -> None:
    """A new network has none of its own up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))


def neighbour(ours: IPv4Interface, theirs: IPv4Interface, live: Callable[[], None]) -> int:
    """Fork a process that lives in a network of its own, joined to ours by a wire; returns its pid.

    It dies with us.
    """
    wired, wiring = os.pipe()
    moved, moving = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            assert os.getppid() == parent
            linux.unshare(linux.CLONE_NEWNET)
            raise_loopback()
            os.write(moving, b".")
            os.read(wired, 1)
            netconf.configure("right", theirs, 1500, [])
            live()
        except BaseException:  # noqa: BLE001 - told on the real standard error
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(1)
    os.read(moved, 1)
    with netconf.netlink() as ip:
        ip.link("add", ifname="left", kind="veth", peer={"ifname": "right", "net_ns_pid": pid})
    netconf.configure("left", ours, 1500, [])
    os.write(wiring, b".")
    for fd in (wired, wiring, moved, moving):
        os.close(fd)
    return pid
