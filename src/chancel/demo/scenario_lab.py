"""Runs a scenario file with real daemons on kernels of their own: the same file that
``chancel sim run`` plays in virtual time, and the same words for what happened.

What happened at ends of ours is told by the daemons' traces. The reference tells nothing; of a
tunnel with one end of it pings show whether it is up, and our end where its packets go.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from chancel.daemon import ctl
from chancel.daemon import places as whose
from chancel.demo.play import PING
from chancel.demo.programs import CHANCEL, PlayError, Program, reference
from chancel.demo.scenario_seats import Resident, Seats
from chancel.errors import LinkClosed
from chancel.lab.lab import Lab
from chancel.lab.namespace import LabError
from chancel.protocol.events import (
    PathDirect,
    PathRelayed,
    PeerUnresponsive,
    ReceiveKeyUsed,
    SecretNotShared,
    SendKeyInstalled,
)
from chancel.protocol.session_types import SessionEvent
from chancel.sim.scenario_events import Line, Teller, Word
from chancel.sim.scenario_file import (
    Expectation,
    Happening,
    Heal,
    Kill,
    Move,
    Partition,
    Roll,
    ScenarioFile,
    Sleep,
    Standing,
    Start,
)
from chancel.wire.types import Address, Spi

LATE_S: Final = 10.0
"""An expectation may come true so much later: real machines are busy."""
LOOK_S: Final = 0.25
READY_S: Final = 45.0
MESSAGE_BYTES: Final = 1 << 20
PATIENCE_S: Final = 1.0


class ScenarioLab:
    """One run, from ``with`` to the block's end. ``lines`` is what happened so far."""

    def __init__(self, folder: Path, scenario: ScenarioFile, tell: Callable[[Line], None]) -> None:
        self.lines: list[Line] = []
        self.problems: list[str] = []
        self._scenario = scenario
        self._told = tell
        self._lab = Lab()
        try:
            self.seats = Seats(self._lab, folder, scenario, programs())
        except BaseException:
            self._lab.close()
            raise
        self._relays = {hall.address for hall in self.seats.halls.values()}
        self._ours = {
            name for name, each in self.seats.residents.items() if not each.program.orphans
        }
        self._tellers: dict[tuple[str, str], Teller] = {}
        self._lock = threading.Lock()
        self._started_at = 0.0
        self._generation: int | None = None
        for one, other in scenario.tunnels:
            if not {one, other} & self._ours:
                raise LabError(f"{one} - {other}: at least one end has to be ours, to be looked at")
            for end in ((one, other), (other, one)):
                if end[0] in self._ours:
                    self._tellers[end] = Teller()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                for machine in reversed(list(self.seats.everybody.values())):
                    machine.power_off(signal.SIGTERM)
        finally:
            self._lab.close()

    def run(self) -> None:
        """Play the whole file, in real time. Raises PlayError and LabError for what can't be."""
        for hall in self.seats.halls.values():
            hall.power_on()
        for hall in self.seats.halls.values():
            self._wait(hall.listens, f"{hall.name} listens")
        self._started_at = time.monotonic()
        for name, spec in self._scenario.devices.items():
            if spec.on:
                self._power_on(name)
        for at_s, item in self._agenda():
            self._sleep_until(at_s)
            if isinstance(item, Expectation):
                self._look(item)
            else:
                next(item, None)
        self._sleep_until(self._scenario.lasts_s)

    def _agenda(self) -> list[tuple[float, Expectation | Iterator[None]]]:
        """What there is to do, in the order of time. What ends later is in it twice."""
        found: list[tuple[float, Expectation | Iterator[None]]] = []
        for happening in self._scenario.happenings:
            steps = self._happen(happening)
            found.append((happening.at_s, steps))
            if isinstance(happening, Sleep):
                found.append((happening.at_s + happening.for_s, steps))
        found += [(each.by_s, each) for each in self._scenario.expectations]
        return sorted(found, key=lambda each: each[0])

    def _happen(self, happening: Happening) -> Iterator[None]:
        """The steps of what happens."""
        seats = self.seats
        match happening:
            case Kill(name=name):
                seats.everybody[name].power_off()
                self._ended(name)
            case Start(name=name) if not seats.everybody[name].daemons:
                if name in seats.halls:
                    seats.halls[name].power_on()
                else:
                    self._power_on(name)
            case Partition(groups=groups):
                seats.split(groups)
            case Heal():
                seats.split(())
            case Move(name=name, place=place):
                seats.move(name, place)
            case Sleep(name=name):
                yield from seats.residents[name].suspend()
            case Roll():
                self._generation = seats.roll()
        yield

    def _power_on(self, name: str) -> None:
        resident = self.seats.residents[name]
        resident.power_on()
        if name in self._ours:
            relay = self.seats.halls[self._scenario.devices[name].cathedrals[0]].address
            for end in self._ends_of(name):
                self._tell(end, PathRelayed(Address(relay, 0)), time.monotonic())
            threading.Thread(target=self._follow, args=(resident,), daemon=True).start()

    def _ended(self, name: str) -> None:
        for end in self._ends_of(name):
            with self._lock:
                word = self._tellers[end].end()
            if word is not None:
                self._note(end, word, time.monotonic())

    def _ends_of(self, name: str) -> list[tuple[str, str]]:
        return [end for end in self._tellers if end[0] == name]

    def _follow(self, resident: Resident) -> None:
        """Read the trace of a group from its start to its end."""
        (daemon,) = resident.daemons
        reading = self._trace_of(resident)
        peers = {instance: peer for peer, (instance, _) in resident.tunnels.items()}
        with reading:
            while message := reading.recv(MESSAGE_BYTES):
                if resident.daemons != [daemon]:
                    return  # it was switched off, which is told already
                for text in message.splitlines():
                    line = json.loads(text)
                    event = self._event(line)
                    if event is not None:
                        end = resident.name, peers[line["tunnel"]]
                        self._tell(end, event, line["at"])

    def _trace_of(self, resident: Resident) -> socket.socket:
        """The trace of a group that has only just been started."""
        instance = next(iter(resident.tunnels.values()))[0]
        path = resident.runtime / f"{instance}{whose.CONTROL_SUFFIX}"
        until = time.monotonic() + READY_S
        while True:
            try:
                return ctl.trace(path)
            except (LinkClosed, OSError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def _event(self, line: Mapping[str, Any]) -> SessionEvent | None:
        """A line of a trace as the event of the protocol that it stands for, if any."""
        match line:
            case {"event": "target", "to": str(to)}:
                host, _, port = to.rpartition(":")
                address = Address(host, int(port))
                return PathRelayed(address) if host in self._relays else PathDirect(address)
            case {"event": "send-key-installed", "spi": str(spi)}:
                return SendKeyInstalled(Spi(int(spi, 16)))
            case {"event": "receive-key-used", "spi": str(spi)}:
                return ReceiveKeyUsed(Spi(int(spi, 16)))
            case {"event": "peer-unresponsive", "silent_s": silent_s}:
                return PeerUnresponsive(silent_s)
            case {"event": "secret-not-shared", "waited_s": waited_s}:
                return SecretNotShared(waited_s)
        return None

    def _tell(self, end: tuple[str, str], event: SessionEvent, at: float) -> None:
        with self._lock:
            word = self._tellers[end].take(event)
        if word is not None:
            self._note(end, word, at)

    def _note(self, end: tuple[str, str], word: Word, at: float) -> None:
        line = Line(at - self._started_at, *end, word)
        with self._lock:
            self.lines.append(line)
        self._told(line)

    def _look(self, expected: Expectation) -> None:
        """Judge a tunnel, now or a little later."""
        until = time.monotonic() + LATE_S
        while not self._holds(expected):
            if time.monotonic() > until:
                at = "" if expected.line is None else f"line {expected.line}: "
                one, other = expected.ends
                self.problems.append(
                    f"{at}after {expected.by_s:g} s {one} - {other} is not {expected.standing}"
                )
                return
            time.sleep(LOOK_S)

    def _holds(self, expected: Expectation) -> bool:
        ends = expected.ends
        tellers = [self._tellers[end] for end in (ends, ends[::-1]) if end in self._tellers]
        up = all(teller.up for teller in tellers)
        if up and len(tellers) == 1:
            up = self._answers(*ends)
        direct = all(teller.direct for teller in tellers)
        match expected.standing:
            case Standing.UP:
                return up
            case Standing.DOWN:
                return not up
            case Standing.DIRECT:
                return up and direct
            case Standing.RELAYED:
                return up and not direct
            case Standing.ROLLED:
                return self._has_rolled(ends)

    def _answers(self, one: str, other: str) -> bool:
        """Whether a ping comes back."""
        residents = self.seats.residents
        _, inner = residents[other].tunnels[one]
        answer = residents[one].host.call(PING, inner, 3, 0.05, 56, True, PATIENCE_S)
        return bool(answer["received"])

    def _has_rolled(self, ends: tuple[str, str]) -> bool:
        """Whether both ends have the same secret, and ours say that it is the newest one."""
        secrets = set()
        for name, peer in (ends, ends[::-1]):
            resident = self.seats.residents[name]
            instance, _ = resident.tunnels[peer]
            shared = resident.home / f"{instance[1:]}.secret"
            secrets.add(shared.read_bytes() if shared.exists() else None)
            if name in self._ours and self._generation is not None:
                path = resident.runtime / f"{instance}{whose.CONTROL_SUFFIX}"
                tunnels = ctl.ask(path, {"do": "status"})["tunnels"]
                (own,) = (each for each in tunnels if each["instance"] == instance)
                if int(own["cathedral"]["generation"] or "0", 16) != self._generation:
                    return False
        return None not in secrets and len(secrets) == 1

    def _sleep_until(self, at_s: float) -> None:
        """Wait for a time of the scenario; whoever should run has to be running meanwhile."""
        while (left := self._started_at + at_s - time.monotonic()) > 0:
            for name, machine in self.seats.everybody.items():
                if any(daemon.poll() is not None for daemon in machine.daemons):
                    raise PlayError(f"{name} has ended: see {machine.log.read_text()[-3000:]}")
            time.sleep(min(left, LOOK_S))

    def _wait(self, reached: Any, what: str) -> None:
        until = time.monotonic() + READY_S
        while not reached():
            if time.monotonic() > until:
                raise PlayError(f"not within {READY_S:g} s: {what}")
            time.sleep(LOOK_S)


def programs() -> dict[str, Program]:
    """What can run here, by the words of a file."""
    path = os.environ.get("SANCTUM")
    found = {"chancel": CHANCEL}
    if path and whose.is_machine_root():
        found["reference"] = reference(path)
    return found


def run(
    scenario: ScenarioFile, tell: Callable[[Line], None] = lambda _: None
) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """Run a scenario to its end: what happened, and what should have been otherwise. Each line is
    told when it happens, by any thread."""
    with tempfile.TemporaryDirectory(prefix="chancel-scenario-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with ScenarioLab(folder, scenario, tell) as lab:
            lab.run()
        return tuple(sorted(lab.lines)), tuple(lab.problems)
