"""The guardian: parent of the group. It opens what the tunnels need and ends all when one dies.

It forks before any secret is read and never reads one. It alone keeps the rights to make sockets
and devices (these in a child of its own, ``device_setup``); it sees no packet, and of what a child
says it believes two things: an MTU, which it clamps, and the requests of control, which are those
of the machine's own users.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from chancel.daemon import config, image, logs, sandbox, topology
from chancel.daemon.accelerator import Accelerator, engage
from chancel.daemon.board import MAX_TUNNELS
from chancel.daemon.cell import Cell
from chancel.daemon.child import Make
from chancel.daemon.config_lines import quoted
from chancel.daemon.config_types import MIN_MTU_IPV6, Mode, TunnelConfig
from chancel.daemon.device_setup import SetUp
from chancel.daemon.group import Group, Message
from chancel.daemon.guarding import Guarding, hearing_signals, users_of, warm_up
from chancel.daemon.linux import MachineError
from chancel.daemon.sandbox import Plan
from chancel.daemon.sandbox_mode import Sandbox
from chancel.daemon.surroundings import Surroundings
from chancel.daemon.topology import GUARDIAN
from chancel.daemon.tunnel import Tunnel
from chancel.errors import LocalProtocolError

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


def load_duties(mode: Mode, *, liturgy: bool = False) -> dict[str, Make]:
    """Import the mode's duties, before the fork."""
    warm_up()
    return {
        name: importlib.import_module(f"chancel.daemon.duties.{name.replace('-', '_')}").make
        for name in topology.of(mode, liturgy=liturgy).duties
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
    accelerator = engage(wanted=configs[0].accelerator)
    image.settle()
    with hearing_signals() as signals, SetUp(configs, cell) as setup:
        users = users_of(configs, makers)
        group = Group(topology.of(configs[0].mode), makers, users, plan, signals)
        guardian = Guardian(group, runtime_dir, signals, plan, cell, accelerator)

        def start() -> None:
            guardian.start(configs, setup)
            setup.close()

        return guardian.live(start, up)


class Guardian(Guarding):
    """Tunnels join and leave a group that runs."""

    requests = "add with a descriptor, remove, stop, enter, or trace"
    room = MAX_TUNNELS
    """How many there can be."""

    def __init__(
        self,
        group: Group,
        runtime_dir: Path,
        signals: socket.socket,
        plan: Plan,
        cell: Cell | None,
        accelerator: Accelerator,
    ) -> None:
        super().__init__(group, runtime_dir, signals, plan)
        self._cell = cell
        self._accelerator = accelerator
        self._tunnels: dict[int, Tunnel] = {}
        self._next = 0
        self._surroundings = Surroundings(self._loop, group, plan)

    def start(self, configs: Sequence[TunnelConfig], setup: SetUp) -> None:
        """Add the first tunnels. Raises :class:`ChancelError`."""
        self.introduce(configs[0].instance, {"accelerator": self._accelerator})
        for each in configs:
            self.add(each, setup)
        for tunnel in self._tunnels.values():
            tunnel.announce()
        log.info("chancel started (pid=%d)", os.getpid())

    def serve(self) -> int:
        """As the base does; and follow what discovery finds out."""
        self._loop.add(self._group.bell, self._rung)
        return super().serve()

    def wake_at(self) -> float | None:
        """Of what is outside."""
        return self._surroundings.wake_at()

    def wake(self, now: float) -> None:
        """Look outside."""
        self._surroundings.wake(now)

    def close(self) -> None:
        """Undo what is left of the tunnels, once the processes are gone."""
        self._surroundings.close()
        for tunnel in self._tunnels.values():
            tunnel.close()
        super().close()

    def add(self, config: TunnelConfig, setup: SetUp) -> int:
        """Open what the tunnel needs and hand it to the duties; returns its number.

        Raises :class:`ChancelError`.
        """
        index = self._free_index()
        tunnel = self._tunnels[index] = Tunnel.open(config, self._runtime_dir, setup)
        self._group.tell_control({"tunnel": index, "about": tunnel.about()})
        order = {"do": "add", "tunnel": index, "settings": tunnel.settings().to_json()}
        for name in self._group.topology.add_order:
            self._group.tell(name, order, tunnel.descriptors_for(name))
        tunnel.handed_over()
        device = tunnel.interface.index() if self._cell is None else None
        self._surroundings.add(index, config.cathedral, device=device)
        log.info(
            "tunnel added tunnel=%s address=%s local=%s",
            config.instance,
            config.tunnel or "none",
            tunnel.local,
        )
        return index

    def _add_late(self, config: TunnelConfig) -> None:
        """Add to a group that runs: all or nothing."""
        if self._cell is not None:
            raise LocalProtocolError("this group has a network of its own, which takes no others")
        with SetUp([config]) as setup:
            index = self.add(config, setup)
        try:
            self._tunnels[index].announce()
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
        self._end(names[instance])

    def _end(self, index: int) -> None:
        self._surroundings.remove(index)
        for name in reversed(self._group.topology.add_order):
            self._group.tell(name, {"do": "remove", "tunnel": index})
        tunnel = self._tunnels.pop(index)
        tunnel.close()
        log.info("tunnel removed tunnel=%s", tunnel.config.instance)

    def _free_index(self) -> int:
        """Numbers are used in turn, so that a late batch of a removed tunnel finds no other."""
        for number in range(self._next, self._next + self.room):
            index = number % self.room
            if index not in self._tunnels:
                self._next = index + 1
                return index
        raise LocalProtocolError(f"the group is full (expected at most {self.room} tunnels)")

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
            case {"request": "enter"}:
                return self._let_in()
            case _:
                return super()._obey(request, fds)
        return []

    def _let_in(self) -> list[int]:
        """Descriptors with which our user can move into the cell."""
        if self._cell is None:
            raise LocalProtocolError(
                "its tunnels are on this machine's own network, where every program has them"
                " (expected one that was started by chancel up without root, or by chancel exec)"
            )
        return [os.dup(fd) for fd in self._cell.descriptors()]

    def _rung(self) -> None:
        """Somebody has something to say to us on its board."""
        self._group.bell.quiet()
        self._adopt_mtus()

    def _adopt_mtus(self) -> None:
        """heaven-rx may have found out what a path carries."""
        board = self._group.boards.get("heaven-rx")
        if board is None:
            return  # a shrine learns no MTU, and nobody rings
        for index in board.changed():
            tunnel, entry = self._tunnels.get(index), board.read(index)
            if tunnel is None or entry is None or entry.record.mtu == 0:
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
