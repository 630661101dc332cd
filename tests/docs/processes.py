"""The tables of ``docs/processes.md``, made from those in the code.

``python -m tests.docs.processes`` writes them into the page; a test compares.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from chancel.daemon import topology
from chancel.daemon.config_types import Mode
from chancel.daemon.sandbox_calls import (
    DUTIES,
    EVERYBODY,
    GUARDIAN_KILLED,
    LOOKING_UP,
    REFUSED,
    REPLACING_FILES,
    Call,
)
from chancel.daemon.topology import CARRYING, GUARDIAN, End, Topology

PAGE = Path(__file__).parents[2] / "docs/processes.md"

FROM_TUNNEL = {
    "heaven-rx": "device",
    "heaven-tx": "device",
    "purgatory-rx": "UDP socket",
    "purgatory-tx": "UDP socket",
    "control": "`NAME.ctl`, the `control` socket",
    "chapel": "`NAME.peers`",
    "liturgy": "a UDP socket of its own, once",
}
"""What the guardian passes for each tunnel."""

_BLOCK = re.compile(r"(<!-- begin (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = list[str]


def processes(mode: Topology) -> list[Row]:
    """Process, descriptors, memory, keys."""
    rows = [["process", "descriptors", "for each tunnel", "memory it writes", "memory it reads"]]
    for name in sorted(mode.duties):
        rows.append(
            [
                name,
                _descriptors(mode, name),
                FROM_TUNNEL.get(name, "none"),
                _words(written(mode, name)),
                _words(read(mode, name)),
            ]
        )
    return rows


def written(mode: Topology, name: str) -> list[str]:
    """The memory objects that a process has mapped writable."""
    lanes = [f"lane-{lane}" for lane, spec in mode.lanes.items() if spec.writer == name]
    return lanes + [f"board-{board}" for board, spec in mode.boards.items() if spec.owner == name]


def read(mode: Topology, name: str) -> list[str]:
    """Those that it has mapped read-only."""
    lanes = [f"lane-{lane}" for lane, spec in mode.lanes.items() if spec.reader == name]
    return lanes + [f"board-{board}" for board, spec in mode.boards.items() if name in spec.readers]


def keys(mode: Topology) -> list[Row]:
    """Who has which keys."""
    rows = [["process", "keys"]]
    for name in sorted({*mode.duties, GUARDIAN}):
        if name == mode.keeper:
            given = ", ".join(f"{link} → {ends.reader}" for link, ends in mode.key_links.items())
            rows.append([name, f"shared secrets; makes all others, and keeps none: {given}"])
        else:
            taken = [link for link, ends in mode.key_links.items() if ends.reader == name]
            rows.append([name, _words(taken)])
    return rows


def boards(mode: Topology) -> list[Row]:
    """What each may say about a tunnel, and who listens."""
    rows = [["board", "its owner writes", "read by", "rings"]]
    for board, spec in mode.boards.items():
        fields = [field.name for field in dataclasses.fields(spec.record)]
        rings = mode.rings.get(spec.owner, ())
        rows.append([board, _words(fields), ", ".join(spec.readers), ", ".join(rings) or "none"])
    return rows


def calls(listed: Iterable[Call]) -> list[Row]:
    """System calls, on what, and on which condition."""
    rows = [["call", "on", "if"]]
    for call in listed:
        on = ", ".join(end.value for end in call.on)
        rows.append([f"`{call.name}`", on, ", ".join(test.words for test in call.tests)])
    return rows


def duties() -> list[Row]:
    """What each process may ask beyond that."""
    rows = [["process", "calls"]]
    for name in sorted(DUTIES):
        words = [
            f"`{call.name}`"
            + (f" on {' and '.join(end.value for end in call.on)}" if call.on else "")
            + (f" ({', '.join(test.words for test in call.tests)})" if call.tests else "")
            for call in DUTIES[name]
        ]
        rows.append([name, "; ".join(words) or "none"])
    return rows


def _of_mode(table: Callable[[Topology], list[Row]], mode: Mode, liturgy: bool = False) -> str:
    return _table(table(topology.of(mode, liturgy=liturgy)))


TABLES: dict[str, Callable[[], str]] = {
    **{
        f"{table.__name__}-{mode}": partial(_of_mode, table, mode)
        for table in (processes, keys, boards)
        for mode in Mode
    },
    **{
        f"{table.__name__}-liturgy": partial(_of_mode, table, Mode.TUNNEL, True)
        for table in (processes, keys, boards)
    },
    "everybody": lambda: _table(calls(EVERYBODY)),
    "replacing": lambda: _table(calls(REPLACING_FILES)),
    "duties": lambda: _table(duties()),
    "lookup": lambda: _conditions(LOOKING_UP) + "\n",
    "refused": lambda: _words(REFUSED) + "\n",
    "guardian": lambda: _words(GUARDIAN_KILLED) + "\n",
}


def render(page: str) -> str:
    """The page with all its tables made anew."""
    return _BLOCK.sub(lambda block: block[1] + TABLES[block[2]]() + block[3], page)


def blocks(page: str) -> list[str]:
    """The names of the tables that a page has."""
    return [block[2] for block in _BLOCK.finditer(page)]


def _descriptors(mode: Topology, name: str) -> str:
    links = [link for link, ends in mode.key_links.items() if name in ends]
    lanes = [lane for lane, spec in mode.lanes.items() if name in (spec.writer, spec.reader)]
    rings = mode.rings.get(name, ())
    words = ["guardian link"]
    words += [f"lanes {', '.join(lanes)}"] if lanes else []
    words += [f"key links {', '.join(links)}"] if links else []
    words += ["bell", *(f"bell of {listener}" for listener in rings)]
    words += [End.TIMES.value] if name in CARRYING else []
    return "; ".join(words)


def _words(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _conditions(listed: Iterable[Call]) -> str:
    return ", ".join(
        f"`{call.name}`"
        + (f" ({', '.join(test.words for test in call.tests)})" if call.tests else "")
        for call in listed
    )


def _table(rows: list[Row]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
