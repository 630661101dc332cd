"""``docs/benchmarks.md`` and its plots, from one run: ``page.md`` with tables where ``$NAME``
stands.

What a person wrote is in ``page.md`` and has no figures in it, so a new run can't contradict it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Template

from benchmarks.layout import (
    EVEN,
    Against,
    Grid,
    compare,
    lay_out,
    number,
    spread,
    unit_of,
    verdict,
)
from benchmarks.plot import Panel, draw
from benchmarks.result import LeftOut, Measured, Result
from benchmarks.saved import Run
from benchmarks.vpns import ACCELERATED, PER_PACKET, PURE, REFERENCE, WIREGUARD
from benchmarks.workloads import CAUSES, MEASURES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks.md"
TEMPLATE = Path(__file__).with_name("page.md")

OURS = (ACCELERATED.name, PURE.name, PER_PACKET.name)

PLOTS = {
    "throughput": (
        "Throughput: longer is better",
        ("tcp1", "tcp8", "udp1300", "udp64", "mixed"),
    ),
    "latency": (
        "Round trips: shorter is better",
        ("rtt_idle", "rtt_loaded", "rtt_loaded_p99", "mixed_voice_age"),
    ),
    "cost": (
        "What it costs: shorter is better",
        ("work", "wakeups", "calls", "memory"),
    ),
}
"""Name → title, and the measures of its panels."""


def write(run: Run, page: Path = PAGE) -> list[Path]:
    """Write the page and its plots beside it; returns the files."""
    files = {page: text(run)}
    for name, drawn in plots(run.results).items():
        files[page.with_name(f"{page.stem}-{name}.svg")] = drawn
    for path, content in files.items():
        path.write_text(content)
    return list(files)


def text(run: Run) -> str:
    """The page."""
    places = {
        "machine": "\n".join(f"* {name}: {value}" for name, value in run.machine.items()),
        "command": run.command,
        "targets": _targets(run.results),
        "against": "\n\n".join(_against(lay_out(run.results.get("tunnel", ())).comparison)),
        "left_out": "\n".join(_gaps(run.results)),
        **{name: _section(items) for name, items in run.results.items()},
    }
    return Template(TEMPLATE.read_text()).substitute(places)


def plots(results: Mapping[str, Sequence[Result]]) -> dict[str, str]:
    """Name → SVG."""
    rows = lay_out(results.get("tunnel", ())).comparison.rows
    drawn = {}
    for name, (title, keys) in PLOTS.items():
        headings = (MEASURES[key] for key in keys)
        panels: list[Panel] = [
            (each.name, rows[each.name]) for each in headings if each.name in rows
        ]
        if panels:
            drawn[name] = draw(title, panels, OURS)
    return drawn


def _targets(results: Mapping[str, Sequence[Result]]) -> str:
    """Everything that is held against something, in all sections."""
    programs: list[Measured] = []
    others: list[Measured] = []
    for items in results.values():
        for item in items:
            if not isinstance(item, LeftOut) and (item.target or item.race):
                (programs if item.program in OURS else others).append(item)
    columns = [name for name in OURS if any(item.program == name for item in programs)]
    lines = _head("figure", *columns)
    for name in dict.fromkeys(item.name for item in programs):
        row = {item.program: item for item in programs if item.name == name}
        lines.append(_row(f"{name} ({unit_of(row)})", *(_reached(row.get(c)) for c in columns)))
    return "\n".join([*lines, "", *_lines(others)])


def _reached(item: Measured | None) -> str:
    if item is None:
        return ""
    missed = item.met is False
    value = f"**{number(item.median)}**" if missed else number(item.median)
    return f"{value} ({spread(item)})<br>{_said(item)}"


def _said(item: Measured) -> str:
    """The verdict, so that one who looks for what was missed finds it."""
    return verdict(item).replace("✗ missed", "✗ **missed**")


def _section(items: Sequence[Result]) -> str:
    layout = lay_out(items)
    parts = []
    if layout.comparison.rows:
        parts.append("\n".join(_comparison(layout.comparison)))
    held = [item for row in layout.promises.rows.values() for item in row.values()]
    shown = [item for item in held if item.program not in OURS]
    if shown or layout.single:
        parts.append("\n".join(_lines([*shown, *layout.single])))
    if not parts and held:
        return "All of it is in the table of targets."
    return "\n\n".join(parts) or "Not in this run."


def _comparison(grid: Grid) -> Iterator[str]:
    yield from _head("figure", "unit", *grid.columns)
    for name, row in grid.rows.items():
        cells = (
            "" if item is None else f"{number(item.median)}<br><sub>{spread(item)}</sub>"
            for item in (row.get(column) for column in grid.columns)
        )
        yield _row(name, unit_of(row), *cells)


def _lines(items: Iterable[Measured]) -> Iterator[str]:
    yield from _head("figure", "median", "range", "unit", "target")
    for item in items:
        name = f"{item.name}: {item.program}" if item.program else item.name
        yield _row(name, number(item.median), spread(item), item.unit, _said(item))


def _head(*columns: str) -> list[str]:
    return [_row(*columns), "|---" * len(columns) + "|"]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _against(grid: Grid) -> Iterator[str]:
    causes = [MEASURES[key].name for key in CAUSES]
    for ours in OURS[:2]:
        for peer in (WIREGUARD, REFERENCE):
            found = compare(grid, ours, peer, causes)
            if found:
                yield "\n".join(_sides(ours, peer, found))


def _sides(ours: str, peer: str, found: Sequence[Against]) -> Iterator[str]:
    yield f"**{ours}, against {peer}**\n"
    better = [each for each in found if each.factor > EVEN]
    worse = [each for each in reversed(found) if each.factor < 1 / EVEN]
    even = [each for each in found if 1 / EVEN <= each.factor <= EVEN]
    for words, chosen in (("better", better), ("worse", worse), ("even", even)):
        named = "; ".join(_named(each) for each in chosen) or "nothing"
        yield f"* {words}: {named}"


def _named(each: Against) -> str:
    values = f"{number(each.ours.median)} to {number(each.theirs.median)} {each.ours.unit}"
    return f"{each.name} ({values})"


def _gaps(results: Mapping[str, Sequence[Result]]) -> Iterator[str]:
    gaps = [
        (section, item)
        for section, items in results.items()
        for item in items
        if isinstance(item, LeftOut)
    ]
    for section, item in gaps:
        failed = " **failed:**" if item.fault else ""
        yield f"* {section}: {item.name}:{failed} {item.reason}"
    if not gaps:
        yield "Nothing."
