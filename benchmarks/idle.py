"""Tunnels that carry nothing: how often their processes are woken. All programs side by side, as
nobody works.

What the protocol itself wants is no waste: a heartbeat passes the processes of its direction at
either end. What wakes ours beyond that has to be nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks import processes, vpns
from benchmarks.ends import Running, running
from benchmarks.result import Figure, Result, Step
from benchmarks.targets import SPARE_WAKEUPS
from chancel.daemon import ctl

SETTLED_S, IDLE_S = 20.0, 45.0
"""They are counted when discovery of the MTU and the first heartbeats are over."""

DIRECTION = 3
"""Processes that a packet passes at one end."""


class Heard(NamedTuple):
    """Of one end of ours: packets both ways, and wake-ups of all but control, whom asking wakes."""

    packets: int
    wakeups: int


def run() -> Iterator[Result | Step]:
    """Wake-ups of one end, in an hour; one sample."""
    with contextlib.ExitStack() as stack:
        tunnels = {
            vpn.name: stack.enter_context(running(vpn)) for vpn in (*vpns.ours(), *vpns.peers())
        }
        ours = {vpn.name: tunnels[vpn.name] for vpn in vpns.ours()}
        yield Step("idle: waiting until all is quiet", 0.1)
        time.sleep(SETTLED_S)
        yield Step(f"idle: counting for {IDLE_S:g} s", 0.3)
        before = {name: processes.wakeups(each.right_pids) for name, each in tunnels.items()}
        heard = {name: _ask(each) for name, each in ours.items()}
        time.sleep(IDLE_S)
        spare = {name: _spare(heard[name], _ask(each)) for name, each in ours.items()}
        for name, each in tunnels.items():
            woken = (processes.wakeups(each.right_pids) - before[name]) / IDLE_S * 3600
            yield Figure("wake-ups of an idle end", "per hour", [woken], program=name, less=True)
        for name, count in spare.items():
            yield Figure(
                "wake-ups of an idle end beyond the protocol's timers",
                "per hour",
                [count / IDLE_S * 3600],
                SPARE_WAKEUPS,
                program=name,
                less=True,
            )


def _ask(tunnel: Running) -> Heard:
    (control,) = vpns.runtime(tunnel.folder, 2).glob("*.ctl")
    status = ctl.ask(control, {"do": "status"})
    (each,) = status["tunnels"]
    wakeups = status["group"]["wakeups"]
    return Heard(
        each["tx"]["packets"] + each["rx"]["packets"],
        sum(told["count"] for name, told in wakeups.items() if name != "control"),
    )


def _spare(before: Heard, after: Heard) -> int:
    due = DIRECTION * (after.packets - before.packets)
    return max(0, after.wakeups - before.wakeups - due)
