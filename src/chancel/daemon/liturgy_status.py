"""What control answers of a liturgy, beside the status of its tunnels."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from chancel.daemon.board import BoardReader
from chancel.daemon.config_types import LITURGY
from chancel.daemon.describe import Answer, age
from chancel.daemon.duties.control import Control
from chancel.daemon.liturgy_metrics import exposition
from chancel.daemon.liturgy_settings import LiturgySettings
from chancel.daemon.process import Process
from chancel.daemon.records import NOWHERE, TROUBLES, LiturgyRecord
from chancel.daemon.run import unpack_address
from chancel.daemon.settings import TunnelSettings
from chancel.daemon.status import StatusBook
from chancel.daemon.view import View


class _Liturgy(NamedTuple):
    settings: LiturgySettings
    about: Answer


class LiturgyBook(StatusBook):
    """All that is known about a group's liturgies and tunnels."""

    def __init__(self, boards: Mapping[str, BoardReader[Any]], started: float = 0.0) -> None:
        others = {name: board for name, board in boards.items() if name != LITURGY}
        super().__init__(others, started)
        self._board: BoardReader[LiturgyRecord] = boards[LITURGY]
        self._liturgies: dict[int, _Liturgy] = {}
        self._joins = self._leaves = 0

    def add(self, tunnel: int, settings: TunnelSettings | LiturgySettings, about: Answer) -> None:
        """Know a tunnel, or a liturgy."""
        if isinstance(settings, LiturgySettings):
            self._liturgies[tunnel] = _Liturgy(settings, about)
        else:
            super().add(tunnel, settings, about)
            self._joins += 1

    def remove(self, tunnel: int) -> None:
        """Forget one of them."""
        if self._liturgies.pop(tunnel, None) is None:
            super().remove(tunnel)
            self._leaves += 1

    def status(self, now: float, own_wakeups: int = 0) -> Answer:
        """As the base has it, and ``liturgies``; each tunnel says whose it is, and to which
        ``peer_device`` it leads.
        """
        answer = super().status(now, own_wakeups)
        names = [each.settings.instance for each in self._liturgies.values()]
        owned = {"liturgy": names[0] if names else None}
        tunnels = [
            tunnel | owned | {"peer_device": self._tunnels[number].settings.spi_prefix & 0xFF}
            for number, tunnel in zip(sorted(self._tunnels), answer["tunnels"], strict=True)
        ]
        liturgies = [
            self._describe(number, each, tunnels, now) for number, each in self._liturgies.items()
        ]
        return answer | {"tunnels": tunnels, "liturgies": liturgies}

    def _describe(
        self, number: int, liturgy: _Liturgy, tunnels: list[Answer], now: float
    ) -> Answer:
        settings, entry = liturgy.settings, self._board.read(number)
        record = entry.record if entry else LiturgyRecord()
        return {
            "instance": settings.instance,
            **liturgy.about,
            "device": settings.device,
            "group": f"{settings.group:x}",
            "flock": f"{settings.flock:x}",
            "hidden": settings.hidden,
            "shroud": settings.shroud,
            "members": sorted(record.devices - {settings.device}),
            "tunnels": {tunnel["instance"]: tunnel["peer_device"] for tunnel in tunnels},
            "joins": self._joins,
            "leaves": self._leaves,
            "answered_s": age(record.answered_at, now),
            "questions": record.questions,
            "send_error": errno.errorcode.get(record.error),
            "cathedral": {
                "address": None
                if record.cathedral == NOWHERE
                else str(unpack_address(record.cathedral)),
                "known": record.cathedrals,
                "since_s": age(record.cathedral_at, now),
                "silent_s": age(record.cathedral_silent_at, now),
                "clock_skew_s": None
                if math.isnan(record.cathedral_skew_s)
                else record.cathedral_skew_s,
                "trouble": TROUBLES[record.trouble] or None,
                "trouble_s": age(record.trouble_at, now),
            },
            "drops": {str(reason): count for reason, count in entry.drops.items()} if entry else {},
        }

    def _wakeup_counts(self, views: Mapping[int, View]) -> dict[str, int]:
        counts = super()._wakeup_counts(views)
        for number in self._liturgies:
            if (entry := self._board.read(number)) is not None:
                counts[LITURGY] = entry.wakeups
        return counts


def make_control(process: Process) -> Control:
    """The duty of control in the group of a liturgy."""
    process.read_settings = _read_settings
    return Control(process, LiturgyBook(process.boards, time.monotonic()), expose=exposition)


def _read_settings(data: dict[str, Any]) -> TunnelSettings | LiturgySettings:
    """What the guardian tells of a tunnel, or of the liturgy."""
    if "hidden" in data:
        return LiturgySettings.from_json(data)
    return TunnelSettings.from_json(data)
