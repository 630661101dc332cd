"""A pilgrim's group whose processes learn of the tunnel one after the other, with time between."""

from __future__ import annotations

import time
from pathlib import Path

from chancel.daemon import guardian
from chancel.daemon.config_types import Mode
from chancel.daemon.duties.control import Control
from chancel.daemon.settings import TunnelSettings
from tests.daemon.network import InNetwork
from tests.daemon.running import Running, eventually, text

PAUSE_S = 0.5


class SlowControl(Control):
    """The pilgrim has its key already, and heaven-rx, which comes next, doesn't know the tunnel."""

    def add(self, tunnel: int, settings: TunnelSettings, fds: list[int]) -> None:
        time.sleep(PAUSE_S)
        super().add(tunnel, settings, fds)


def test_heartbeats_begin_with_a_key_that_was_there_first(in_network: InNetwork, tmp: Path) -> None:
    def test() -> None:
        # What the kernel sends by itself shall not be taken for a heartbeat.
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        makers = guardian.load_duties(Mode.PILGRIM) | {"control": SlowControl}
        running = Running(tmp, text(tmp, 1, "mode pilgrim", "peer 127.0.0.1:7009"), makers=makers)

        def sent() -> int:
            (tunnel,) = running.ask({"do": "status"})["tunnels"]
            return int(tunnel["tx"]["packets"])

        eventually(lambda: sent() >= 2)
        assert running.stop() == 0

    in_network(test)
