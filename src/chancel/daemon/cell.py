"""A cell: a network of its own in which nothing is but a group's devices, for commands to live in.

The group stays outside, with its sockets on the network that carries the tunnel; only devices are
made in the cell. So whatever happens to the group, a command in the cell has the tunnel or nothing:
the cell has no other way out, and no process in it has the rights to make one.

Nobody lives in a cell by default. It exists as long as a process is in it or somebody holds its
descriptors, and those the guardian gives to its own user alone (``chancel exec NAME``): not even
that user could take them out of ``/proc``, for processes of a group can't be looked at.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
from pathlib import Path
from typing import NamedTuple, NoReturn

from chancel.daemon import linux, namespaces
from chancel.daemon.link import MessageLink, make_link
from chancel.daemon.linux import MachineError
from chancel.errors import LinkClosed

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


class Cell(NamedTuple):
    """Descriptors: the network namespace, and the user namespace whose rights it takes to enter.

    ``user`` is ``None`` for a cell of the machine's root, who needs none.
    """

    network: int
    user: int | None

    def descriptors(self) -> list[int]:
        """As they are passed from process to process; the inverse of :func:`received`."""
        return [self.network] if self.user is None else [self.network, self.user]

    def enter_network(self) -> None:
        """Move into the cell's network, with the rights that we have. Raises OSError."""
        linux.setns(self.network, linux.CLONE_NEWNET)

    def enter(self) -> None:
        """Move in from outside, gaining every right over the cell. Raises OSError."""
        if self.user is not None:
            linux.setns(self.user, namespaces.CLONE_NEWUSER)
        self.enter_network()

    def close(self) -> None:
        """Close our descriptors."""
        for fd in self.descriptors():
            os.close(fd)


def received(fds: list[int]) -> Cell:
    """The cell whose descriptors came from another process."""
    return Cell(fds[0], fds[1] if len(fds) > 1 else None)


def found() -> Cell:
    """Make a cell. We are in its user namespace then, and in our old network.

    Raises :class:`MachineError`.
    """
    user = namespaces.found_user()
    link, theirs = make_link()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _build(theirs, parent)
    theirs.close()
    try:
        received = MessageLink(link).receive(blocking=True)
    except LinkClosed as error:
        raise MachineError("a network can't be made here (its process was killed)") from error
    finally:
        os.waitpid(pid, 0)
        link.close()
    assert received is not None, "a blocking receive returns a message"
    message, fds = received
    if "error" in message:
        raise MachineError(message["error"])
    return Cell(fds[0], user)


def _build(link: socket.socket, parent: int) -> NoReturn:
    """In a process of its own: who leaves a network that isn't his can't come back."""
    try:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            linux.unshare(linux.CLONE_NEWNET)
            _raise_loopback()
            _allow_ping()
            MessageLink(link).send({}, [namespaces.own("net")])
    except OSError as error:
        MessageLink(link).send({"error": namespaces.refusal(error)})
    finally:
        os._exit(0)


def _allow_ping() -> None:
    """Echo requests are the one packet that usually takes a right to send."""
    with contextlib.suppress(OSError):  # /proc/sys is read-only in many containers
        Path("/proc/sys/net/ipv4/ping_group_range").write_text(f"{os.getgid()} {os.getgid()}")


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh22x", b"lo", _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)
