"""Two hosts joined by a wire, with a daemon on each: either may be the reference.

The programs are started by one configuration grammar, so a test names the side on which the
reference runs and the directives that matter to it; everything else is the same on both.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyroute2 import IPRoute

from chancel.daemon import ctl
from chancel.daemon.config_types import PROCESSES, Mode
from chancel.demo.play import LOG_TAIL_CHARACTERS, PING
from chancel.demo.programs import Program
from chancel.lab.lab import Host, Lab

UP_LIMIT_S = 20.0
LOST_AFTER_S = 5.0
"""A busy machine may be late, but what comes was not lost."""

REKEYING = Program("chancel", (sys.executable, "-m", "tests.interop.rekeying", "run"))
"""Chancel in a hurry for new keys: see ``rekeying``."""


class End:
    """One end of the tunnel: a host, a configuration, and the daemon while it runs.

    ``number`` is 1 or 2 and ends its addresses, inside and outside.
    """

    def __init__(self, host: Host, program: Program, number: int, folder: Path) -> None:
        self.host = host
        self.program = program
        self.inner = f"10.77.0.{number}"
        self.outer = f"192.168.201.{number}"
        self.log = folder / f"{host.name}.log"
        self._config = folder / f"{host.name}.conf"
        self._sockets = folder / f"{host.name}.run"
        self._daemon: subprocess.Popen[Any] | None = None

    def configure(self, mtu: str, secret: Path, peer: str, directives: str) -> None:
        """Write the configuration; ``peer`` is the directive's argument."""
        self._config.write_text(
            f"instance {self.host.name}\nsecret {secret}\ntunnel {self.inner}/30 {mtu}\n"
            f"local {self.outer}:2333\npeer {peer}\n"
            f"control {self._config.with_suffix('.control')} root\n"
            + "".join(f"run {duty} as root\n" for duty in PROCESSES[_mode(directives)])
            + directives
        )

    def start(self) -> None:
        """Start the daemon; it isn't up yet."""
        environment = {**os.environ, "CHANCEL_RUNTIME_DIR": str(self._sockets)}
        command = [*self.program.command, "-c", str(self._config)]
        with self.log.open("a") as log:
            self._daemon = self.host.popen(command, stdout=log, stderr=log, env=environment)

    def stop(self) -> None:
        """SIGTERM to the guardian, which ends all others; nothing is left and the status is 0."""
        self._end(signal.SIGTERM)

    def crash(self) -> None:
        """SIGKILL to all processes of the reference; to the guardian alone of ours, which must be
        enough."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        daemon, self._daemon = self._daemon, None
        assert daemon is not None
        self.program.end(daemon, how, f"see {self.log}")

    def ping(self, peer: End, count: int, interval_s: float, size: int = 56) -> Any:
        """Pings through the tunnel with DF set; ``size`` is the payload (IP packet: 28 more)."""
        return self.host.call(PING, peer.inner, count, interval_s, size, True, LOST_AFTER_S)

    def device_mtu(self) -> int:
        """The MTU of the tunnel's device."""
        return int(self.host.call("tests.interop.ends:mtu_of", self.host.name))

    def status(self) -> dict[str, Any]:
        """What our daemon says about the tunnel."""
        (group,) = ctl.survey(self._sockets).groups
        (tunnel,) = group.answer["tunnels"]
        return dict(tunnel)

    def close(self) -> None:
        """Stop the daemon if it runs."""
        if self._daemon is not None:
            self.stop()


class Pair:
    """Both ends, at work from ``with`` to the block's end. The ends are named for their sides."""

    def __init__(
        self,
        folder: Path,
        left: Program,
        right: Program,
        mtus: Sequence[str] = ("1400", "1400"),
        directives: Sequence[str] = ("", ""),
        auto: str = "",
    ) -> None:
        """``auto`` names the side that has to learn the other's address (``peer auto``)."""
        secret = folder / "secret"
        secret.touch(0o600)
        secret.write_bytes(os.urandom(32))
        self._stack = contextlib.ExitStack()
        self.lab = self._stack.enter_context(Lab())
        self.left = End(self.lab.host("left"), left, 1, folder)
        self.right = End(self.lab.host("right"), right, 2, folder)
        self.ends = self.left, self.right
        for end, mtu, extra in zip(self.ends, mtus, directives, strict=True):
            peer = "auto" if end.host.name == auto else f"{self.other(end).outer}:2333"
            end.configure(mtu, secret, peer, extra)
        wire = [(end.host, f"{end.outer}/24") for end in self.ends]
        self.lab.veth(*wire[0], *wire[1])

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            undo.push(self._stack)
            for end in self.ends:
                self._stack.callback(end.close)
                end.start()
            undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def ours(self) -> End:
        """The end where Chancel runs."""
        (end,) = (end for end in self.ends if end.program.name == "chancel")
        return end

    @property
    def reference(self) -> End:
        """The end where the reference runs."""
        return self.other(self.ours)

    def other(self, end: End) -> End:
        """The end across the tunnel."""
        return self.right if end is self.left else self.left

    def wait_up(self) -> None:
        """Wait for the first echo through the tunnel. Raises AssertionError with both logs."""
        deadline = time.monotonic() + UP_LIMIT_S
        while time.monotonic() < deadline:
            answer = self.left.host.call(PING, self.right.inner, 1, 0.0, 56, True, 0.2)
            if answer["received"]:
                return
        raise AssertionError(f"no echo within {UP_LIMIT_S:g} s\n{self.logs()}")

    def logs(self) -> str:
        """The end of both logs."""
        return "\n".join(
            f"--- {end.host.name} ({end.program.name})\n"
            + end.log.read_text()[-LOG_TAIL_CHARACTERS:]
            for end in self.ends
        )


def _mode(directives: str) -> Mode:
    words = directives.split()
    return Mode(words[words.index("mode") + 1]) if "mode" in words else Mode.TUNNEL


def mtu_of(name: str) -> int:
    """The MTU of an interface; runs in a host."""
    with IPRoute() as ip:
        (link,) = ip.get_links(ifname=name)
        return int(link.get_attr("IFLA_MTU"))


def narrow(mtu: int) -> None:
    """Lower the MTU of the interface that the wire is plugged into; runs in a host."""
    with IPRoute() as ip:
        (address,) = ip.get_addr(match=lambda found: found["prefixlen"] == 24)
        ip.link("set", index=address["index"], mtu=mtu)
