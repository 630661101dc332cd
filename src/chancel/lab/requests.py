"""What a lab asks of its keeper, and how it travels.

One request, one reply, over a nameless SEQPACKET socket between two processes of this program
(hence pickles: no stranger can reach the socket). Descriptors of namespaces ride along with a
reply.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from chancel.lab.interface import IpInterface
from chancel.lab.wire import IpNetwork
from chancel.sim.models import LinkModel
from chancel.sim.nat import NatModel

MAX_MESSAGE = 64 * 1024
MAX_DESCRIPTORS = 4


@dataclass(frozen=True, slots=True)
class MakeHost:
    """Answered with the descriptors of its network and UTS namespaces."""

    name: str


@dataclass(frozen=True, slots=True)
class MakeNetwork:
    """Answered with the network's number."""

    prefix: IpNetwork
    model: LinkModel


@dataclass(frozen=True, slots=True)
class Join:
    """Give a host an interface on a network. Answered with the interface's name."""

    host: str
    network: int
    address: IpInterface


@dataclass(frozen=True, slots=True)
class MakeRouter:
    """Join two networks (their numbers, and the router's address on each)."""

    inside: tuple[int, IpInterface]
    outside: tuple[int, IpInterface]
    nat: NatModel | None


@dataclass(frozen=True, slots=True)
class MakeVeth:
    """Join two hosts by a wire of the kernel. Answered with the two interfaces' names."""

    ends: tuple[tuple[str, IpInterface], tuple[str, IpInterface]]


@dataclass(frozen=True, slots=True)
class SetModel:
    """Change how a network treats packets."""

    network: int
    model: LinkModel


@dataclass(frozen=True, slots=True)
class Split:
    """Carry nothing between these groups of addresses of a network; no groups: everything."""

    network: int
    groups: tuple[frozenset[bytes], ...]


@dataclass(frozen=True, slots=True)
class Count:
    """Answered with the wire's counters."""


@dataclass(frozen=True, slots=True)
class Close:
    """Kill everything that lives in the lab. Answered, when all is gone, with whether it is."""


Request = MakeHost | MakeNetwork | Join | MakeRouter | MakeVeth | SetModel | Split | Count | Close


@dataclass(frozen=True, slots=True)
class Reply:
    """``value`` is meant unless ``error`` is a sentence for people."""

    value: object = None
    error: str | None = None


def send(sock: socket.socket, message: Request | Reply, fds: Sequence[int] = ()) -> None:
    """Send one message. Raises OSError (the other end is gone)."""
    socket.send_fds(sock, [pickle.dumps(message)], list(fds))


def receive(sock: socket.socket) -> tuple[Request | Reply, list[int]]:
    """Wait for one message and its descriptors, close-on-exec. Raises EOFError at the end."""
    data, fds, _, _ = socket.recv_fds(sock, MAX_MESSAGE, MAX_DESCRIPTORS)
    if not data:
        raise EOFError("the other end of the lab is gone")
    for fd in fds:
        os.set_inheritable(fd, False)
    message: Request | Reply = pickle.loads(data)  # noqa: S301 - from ourselves, see above
    return message, fds
