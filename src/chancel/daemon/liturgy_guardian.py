"""The guardian of a liturgy: one group for it and all its tunnels, which come and go by themselves.

``liturgy`` writes on its board whom the cathedral names. The guardian reads that, and makes the
tunnels itself: their configurations follow from the liturgy's, which was checked at the start
(``liturgy_tunnels``). So of what ``liturgy`` says it believes numbers of devices, and which
cathedral new tunnels begin with; when they come, how fast, and when they go, it decides itself
(``liturgy_roll``).
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from chancel.daemon import arrays, image, linux, logs, sandbox, topology
from chancel.daemon.accelerator import Accelerator, engage
from chancel.daemon.board import MAX_TUNNELS
from chancel.daemon.cell import Cell
from chancel.daemon.child import Make
from chancel.daemon.config_cathedral import is_a_host
from chancel.daemon.config_liturgy import LiturgyConfig, check_users
from chancel.daemon.config_types import LITURGY, Mode, TunnelConfig
from chancel.daemon.device_setup import SetUp
from chancel.daemon.group import Group, GroupBroken, Interrupted, Message
from chancel.daemon.guardian import Guardian, load_duties
from chancel.daemon.guarding import hearing_signals, users_of
from chancel.daemon.liturgy_opened import OpenedLiturgy
from chancel.daemon.liturgy_roll import Roll
from chancel.daemon.liturgy_status import make_control
from chancel.daemon.liturgy_tunnels import tunnel_to
from chancel.daemon.logs import RateLimit
from chancel.daemon.publish import earliest
from chancel.daemon.records import NOWHERE, LiturgyRecord
from chancel.daemon.run import unpack_address
from chancel.daemon.sandbox import GUARDIANS_RIGHTS, Plan
from chancel.daemon.sandbox_mode import Sandbox
from chancel.errors import ChancelError, LocalProtocolError
from chancel.wire.types import Address

NUMBER: Final = MAX_TUNNELS - 1
"""The liturgy's own, where tunnels have theirs."""

SOON_S = 1.0
"""The set-up process, which has rights that nobody else needs, stays for steps that are near."""

TOLD_INTERVAL_S = 600.0
"""That a tunnel can't be made is told at most once in this time for each."""

log = logging.getLogger("chancel.daemon")


def run(
    config: LiturgyConfig,
    runtime_dir: Path,
    up: Callable[[], None] = lambda: None,
    confinement: Sandbox = Sandbox.ON,
    cell: Cell | None = None,
) -> int:
    """Take part in a liturgy until a signal comes or a process dies; returns the exit status.

    ``up`` is called once it runs, with no tunnel yet. Raises :class:`ChancelError` when it can't;
    then nothing of it is left.
    """
    check_users(config)
    makers = {**load_duties(Mode.TUNNEL, liturgy=True), "control": make_control}
    return serve(config, runtime_dir, makers, up, confinement, cell)


def serve(
    config: LiturgyConfig,
    runtime_dir: Path,
    makers: Mapping[str, Make],
    up: Callable[[], None] = lambda: None,
    confinement: Sandbox = Sandbox.ON,
    cell: Cell | None = None,
) -> int:
    """As :func:`run`, with duties of the caller's choice and a file that was checked."""
    logs.setup(topology.GUARDIAN)
    plan = sandbox.prepare_liturgy(confinement, config)
    accelerator = engage(wanted=config.accelerator)
    if config.shroud:
        arrays.load()  # what goes to cathedrals is masked in Python
    image.settle()
    rights = GUARDIANS_RIGHTS if cell is None else GUARDIANS_RIGHTS | {linux.CAP_SYS_ADMIN}
    with hearing_signals() as signals:
        users = users_of([config], makers)
        tables = topology.of(Mode.TUNNEL, liturgy=True)
        group = Group(tables, makers, users, plan, signals)
        guardian = LiturgyGuardian(config, group, runtime_dir, signals, plan, cell, accelerator)
        return guardian.live(guardian.begin, up, rights)


class LiturgyGuardian(Guardian):
    """One liturgy, and its tunnels."""

    requests = "stop, enter, or trace"
    room = NUMBER

    def __init__(
        self,
        config: LiturgyConfig,
        group: Group,
        runtime_dir: Path,
        signals: socket.socket,
        plan: Plan,
        cell: Cell | None,
        accelerator: Accelerator,
    ) -> None:
        super().__init__(group, runtime_dir, signals, plan, cell, accelerator)
        self._config = config
        self._opened: OpenedLiturgy | None = None
        self._roll = Roll(config.device, self._meet, self._part, self._is_alive)
        self._numbers: dict[int, int] = {}
        """Of the tunnel to each device."""
        self._batch: _Batch | None = None
        self._in_use: Address | None = None
        self._refused = RateLimit(TOLD_INTERVAL_S)

    def begin(self) -> None:
        """Open what the liturgy needs and hand it over. Raises :class:`ChancelError`."""
        config = self._config
        self.introduce(config.instance, {"accelerator": self._accelerator})
        opened = self._opened = OpenedLiturgy.open(config, self._runtime_dir)
        self._group.tell_control({"tunnel": NUMBER, "about": opened.about()})
        order = {"do": "add", "tunnel": NUMBER, "settings": opened.settings().to_json()}
        self._group.tell("control", order, [opened.ctl.fileno()])
        self._group.tell(LITURGY, order, [opened.udp.fileno()])
        opened.handed_over()
        self._surroundings.add(NUMBER, config.cathedral, LITURGY)
        opened.announce()
        log.info("liturgy added tunnel=%s local=%s", config.instance, opened.local)
        log.info("chancel started (pid=%d)", os.getpid())

    def wake_at(self) -> float | None:
        """Of what is outside, and of the tunnels that are to come or to go."""
        return earliest(super().wake_at(), self._roll.wake_at())

    def wake(self, now: float) -> None:
        """Look outside; and take the next step towards what the liturgy wants."""
        super().wake(now)
        due = self._roll.wake_at()
        if due is not None and now >= due:
            self._listen()
            self._roll.wake(now)
        due = self._roll.wake_at()
        if self._batch is not None and (due is None or due > now + SOON_S):
            self._close_batch()

    def close(self) -> None:
        """Undo what is left of the tunnels and the liturgy, once the processes are gone."""
        self._close_batch()
        super().close()
        if self._opened is not None:
            self._opened.close()

    def _rung(self) -> None:
        super()._rung()
        self._listen()

    def _listen(self) -> None:
        """Take what liturgy says by now."""
        record: LiturgyRecord | None = self._group.record(LITURGY, NUMBER)
        if record is None:
            return
        self._roll.told(record.devices, record.answered_at)
        in_use = None if record.cathedral == NOWHERE else unpack_address(record.cathedral)
        self._in_use = in_use if in_use is not None and _is_possible(in_use) else None

    def _meet(self, device: int) -> bool:
        """Make the tunnel to a device; whether it could be made."""
        try:
            if self._batch is None or not self._batch.covers(device, self._in_use):
                self._close_batch()
                self._batch = _Batch(self._config, self._roll.missing, self._in_use, self._cell)
            number = self.add(self._batch.configs[device], self._batch.setup)
        except (GroupBroken, Interrupted):
            raise
        except (ChancelError, OSError) as error:
            sentence = "tunnel can't be made device=%02x error=%s"
            now = time.monotonic()
            self._refused.log(log, logging.WARNING, device, now, sentence, device, error)
            return False
        self._numbers[device] = number
        return True

    def _part(self, device: int) -> None:
        self._end(self._numbers.pop(device))

    def _is_alive(self, device: int, since: float) -> bool:
        number = self._numbers[device]
        bless, confess = (self._group.record(board, number) for board in ("bless", "confess"))
        if bless is None or confess is None:
            return False
        return bool(bless.spi and confess.spi and confess.alive_at > since)

    def _close_batch(self) -> None:
        if self._batch is not None:
            self._batch.setup.close()
            self._batch = None

    def _obey(self, request: Message, fds: list[int]) -> list[int]:
        match request:
            case {"request": "add" | "remove"}:
                raise LocalProtocolError(
                    f"{self._config.instance} is a liturgy, which adds and removes its tunnels"
                    " itself (expected a group of its own for others, or chancel down"
                    f" {self._config.instance})"
                )
            case _:
                return super()._obey(request, fds)


class _Batch:
    """Tunnels that are wanted at one time: one set-up process makes all their devices."""

    def __init__(
        self,
        config: LiturgyConfig,
        devices: frozenset[int],
        in_use: Address | None,
        cell: Cell | None,
    ) -> None:
        self._in_use = in_use
        self.configs: dict[int, TunnelConfig] = {
            device: tunnel_to(config, device, in_use) for device in sorted(devices)
        }
        self.setup = SetUp(list(self.configs.values()), cell, shares_cell=True)

    def covers(self, device: int, in_use: Address | None) -> bool:
        """Whether it has this tunnel, as it would be now."""
        return device in self.configs and in_use == self._in_use


def _is_possible(cathedral: Address) -> bool:
    return ":" not in cathedral.host and cathedral.port != 0 and is_a_host(cathedral)
