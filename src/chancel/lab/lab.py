"""The lab as its users see it: hosts, networks, routers, and programs that run in them.

    with Lab() as lab:
        a, b = lab.host("a"), lab.host("b")
        cable = lab.connect(a, "192.168.201.1/24", b, "192.168.201.2/24", LinkModel(loss=0.01))
        print(a.call("chancel.lab.ping:ping", "192.168.201.2")["received"])
        cable.set_model(LinkModel(loss=1.0))  # cut it

Leaving the block kills whatever still runs in the hosts. Everything raises LabError when the
machine refuses or the request makes no sense.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_interface, ip_network
from types import TracebackType
from typing import Any, Self

from chancel.lab import enter, requests
from chancel.lab.interface import IpInterface
from chancel.lab.namespace import LabError
from chancel.lab.wire import IpNetwork
from chancel.sim.models import LinkModel
from chancel.sim.nat import NatModel

CLOSE_LIMIT_S = 15.0
"""How long the keeper may take to clear the lab before it is killed."""


class Lab:
    """A set of hosts and networks, and the keeper process behind them. Safe to share by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._programs: list[subprocess.Popen[Any]] = []
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._keeper = subprocess.Popen(  # noqa: S603 - ourselves
                [
                    sys.executable,
                    "-m",
                    "chancel.lab.keeper",
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._fds: list[int] = []
        try:
            self._fds += self._reply()[1]
        except BaseException:
            self.close()
            raise
        self.user = self._fds[0] if self._fds else None
        """Descriptor of the lab's user namespace; None as real root."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def keeper_pid(self) -> int:
        """The process behind the lab."""
        return self._keeper.pid

    def host(self, name: str) -> Host:
        """A new host without interfaces but ``lo``."""
        _, (net, uts) = self._ask(requests.MakeHost(name))
        self._fds += net, uts
        return Host(self, name, net, uts)

    def network(self, prefix: str, model: LinkModel | None = None) -> Network:
        """A new network, of IPv4 or IPv6; without a model it is perfect."""
        network = ip_network(prefix)
        number, _ = self._ask(requests.MakeNetwork(network, model or LinkModel()))
        return Network(self, number, network)

    def connect(
        self, a: Host, a_address: str, b: Host, b_address: str, model: LinkModel | None = None
    ) -> Network:
        """A network of two hosts; addresses as ``192.0.2.1/24``."""
        network = self.network(str(ip_interface(a_address).network), model)
        network.join(a, a_address)
        network.join(b, b_address)
        return network

    def router(
        self,
        inside: tuple[Network, str],
        outside: tuple[Network, str],
        nat: NatModel | None = None,
    ) -> None:
        """Join two networks by a router with the given addresses, the inside hidden by ``nat``."""
        legs = [
            (network.number, network.interface(address)) for network, address in (inside, outside)
        ]
        self._ask(requests.MakeRouter(legs[0], legs[1], nat))

    def veth(self, a: Host, a_address: str, b: Host, b_address: str) -> None:
        """Join two hosts by a wire of the kernel: as fast as it gets, no model."""
        ends = (a.name, ip_interface(a_address)), (b.name, ip_interface(b_address))
        self._ask(requests.MakeVeth(ends))

    def counts(self) -> dict[str, int]:
        """What the wires did to packets: carried, lost, corrupted, refused (by a NAT), ..."""
        value: dict[str, int] = self._ask(requests.Count())[0]
        return value

    def close(self) -> None:
        """Kill what runs in the lab and remove it. Does nothing the second time."""
        with self._socket, contextlib.suppress(LabError, OSError):  # a keeper that failed is gone
            if self._socket.fileno() >= 0:
                self._socket.settimeout(CLOSE_LIMIT_S)
                self._ask(requests.Close())
        try:
            self._keeper.wait(CLOSE_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        for program in self._programs:
            program.kill()  # one that the keeper missed was not inside yet
            program.wait()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        self._programs.clear()

    def _ask(self, request: requests.Request) -> tuple[Any, list[int]]:
        with self._lock:
            try:
                requests.send(self._socket, request)
                return self._reply()
            except OSError as error:
                raise LabError("the lab's keeper process is gone") from error

    def _reply(self) -> tuple[Any, list[int]]:
        try:
            reply, fds = requests.receive(self._socket)
        except EOFError as error:
            raise LabError("the lab's keeper process is gone") from error
        if not isinstance(reply, requests.Reply):
            raise LabError("the lab's keeper answered with nonsense")
        if reply.error is not None:
            raise LabError(reply.error)
        return reply.value, fds

    def _track(self, program: subprocess.Popen[Any]) -> None:
        self._programs = [old for old in self._programs if old.poll() is None]
        self._programs.append(program)


class Network:
    """A network of the lab."""

    def __init__(self, lab: Lab, number: int, prefix: IpNetwork) -> None:
        self.number = number
        self._lab = lab
        self._prefix = prefix

    def interface(self, address: str) -> IpInterface:
        """``192.0.2.1`` (a given prefix length is ignored) as an address on this network."""
        return ip_interface(f"{address.partition('/')[0]}/{self._prefix.prefixlen}")

    def join(self, host: Host, address: str) -> str:
        """Give a host an interface on this network; returns the interface's name in the host."""
        request = requests.Join(host.name, self.number, self.interface(address))
        name: str = self._lab._ask(request)[0]
        return name

    def set_model(self, model: LinkModel) -> None:
        """Treat packets differently from now on: ``LinkModel(loss=1.0)`` cuts the cable."""
        self._lab._ask(requests.SetModel(self.number, model))

    def split(self, *groups: Iterable[str]) -> None:
        """Carry nothing from an address in one group to one in another; who is in none, reaches
        all. Without groups: carry everything again."""
        packed = tuple(frozenset(ip_address(each).packed for each in group) for group in groups)
        self._lab._ask(requests.Split(self.number, packed))


class Host:
    """A machine of the lab."""

    def __init__(self, lab: Lab, name: str, net: int, uts: int) -> None:
        self.name = name
        self._lab = lab
        self._net = net
        self._uts = uts

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in the host; options are those of subprocess.Popen."""
        user = self._lab.user
        fds = [fd for fd in (user, self._net, self._uts) if fd is not None]
        line = enter.command(user, self._net, self._uts, command)
        fds += options.pop("pass_fds", ())
        program = subprocess.Popen(line, pass_fds=fds, **options)  # noqa: S603 - as the caller wants
        self._lab._track(program)
        return program

    def run(
        self, command: Sequence[str], timeout_s: float = 60.0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end and return its output (text) and status."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        with self.popen(command, text=True, **options) as program:
            try:
                out, err = program.communicate(timeout=timeout_s)
            except BaseException:
                program.kill()
                raise
        return subprocess.CompletedProcess(list(command), program.returncode, out, err)

    def start(self, target: str, *arguments: Any) -> Task:
        """Start the Python function ``"module:name"`` in the host, in a process of its own."""
        command = [sys.executable, "-m", "chancel.lab.call", target]
        return Task(
            target,
            self.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True),
            json.dumps(arguments),
        )

    def call(self, target: str, *arguments: Any) -> Any:
        """Run the function to its end; arguments and result are what JSON can carry."""
        return self.start(target, *arguments).result()


class Task:
    """A Python function at work in a host. Generator functions tell their progress as they go."""

    def __init__(self, target: str, program: subprocess.Popen[str], arguments: str) -> None:
        self.program = program
        self.progress = self._read()
        """Each value the function yields, when it does. Raises LabError at the end if it failed."""
        self._target = target
        self._result: Any = None
        self._done = False
        with contextlib.suppress(BrokenPipeError):  # it failed at once, which result() tells
            assert program.stdin is not None
            with program.stdin:
                program.stdin.write(arguments)

    def _read(self) -> Iterator[Any]:
        assert self.program.stdout is not None
        with self.program.stdout as lines:
            for line in lines:
                message: dict[str, Any] = json.loads(line)
                if "result" in message:
                    self._result, self._done = message["result"], True
                else:
                    yield message["progress"]
        status = self.program.wait()
        if not self._done:
            raise LabError(f"{self._target} failed in the lab (status {status})")

    def result(self) -> Any:
        """Wait for the result. Raises LabError if the function failed (its traceback is on
        stderr)."""
        for _ in self.progress:
            pass
        return self._result
