"""The guardian: parent of the group. It opens what the tunnels need and ends all when one dies.

It forks before any secret is read and never reads one. It alone keeps the rights to make sockets
and devices (these in a child of its own, ``device_setup``); it sees no packet, and of what a child
says it believes two things: an MTU, which it clamps, and the requests of control, which are those
of the machine's own users.

The group ends with status 0 on a signal (TERM, INT, QUIT, HUP) and with 1 when a process dies.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from chancel.crypto.system import SystemSuite
from chancel.daemon import config, ctl_socket, logs, privileges, sandbox, topology
from chancel.daemon.board import MAX_TUNNELS
from chancel.daemon.cell import Cell
from chancel.daemon.child import GUARDIANS_SIGNALS, Make
from chancel.daemon.config_lines import quoted
from chancel.daemon.config_types import MIN_MTU_IPV6, Mode, TunnelConfig
from chancel.daemon.device_setup import SetUp
from chancel.daemon.group import STOP_LIMIT_S, Group, GroupBroken, Interrupted, Message
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.linux import MachineError
from chancel.daemon.loop import Loop
from chancel.daemon.notify import READY, STOPPING, notify
from chancel.daemon.privileges import Identity
from chancel.daemon.sandbox import Plan, Sandbox
from chancel.daemon.topology import GUARDIAN
from chancel.daemon.trace import make_channel
from chancel.daemon.tunnel import Tunnel
from chancel.errors import ChancelError, LocalProtocolError

TOLD_INTERVAL_S = 60.0
"""What users can ask for without end is told at most once in this time."""

log = logging.getLogger("chancel.daemon")


def run(
    configs: Sequence[TunnelConfig],
    runtime_dir: Path,
    up: Callable[[], None] = lambda: None,
    confinement: Sandbox = Sandbox.ON,
    cell: Cell | None = None,
) -> int:
    """Carry these tunnels until a signal comes or a process dies; returns the exit status.

    ``up`` is called once all of them are there. Their devices are made in the ``cell``, or else in
    our own network. Raises :class:`ChancelError` when they can't be had; then nothing of them is
    left.
    """
    config.check(configs)
    return serve(configs, runtime_dir, load_duties(configs[0].mode), up, confinement, cell)


def load_duties(mode: Mode) -> dict[str, Make]:
    """Import the mode's duties, before the fork; numpy without the threads that we never use.

    What the primitives' libraries set up when they are first used, all processes share then.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    suite = SystemSuite()
    suite.kmac256(bytes(32), b"", 32, b"")
    suite.aead(bytes(32)).encrypt(bytes(12), b"", b"")
    return {
        name: importlib.import_module(f"chancel.daemon.duties.{name.replace('-', '_')}").make
        for name in topology.of(mode).duties
    }


def serve(
    configs: Sequence[TunnelConfig],
    runtime_dir: Path,
    makers: Mapping[str, Make],
    up: Callable[[], None] = lambda: None,
    confinement: Sandbox = Sandbox.ON,
    cell: Cell | None = None,
) -> int:
    """As :func:`run`, with duties of the caller's choice and files that were checked."""
    logs.setup(GUARDIAN)
    plan = sandbox.prepare(confinement, configs)
    gc.freeze()
    with _signals() as signals, SetUp(configs, cell) as setup:
        users = users_of(configs, makers)
        group = Group(topology.of(configs[0].mode), makers, users, plan, signals)
        guardian = Guardian(group, runtime_dir, signals, plan, cell)
        try:
            group.wait_ready()
            guardian.start(configs, setup)
            setup.close()
            sandbox.confine_guardian(plan, group.programs.get(GUARDIAN))
            notify(READY)
            up()
            return guardian.serve()
        except Interrupted:
            return 0
        finally:
            notify(STOPPING)
            group.end(STOP_LIMIT_S)
            guardian.close()


def users_of(configs: Sequence[TunnelConfig], duties: Mapping[str, Make]) -> dict[str, Identity]:
    """The users that the ``run`` lines name, as far as this user namespace knows them."""
    named = {name: user for each in configs for name, user in each.run_as.items() if name in duties}
    users = {name: found for name, user in named.items() if (found := privileges.identity(user))}
    if len(users) < len(named):
        log.warning("the users of the run lines can't be had here: all processes keep ours")
        return {}
    return users


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Signals as bytes on a socket, so that one loop waits for everything."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in GUARDIANS_SIGNALS}
    wakeup = signal.set_wakeup_fd(writing.fileno())
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()


class Guardian:
    """Tunnels join and leave a group that runs."""

    def __init__(
        self,
        group: Group,
        runtime_dir: Path,
        signals: socket.socket,
        plan: Plan,
        cell: Cell | None,
    ) -> None:
        self._group = group
        self._cell = cell
        self._plan = plan
        self._runtime_dir = runtime_dir
        self._signals = signals
        self._tunnels: dict[int, Tunnel] = {}
        self._next = 0
        self._loop = Loop()
        self._metrics: Path | None = None
        self._told = logs.RateLimit(TOLD_INTERVAL_S)

    def start(self, configs: Sequence[TunnelConfig], setup: SetUp) -> None:
        """Add the first tunnels. Raises :class:`ChancelError`."""
        self._metrics, metrics = ctl_socket.open_metrics(self._runtime_dir, configs[0].instance)
        self._group.tell_control(
            {
                "group": {
                    "pid": os.getpid(),
                    "metrics": str(self._metrics),
                    "started_wall": time.time(),
                    "processes": {name: child.pid for name, child in self._group.children.items()},
                    **self._plan.in_force(),
                },
                "uid": os.geteuid(),
            },
            [metrics.fileno()],
        )
        metrics.close()
        for each in configs:
            self.add(each, setup)
        for tunnel in self._tunnels.values():
            tunnel.announce()
        log.info("chancel started (pid=%d)", os.getpid())

    def serve(self) -> int:
        """Until a signal says stop, or a process ends; returns the exit status."""
        if (syslog := logs.connection()) is not None:
            syslog.watch(self._loop)
        self._loop.add(self._signals, self._loop.stop)
        for child in self._group.children.values():
            self._loop.add(child.pidfd, self._group.check)
        self._loop.add(self._group.children["control"].link, self._answer)
        self._loop.add(self._group.bell, self._adopt_mtus)
        for listener in self._group.watch.listeners:
            self._loop.add(listener, partial(self._group.watch.answer, listener))
        try:
            self._answer()  # what came while the first tunnels were added
            self._loop.run()
        except (GroupBroken, NeighbourLied) as broken:
            log.error("%s", broken)
            self._group.end(0.0)
            return 1
        return 0

    def close(self) -> None:
        """Undo what is left of the tunnels, once the processes are gone."""
        for tunnel in self._tunnels.values():
            tunnel.close()
        if self._metrics is not None:
            ctl_socket.remove(self._metrics)

    def add(self, config: TunnelConfig, setup: SetUp) -> Tunnel:
        """Open what the tunnel needs and hand it to the duties. Raises :class:`ChancelError`."""
        index = self._free_index()
        tunnel = self._tunnels[index] = Tunnel.open(config, self._runtime_dir, setup)
        self._group.tell_control({"tunnel": index, "about": tunnel.about()})
        order = {"do": "add", "tunnel": index, "settings": tunnel.settings().to_json()}
        for name in self._group.topology.add_order:
            self._group.tell(name, order, tunnel.descriptors_for(name))
        tunnel.handed_over()
        log.info(
            "tunnel added tunnel=%s address=%s local=%s",
            config.instance,
            config.tunnel or "none",
            tunnel.local,
        )
        return tunnel

    def _add_late(self, config: TunnelConfig) -> None:
        """Add to a group that runs: all or nothing."""
        if self._cell is not None:
            raise LocalProtocolError("this group has a network of its own, which takes no others")
        with SetUp([config]) as setup:
            tunnel = self.add(config, setup)
        try:
            tunnel.announce()
        except MachineError:
            self.remove(config.instance)
            raise

    def remove(self, instance: str) -> None:
        """End one tunnel; the others don't notice. Raises :class:`ChancelError`."""
        names = {tunnel.config.instance: index for index, tunnel in self._tunnels.items()}
        if instance not in names:
            raise LocalProtocolError(
                f"no tunnel called {quoted(instance)} (expected one of its group)"
            )
        if len(names) == 1:
            raise LocalProtocolError(
                f"{instance} is the last tunnel of its group: stop the group instead"
                f" (kill {os.getpid()})"
            )
        index = names[instance]
        for name in reversed(self._group.topology.add_order):
            self._group.tell(name, {"do": "remove", "tunnel": index})
        self._tunnels.pop(index).close()
        log.info("tunnel removed tunnel=%s", instance)

    def _free_index(self) -> int:
        """Numbers are used in turn, so that a late batch of a removed tunnel finds no other."""
        for number in range(self._next, self._next + MAX_TUNNELS):
            index = number % MAX_TUNNELS
            if index not in self._tunnels:
                self._next = index + 1
                return index
        raise LocalProtocolError(f"the group is full (expected at most {MAX_TUNNELS} tunnels)")

    def _answer(self) -> None:
        """Carry out what users asked of control."""
        control = self._group.children["control"]
        control.receive()
        while (received := control.take("request")) is not None:
            request, fds = received
            answer = {"answer": request.get("id"), "ok": True}
            results: list[int] = []
            try:
                results = self._obey(request, fds)
            except (GroupBroken, Interrupted):
                raise
            except ChancelError as error:
                answer |= {"ok": False, "error": str(error)}
            finally:
                for fd in fds:
                    os.close(fd)
            self._group.tell_control(answer, results)
            for fd in results:
                os.close(fd)

    def _obey(self, request: Message, fds: list[int]) -> list[int]:
        """Returns the descriptors that go with the answer."""
        match request:
            case {"request": "add", "name": str(name)} if fds:
                added = config.load_descriptor(fds[0], name)
                config.check([*(tunnel.config for tunnel in self._tunnels.values()), added])
                self._plan.check(added)
                self._add_late(added)
            case {"request": "remove", "instance": str(instance)}:
                self.remove(instance)
            case {"request": "stop"}:
                self._loop.stop()
            case {"request": "enter"}:
                return self._let_in()
            case {"request": "trace"}:
                return [self._trace()]
            case _:
                raise LocalProtocolError(
                    "expected add with a descriptor, remove, stop, enter, or trace"
                )
        return []

    def _let_in(self) -> list[int]:
        """Descriptors with which our user can move into the cell."""
        if self._cell is None:
            raise LocalProtocolError(
                "its tunnels are on this machine's own network, where every program has them"
                " (expected one that was started by chancel up without root, or by chancel exec)"
            )
        return [os.dup(fd) for fd in self._cell.descriptors()]

    def _trace(self) -> int:
        """Have each process tell what it does; returns the descriptor to read that from."""
        reading, writing = make_channel()
        # Control carries nothing, and sees what it tells in the boards.
        traced = [name for name in self._group.topology.duties if name != "control"]
        with reading, writing:
            self._group.trace(traced, writing.fileno())
            self._told.log(log, logging.INFO, "trace", time.monotonic(), "trace began")
            return reading.detach()

    def _adopt_mtus(self) -> None:
        """heaven-rx has found out what a path carries, and rang."""
        self._group.bell.quiet()
        board = self._group.mtu_board
        if board is None:
            return  # a shrine learns no MTU, and nobody rings
        for index, tunnel in self._tunnels.items():
            entry = board.read(index)
            if entry is None or entry.record.mtu == 0:
                continue
            try:
                if tunnel.adopt_mtu(entry.record.mtu):
                    _tell_mtu(tunnel)
            except OSError as error:
                log.error(
                    "MTU can't be set tunnel=%s reason=%s",
                    tunnel.config.instance,
                    error.strerror,
                )


def _tell_mtu(tunnel: Tunnel) -> None:
    instance, mtu = tunnel.config.instance, tunnel.mtu
    log.info("MTU has been set to %d tunnel=%s", mtu, instance)
    if tunnel.config.tunnel6 is not None and mtu < MIN_MTU_IPV6:
        log.warning(
            "the path carries packets of %d bytes and IPv6 needs %d, so its device stays there and"
            " larger packets are lost tunnel=%s",
            mtu,
            MIN_MTU_IPV6,
            instance,
        )
