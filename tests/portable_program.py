"""A program in a world that has nothing of Linux; ``test_portable`` runs it in its own process.

What is the interpreter's and the libraries' own business (asyncio's loop, numpy, the primitives) is
imported first. Then everything goes that only Linux, or only a Unix, has, and what is optional; and
only then Chancel is imported and used. What was done is printed as JSON.
"""

from __future__ import annotations

import asyncio
import asyncio.selector_events
import ctypes
import importlib
import json
import os
import pkgutil
import secrets
import select
import selectors
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from types import ModuleType

    from chancel.tunnel import Tunnel

LIBRARIES = (
    "Crypto.Hash.KMAC256",
    "cryptography.hazmat.primitives.asymmetric.mlkem",
    "cryptography.hazmat.primitives.asymmetric.x25519",
    "cryptography.hazmat.primitives.ciphers.aead",
    "numpy",
)

FLOORS = ("errors", "wire", "crypto", "vault", "protocol", "links", "tunnel")
"""Everything below the daemon, and the tunnel beside it; ``libkyrka`` too."""

MODULES = (
    *("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"),
    *("pyroute2", "pyseccomp", "serial", "websockets"),
)

NAMES: dict[Any, str] = {
    os: "fork forkpty register_at_fork memfd_create eventfd sendfile splice pipe2 setns unshare"
    " O_CLOEXEC O_NOFOLLOW O_NONBLOCK readv geteuid getuid",
    select: "epoll poll",
    selectors: "EpollSelector PollSelector",
    socket: "AF_UNIX AF_PACKET AF_NETLINK AF_VSOCK SOCK_CLOEXEC SOCK_NONBLOCK CMSG_LEN CMSG_SPACE"
    " SO_BINDTODEVICE SO_MARK SO_PEERCRED SO_PASSCRED SO_PRIORITY SO_DOMAIN SO_PROTOCOL"
    " SO_REUSEPORT SO_INCOMING_CPU SO_PEERSEC SO_PASSSEC SCM_RIGHTS SCM_CREDENTIALS"
    " IP_RECVERR IP_RECVTOS IPV6_RECVERR MSG_ERRQUEUE MSG_NOSIGNAL MSG_DONTWAIT"
    " TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT TCP_USER_TIMEOUT TCP_QUICKACK TCP_CORK TCP_INFO"
    " recv_fds send_fds",
}
"""What goes, if it was there."""

METHODS = ("recvmsg", "recvmsg_into", "sendmsg", "sendmsg_afalg")
"""Of sockets."""


class Blocker:
    """An importer that knows better."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse what is taken away."""
        if name.partition(".")[0] in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


class _Absent:
    """An attribute that isn't there although a base class has it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, *_: object) -> NoReturn:
        raise AttributeError(self._name)


class _NoOpenSsl(ctypes.CDLL):
    """A system without the library that has KMAC."""

    def __init__(self, name: str | None, *arguments: Any, **keywords: Any) -> None:
        if name is not None and "libcrypto" in str(name):
            raise OSError(f"{name}: not found")
        super().__init__(name, *arguments, **keywords)


def take_away() -> asyncio.AbstractEventLoop:
    """Leave what every system has. Return a loop that waits with ``select()``."""
    assert [name for name in sys.modules if name.partition(".")[0] in ("chancel", "libkyrka")] == []
    for name in LIBRARIES:
        importlib.import_module(name)
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    for name in list(sys.modules):
        if name.partition(".")[0] in MODULES:
            del sys.modules[name]
    sys.meta_path.insert(0, Blocker())
    for owner, names in NAMES.items():
        for name in names.split():
            if hasattr(owner, name):
                delattr(owner, name)
    for method in METHODS:
        setattr(socket.socket, method, _Absent(method))
    selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[misc, assignment]
    ctypes.CDLL = _NoOpenSsl  # type: ignore[misc]
    sys.platform = "elsewhere"
    return loop


def import_all() -> dict[str, str]:
    """Import every module; return what those said that can't be."""
    names = [f"chancel.{floor}" for floor in FLOORS] + ["libkyrka"]
    refused = {}
    for name in names:
        module = importlib.import_module(name)
        for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}."):
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:
                refused[found.name] = str(error)
    return refused


async def talk(left: Tunnel, right: Tunnel) -> int:
    """A hundred messages each way, in batches; return how many arrived as they were sent."""
    sent = [secrets.token_bytes(100) for _ in range(100)]
    arrived = 0
    async with left, right:
        await asyncio.gather(left.ready(), right.ready())
        for one, other in ((left, right), (right, left)):
            await one.send_batch(sent)
            got: list[bytes] = []
            while len(got) < len(sent):
                got += await other.receive_batch()
            arrived += sum(map(bytes.__eq__, got, sent))
    return arrived


async def over_memory() -> int:
    """A tunnel over a link in memory."""
    from chancel.links.memory import memory_pair
    from chancel.tunnel import Tunnel

    left, right = memory_pair()
    secret = secrets.token_bytes(32)
    return await talk(Tunnel(left, secret, shroud=True), Tunnel(right, secret, shroud=True))


async def over_udp() -> int:
    """A tunnel over UDP."""
    from chancel.links.udp import UdpPort
    from chancel.tunnel import Tunnel
    from chancel.wire.types import Address

    left, right = (UdpPort.bind(Address("127.0.0.1", 0)) for _ in range(2))
    secret = secrets.token_bytes(32)
    return await talk(Tunnel(left, secret, peer=right.local), Tunnel(right, secret))


async def over_tcp() -> int:
    """A tunnel over TCP."""
    from chancel.links import tcp
    from chancel.tunnel import Tunnel

    secret = secrets.token_bytes(32)
    async with await tcp.listen("127.0.0.1", 0) as listener:
        port = int(listener.address.rpartition(":")[2])
        left = await tcp.connect("127.0.0.1", port)
        right = await listener.accept()
        return await talk(Tunnel(left, secret), Tunnel(right, secret))


async def with_libkyrka() -> int:
    """Two contexts of ``libkyrka``, datagrams carried by hand."""
    import libkyrka

    ends = [libkyrka.alloc() for _ in range(2)]
    wire: list[tuple[libkyrka.KYRKA, bytes]] = []
    arrived: list[bytes] = []
    for end, other in (ends, ends[::-1]):
        end.purgatory_callback(lambda _, data, __, to: wire.append((to, bytes(data))), other)
        end.heaven_callback(lambda _, data, __, ___: arrived.append(bytes(data)), None)
        end.secret_load(bytes(range(32)))
    turns = 0
    while b"ping" not in arrived or b"pong" not in arrived:
        turns += 1
        for end, word in zip(ends, (b"ping", b"pong"), strict=True):
            end.key_manage()
            try:
                end.heaven_input(word)
            except RuntimeError:  # no key yet
                continue
            finally:
                while wire:
                    to, data = wire.pop(0)
                    to.purgatory_input(data)
        await asyncio.sleep(0.2)
    return len(arrived)


TASKS: tuple[Callable[[], Awaitable[int]], ...] = (over_memory, over_udp, over_tcp, with_libkyrka)


def still_there() -> list[str]:
    """What should be gone and is not: then nothing here proves anything."""
    found = [name for name in MODULES if name in sys.modules]
    found += [
        name for owner, names in NAMES.items() for name in names.split() if name in dir(owner)
    ]
    found += [method for method in METHODS if hasattr(socket.socket, method)]
    return found + (
        ["libcrypto"] if importlib.import_module("chancel.crypto.kmac").openssl() else []
    )


def main() -> None:
    """Take away, import, use."""
    loop = take_away()
    asyncio.set_event_loop(loop)
    refused = import_all()
    done = {task.__name__: loop.run_until_complete(task()) for task in TASKS}
    loop.close()
    print(json.dumps({"refused": refused, "done": done, "still there": still_there()}))


if __name__ == "__main__":
    main()
