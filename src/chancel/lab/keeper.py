"""The lab's one process: ``python -m chancel.lab.keeper SOCKET PARENT``.

Duty: hold the namespaces, carry the packets. It answers the Lab that started it on the inherited
SOCKET and nobody else. It ends when told to, when that socket closes or when process PARENT ends,
however it ended, and before it goes it kills whatever still lives in the lab's hosts. It runs in a
session of its own, so that an interrupt typed at a terminal doesn't tear the network from under
programs that want to end in order.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import sys
import time
from typing import NoReturn

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from chancel.lab import namespace, requests
from chancel.lab.interface import LARGEST_FRAME, Interface, IpInterface, add_address
from chancel.lab.namespace import HostNamespaces, LabError
from chancel.lab.wire import Network, Router, Wire
from chancel.sim.nat import Nat

READ_RUN = 64
"""Frames read from one interface before the others get their turn."""


class Keeper:
    """The lab's state and its loop."""

    def __init__(self, sock: socket.socket, parent: int) -> None:
        self._socket = sock
        self._rng = random.Random()  # noqa: S311 - chance in models, no secrets
        self._wire = Wire(self._rng)
        self._hosts: dict[str, HostNamespaces] = {}
        self._interface_count: dict[str, int] = {}
        self._reached: set[tuple[str, int]] = set()
        """Hosts that have a default route, and for which version of IP."""
        self._networks: list[Network] = []
        self._joined: dict[int, tuple[Interface, Network]] = {}
        self._buffer = bytearray(LARGEST_FRAME)
        self._open = True
        self._epoll = select.epoll()
        self._epoll.register(sock, select.EPOLLIN)
        self._parent = os.pidfd_open(parent)
        self._epoll.register(self._parent, select.EPOLLIN)

    def run(self) -> None:
        """Serve until the end; leaves nobody behind."""
        try:
            while self._open:
                self._turn()
        finally:
            namespace.sweep(list(self._hosts.values()))

    def _turn(self) -> None:
        wake_at = self._wire.wake_at()
        timeout = None if wake_at is None else max(0.0, wake_at - time.monotonic())
        for fd, _ in self._epoll.poll(timeout):
            if fd in self._joined:
                self._read(*self._joined[fd])
            elif fd == self._parent:
                self._open = False
            else:
                self._answer()
        self._wire.wake(time.monotonic())

    def _read(self, interface: Interface, network: Network) -> None:
        now = time.monotonic()
        view = memoryview(self._buffer)
        for _ in range(READ_RUN):
            size = interface.read(self._buffer)
            if not size:
                return
            network.carry(view[:size], now)

    def _answer(self) -> None:
        try:
            request, _ = requests.receive(self._socket)
        except (EOFError, ConnectionError):
            self._open = False
            return
        try:
            value, fds = self._execute(request)
            reply = requests.Reply(value)
        except (LabError, OSError, NetlinkError) as error:
            reply, fds = requests.Reply(error=str(error)), []
        with contextlib.suppress(BrokenPipeError):  # noticed at the next read
            requests.send(self._socket, reply, fds)

    def _execute(  # noqa: PLR0911 - a table of requests
        self, request: object
    ) -> tuple[object, list[int]]:
        """Returns the reply's value and descriptors."""
        match request:
            case requests.MakeHost(name):
                host = self._make_host(name)
                return None, [host.net, host.uts]
            case requests.MakeNetwork(prefix, model):
                self._networks.append(Network(self._wire, prefix, model))
                self._settle_trains()
                return len(self._networks) - 1, []
            case requests.Join(host, number, address):
                return self._join(host, number, address), []
            case requests.MakeRouter(inside, outside, nat):
                public = str(outside[1].ip)
                Router(
                    self._wire,
                    (self._networks[inside[0]], inside[1]),
                    (self._networks[outside[0]], outside[1]),
                    None if nat is None else Nat(nat, public, self._rng),
                )
                return None, []
            case requests.MakeVeth(ends):
                return self._make_veth(ends), []
            case requests.SetModel(number, model):
                self._networks[number].set_model(model)
                self._settle_trains()
                return None, []
            case requests.Split(number, groups):
                self._networks[number].split(groups)
                return None, []
            case requests.Count():
                return self._counts(), []
            case requests.Close():
                self._open = False
                return namespace.sweep(list(self._hosts.values())), []
            case _:
                raise LabError(f"the keeper does not know {request!r}")

    def _make_host(self, name: str) -> HostNamespaces:
        if name in self._hosts:
            raise LabError(f"the lab already has a host called {name}")
        host = self._hosts[name] = namespace.create_host(name)
        with namespace.inside(host.net), IPRoute() as ip:
            ip.link("set", index=ip.link_lookup(ifname="lo")[0], state="up")
        return host

    def _next_name(self, host: str) -> str:
        number = self._interface_count.get(host, 0)
        self._interface_count[host] = number + 1
        return f"eth{number}"

    def _join(self, host: str, number: int, address: IpInterface) -> str:
        network = self._networks[number]
        network.check_free(address)
        name = self._next_name(host)
        family = host, address.version
        first = family not in self._reached
        interface = Interface(len(self._joined), self._hosts[host].net, name, address, first)
        self._reached.add(family)
        network.join(interface)
        self._joined[interface.fileno()] = interface, network
        self._epoll.register(interface.fileno(), select.EPOLLIN)
        self._settle_trains()
        return name

    def _settle_trains(self) -> None:
        """Trains only where no packet's fate can differ from its neighbour's, on the whole way."""
        perfect = all(network.model.perfect for network in self._networks)
        for interface, _ in self._joined.values():
            interface.allow_trains(perfect)

    def _make_veth(
        self, ends: tuple[tuple[str, IpInterface], tuple[str, IpInterface]]
    ) -> tuple[str, str]:
        (host, address), (peer, peer_address) = ends
        name, peer_name = self._next_name(host), self._next_name(peer)
        far = {"ifname": peer_name, "net_ns_fd": self._hosts[peer].net}
        with namespace.inside(self._hosts[host].net), IPRoute() as ip:
            ip.link("add", ifname=name, kind="veth", peer=far)
            _configure(ip, name, address)
        with namespace.inside(self._hosts[peer].net), IPRoute() as ip:
            _configure(ip, peer_name, peer_address)
        return name, peer_name

    def _counts(self) -> dict[str, int]:
        overruns = sum(interface.overruns for interface, _ in self._joined.values())
        return {**self._wire.counts, "overruns": overruns}


def _configure(ip: IPRoute, name: str, address: IpInterface) -> None:
    index = ip.link_lookup(ifname=name)[0]
    add_address(ip, index, address)
    ip.link("set", index=index, state="up")


def _end(*_: object) -> NoReturn:
    raise SystemExit(1)


def main(arguments: list[str]) -> int:
    """Tell the Lab what user namespace it has, then serve it."""
    fd, parent = (int(argument) for argument in arguments)
    sock = socket.socket(fileno=fd)
    signal.signal(signal.SIGTERM, _end)
    try:
        user = namespace.found()
        keeper = Keeper(sock, parent)
    except (LabError, ProcessLookupError) as error:
        requests.send(sock, requests.Reply(error=str(error)))
        return 1
    requests.send(sock, requests.Reply(), [] if user is None else [user])
    keeper.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
