"""Every pair of places with real daemons in the lab, ours and, where it runs, the reference's.

One run of a pair is two devices and a cathedral, all ours or all the reference's, on kernels of
their own whose wires carry the simulator's NATs. Several labs are at work at once, as most of a run
is waiting; only two at a time bring their devices up. Theory is the judge, as in the simulation;
and in no pair may ours be slower, which ``nat_lab_compare`` finds out.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from chancel.daemon.why import explain
from chancel.demo.parish import Plan
from chancel.demo.play import Play
from chancel.demo.programs import CHANCEL, Program
from chancel.demo.sacristy import Sacristy
from chancel.demo.watching import status
from chancel.errors import ChancelError
from chancel.sim.models import LinkModel
from chancel.sim.places import NEIGHBOURS, PLACES, can_be_direct, can_connect, place

LABS: Final = 6
"""At work at once."""

WIRE: Final = LinkModel(latency_s=0.02)
"""Of each wire on the way: with none at all, an end could not open its router before a packet of
the other's is there."""

SOON_S: Final = 15.0
"""For so long a pair of ours is watched for a direct path."""
JUDGED_S: Final = 35.0
"""The reference's: its cathedral watches each NAT for 15 s, and tells with the next info, 5 s
later."""
NO_PATH_S: Final = 40.0
"""When a device of ours has to know that nothing passes."""

SUBSET: Final = (
    *("public", "full-cone", "restricted", "port-restricted", "clashing", "symmetric"),
    *("address-mapped", "carrier-grade", "carrier-symmetric", "short-lived", "no-udp"),
)
"""The places; which of two devices is in which, makes no difference to theory."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run: two places, by name, and who plays all roles."""

    left: str
    right: str
    program: Program

    @property
    def expects_path(self) -> bool:
        """Whether both reach the cathedral."""
        return can_connect(place(self.left), place(self.right))

    @property
    def can_be_direct(self) -> bool:
        """Whether theory has a way."""
        return can_be_direct(place(self.left), place(self.right))

    @property
    def is_luck(self) -> bool:
        """Whether it takes luck on a busy machine, whose pauses are longer than the wires."""
        return "clashing" in (self.left, self.right)

    @property
    def plan(self) -> Plan:
        """The parish of this run."""
        return Plan(places=(place(self.left), place(self.right)), model=WIRE)


class Became(NamedTuple):
    """What became of a run: seconds from the devices' start, ``None`` for never; and why not."""

    case: Case
    up_s: float | None
    direct_s: float | None
    problems: tuple[str, ...] = ()

    @property
    def broke_off(self) -> bool:
        """Whether it came to no end that says anything of the pair."""
        return self.up_s is None and bool(self.problems)


def cases(places: Sequence[str], programs: Sequence[Program]) -> list[Case]:
    """All unordered pairs of these places, and the neighbours among them. Only ours is asked what
    it says where there is no path: that comes last, as these start when they like."""
    alone = [name for name in places if name in PLACES]
    pairs = list(itertools.combinations_with_replacement(alone, 2))
    pairs += [(name, name) for name in places if name in NEIGHBOURS]
    every = [Case(left, right, each) for left, right in pairs for each in programs]
    asked = [each for each in every if each.expects_path or each.program is CHANCEL]
    return sorted(asked, key=lambda case: not case.expects_path)


def perform_all(todo: Sequence[Case], labs: int = LABS) -> Iterator[Became]:
    """Perform them in this order, several at once; they come as they finish."""
    with tempfile.TemporaryDirectory(prefix="chancel-nat-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        sacristy = Sacristy(folder / "sacristy")
        sacristy.bundle()
        with ThreadPoolExecutor(labs) as pool:
            futures = [pool.submit(_perform, case, folder, sacristy) for case in todo]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()


def perform(case: Case, folder: Path, sacristy: Sacristy) -> Became:
    """One run, in an empty folder. Raises ``PlayError`` with all logs if it can't be judged."""
    with Play(folder, case.plan, [case.program] * 3, sacristy) as playing:
        if not case.expects_path:
            return Became(case, None, None, tuple(_no_path(case, playing)))
        up_s = playing.come_up()
        ours = case.program is CHANCEL
        direct_s = playing.becomes_direct(SOON_S if ours else JUDGED_S)
        # The reference may lose packets for a while, where it believes what leads nowhere.
        if ours:
            playing.ping_both_ways()
    problems = []
    if ours and direct_s is None and case.can_be_direct and not case.is_luck:
        problems.append("it stayed relayed, though there is a way")
    if ours and direct_s is not None and not case.can_be_direct:
        problems.append("it is direct where theory knows no way")
    return Became(case, up_s, direct_s, tuple(problems))


def _perform(case: Case, folder: Path, sacristy: Sacristy) -> Became:
    home = Path(tempfile.mkdtemp(dir=folder))
    home.chmod(0o711)
    try:
        return perform(case, home, sacristy)
    except ChancelError as error:
        return Became(case, None, None, (str(error),))


def _no_path(case: Case, playing: Play) -> Iterator[str]:
    """Nothing passes; ours says so, at the end that can't get out."""
    devices = (playing.left, playing.right)
    for device in devices:
        playing.start(device)
    shut = [
        device
        for device, name in zip(devices, (case.left, case.right), strict=True)
        if not place(name).udp
    ]
    deadline = time.monotonic() + NO_PATH_S
    for device in shut:
        codes: list[str] = []
        while codes != ["no-path"] and time.monotonic() < deadline:
            tunnel = status(device)
            codes = [] if tunnel is None else [each.code for each in explain(tunnel).findings]
            time.sleep(0.5)
        if codes != ["no-path"]:
            yield f"{device.name} says {codes} instead of no-path"
