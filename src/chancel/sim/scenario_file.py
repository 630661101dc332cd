"""A scenario: who is there, what happens, and what must come of it, from one TOML file.

The simulator runs it on the protocol's own objects in virtual time (``chancel sim run``), the lab
on real programs and kernels. ``docs/scenarios.md`` describes the format for those who write one.
This module reads and checks; it runs nothing.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from chancel.errors import ConfigError
from chancel.sim.models import LinkModel
from chancel.sim.places import PLACES
from chancel.sim.scenario_table import Source, Table

MAX_DEVICES: Final = 254
"""All devices of a scenario are in one flock, and are numbered from 1 in the file's order."""

MAX_CATHEDRALS: Final = 32
"""What a remembrance has room for."""

MAX_LASTS_S: Final = 31 * 86_400.0


class Program(enum.StrEnum):
    """What a device or a cathedral runs."""

    CHANCEL = "chancel"
    REFERENCE = "reference"


class Standing(enum.StrEnum):
    """How a tunnel has to be. It is ``up`` while each end has keys and has lately heard the other
    (so it is ``direct`` or ``relayed``, too), and ``rolled`` once both have the newest secret."""

    UP = "up"
    DIRECT = "direct"
    RELAYED = "relayed"
    DOWN = "down"
    ROLLED = "rolled"


@dataclasses.dataclass(frozen=True, slots=True)
class CathedralSpec:
    """A cathedral. All of a scenario are federated with each other."""

    name: str
    link: LinkModel
    program: Program = Program.CHANCEL


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceSpec:
    """A device: its place (of ``PLACES``), its cathedrals in the order of its configuration, and
    the link to and from whatever is next to it. ``on``: whether it has power from the start."""

    name: str
    number: int
    place: str
    cathedrals: tuple[str, ...]
    link: LinkModel
    program: Program = Program.CHANCEL
    on: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Kill:
    """A device or a cathedral loses its power, and all that it has not written down."""

    at_s: float
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """A device or a cathedral gets power."""

    at_s: float
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Partition:
    """Nothing passes from one group to another. Who is in none reaches all. One at a time."""

    at_s: float
    groups: tuple[frozenset[str], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Heal:
    """Everything passes again."""

    at_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """A running device is in another network, and notices."""

    at_s: float
    name: str
    place: str


@dataclasses.dataclass(frozen=True, slots=True)
class Sleep:
    """A device is suspended."""

    at_s: float
    name: str
    for_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Roll:
    """All cathedrals serve a new bundle of secrets."""

    at_s: float


Happening = Kill | Start | Partition | Heal | Move | Sleep | Roll


@dataclasses.dataclass(frozen=True, slots=True)
class Expectation:
    """At this time, the tunnel between these two is so."""

    by_s: float
    ends: tuple[str, str]
    standing: Standing
    line: int | None = None
    """Where the file says so, for who reports that it isn't."""


@dataclasses.dataclass(frozen=True, slots=True)
class ScenarioFile:
    """A whole file, checked. ``happenings`` and ``expectations`` are in the order of time.

    With ``ambry`` the devices have no secret of their own: the cathedrals serve them a bundle.
    """

    title: str
    seed: int
    lasts_s: float
    shroud: bool
    ambry: bool
    cathedrals: Mapping[str, CathedralSpec]
    devices: Mapping[str, DeviceSpec]
    tunnels: tuple[tuple[str, str], ...]
    happenings: tuple[Happening, ...]
    expectations: tuple[Expectation, ...]


def load(path: Path) -> ScenarioFile:
    """Read a file. Raises ``ConfigError`` that names line and key, and ``OSError``."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(str(path), line, None, "is no text in UTF-8") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> ScenarioFile:
    """The same from a text; ``name`` stands in errors."""
    source = Source(text, name)
    top = source.table()
    reader = _Reader(top)
    scenario = ScenarioFile(
        title=top.take("title", str, ""),
        seed=int(top.number("seed", 1.0)),
        lasts_s=reader.lasts_s,
        shroud=top.take("shroud", bool, False),
        ambry=reader.ambry,
        cathedrals=reader.cathedrals,
        devices=reader.devices,
        tunnels=reader.tunnels(),
        happenings=reader.happenings(),
        expectations=reader.expectations(source),
    )
    top.finish()
    return scenario


class _Reader:
    """Reads the parts of a file, each of which refers to those before it."""

    def __init__(self, top: Table) -> None:
        self._top = top
        self.lasts_s = top.number("lasts_s", most=MAX_LASTS_S)
        self.ambry = top.take("ambry", bool, False)
        self._link = _link(top, LinkModel(latency_s=0.02, jitter_s=0.01))
        self.cathedrals = {
            name: self._cathedral(name, table) for name, table in top.tables("cathedrals")
        }
        if not 1 <= len(self.cathedrals) <= MAX_CATHEDRALS:
            top.refuse("cathedrals", f"there are 1 to {MAX_CATHEDRALS} of them")
        self.devices: dict[str, DeviceSpec] = {}
        for name, table in top.tables("devices"):
            self.devices[name] = self._device(name, table)
        if not 2 <= len(self.devices) <= MAX_DEVICES:
            top.refuse("devices", f"there are 2 to {MAX_DEVICES} of them")
        self._paired: set[frozenset[str]] = set()

    def tunnels(self) -> tuple[tuple[str, str], ...]:
        """Those of the file, or of each device with each."""
        names = tuple(self.devices)
        every = [[one, other] for at, one in enumerate(names) for other in names[at + 1 :]]
        found = []
        for ends in self._top.take("tunnels", list, every):
            one, other = self._two(self._top, "tunnels", ends)
            if frozenset((one, other)) in self._paired:
                self._top.refuse("tunnels", f"{one} and {other} have one already")
            self._paired.add(frozenset((one, other)))
            found.append((one, other))
        return tuple(found)

    def happenings(self) -> tuple[Happening, ...]:
        """What happens, in the order of time."""
        found = [self._happening(table) for table in self._top.array("events")]
        return tuple(sorted(found, key=lambda each: each.at_s))

    def expectations(self, source: Source) -> tuple[Expectation, ...]:
        """What has to be, in the order of time."""
        found = []
        for number, table in enumerate(self._top.array("expectations")):
            ends = self._two(table, "tunnel", table.take("tunnel", list))
            if frozenset(ends) not in self._paired:
                table.refuse("tunnel", f"{ends[0]} and {ends[1]} have none: add it to tunnels")
            word = table.known("is", table.take("is", str), tuple(Standing))
            by_s = table.number("by_s", most=self.lasts_s)
            if word == Standing.ROLLED and not self.ambry:
                table.refuse("is", "nothing rolls without ambry = true")
            line = source.line(("expectations", number))
            found.append(Expectation(by_s, ends, Standing(word), line))
            table.finish()
        return tuple(sorted(found, key=lambda each: each.by_s))

    def _cathedral(self, name: str, table: Table) -> CathedralSpec:
        found = CathedralSpec(name, _link(table, self._link), _program(table))
        table.finish()
        return found

    def _device(self, name: str, table: Table) -> DeviceSpec:
        if name in self.cathedrals:
            table.refuse(None, "is the name of a cathedral, too")
        known = [
            table.known("cathedrals", each, self.cathedrals)
            for each in table.take("cathedrals", list, [next(iter(self.cathedrals))])
        ]
        if not known:
            table.refuse("cathedrals", "at least one is needed")
        found = DeviceSpec(
            name,
            len(self.devices) + 1,
            table.choice("place", PLACES, "public"),
            tuple(dict.fromkeys(known)),
            _link(table, self._link),
            _program(table),
            table.take("on", bool, True),
        )
        table.finish()
        return found

    def _happening(self, table: Table) -> Happening:
        at_s = table.number("at_s", most=self.lasts_s)
        verbs = [key for key in table if key in _VERBS]
        if len(verbs) != 1:
            table.refuse(None, f"has to have exactly one of {', '.join(_VERBS)}")
        (verb,) = verbs
        found = self._of_verb(verb, table, at_s)
        table.finish()
        return found

    def _of_verb(self, verb: str, table: Table, at_s: float) -> Happening:
        everybody = {**self.devices, **self.cathedrals}
        match verb:
            case "kill":
                return Kill(at_s, table.known(verb, table.take(verb, str), everybody))
            case "start":
                return Start(at_s, table.known(verb, table.take(verb, str), everybody))
            case "partition":
                return Partition(at_s, self._groups(table))
            case "move":
                name = table.known(verb, table.take(verb, str), self.devices)
                return Move(at_s, name, table.known("place", table.take("place", str), PLACES))
            case "sleep":
                name = table.known(verb, table.take(verb, str), self.devices)
                return Sleep(at_s, name, table.number("for_s", most=self.lasts_s))
        if not table.take(verb, bool):
            table.refuse(verb, "is true, or left out")
        if verb == "roll" and not self.ambry:
            table.refuse(verb, "there is nothing to roll without ambry = true")
        return Roll(at_s) if verb == "roll" else Heal(at_s)

    def _groups(self, table: Table) -> tuple[frozenset[str], ...]:
        everybody = {**self.devices, **self.cathedrals}
        found: list[frozenset[str]] = []
        for group in table.take("partition", list):
            if not isinstance(group, list):
                table.refuse("partition", "expected a list of groups, each a list of names")
            names = frozenset(table.known("partition", name, everybody) for name in group)
            if twice := names.intersection(*[frozenset().union(*found)]):
                table.refuse("partition", f"{', '.join(sorted(twice))}: in two groups")
            found.append(names)
        if len(found) < 2:
            table.refuse("partition", "expected two groups or more")
        return tuple(found)

    def _two(self, table: Table, key: str, ends: object) -> tuple[str, str]:
        if not isinstance(ends, list) or len(ends) != 2 or ends[0] == ends[1]:
            table.refuse(key, f"expected two different devices, not {ends!r}")
        one, other = (table.known(key, end, self.devices) for end in ends)
        return one, other


_VERBS: Final = ("kill", "start", "partition", "heal", "move", "sleep", "roll")


def _program(table: Table) -> Program:
    return Program(table.choice("program", tuple(Program), Program.CHANCEL))


def _link(table: Table, default: LinkModel) -> LinkModel:
    inner = table.table("link")
    numbers = {
        name: inner.number(name, getattr(default, name), most=most) for name, most in _LINK.items()
    }
    inner.finish()
    return dataclasses.replace(default, **numbers)  # type: ignore[arg-type]  # all are floats


_LINK: Final = {
    "latency_s": 60.0,
    "jitter_s": 60.0,
    "loss": 1.0,
    "duplicate": 1.0,
    "reorder": 1.0,
    "corrupt": 1.0,
}
"""The keys of a link, and the most that each may be."""
