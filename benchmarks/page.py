"""``docs/benchmarks.md`` and its plots, from one run: ``page.md`` with tables where ``$NAME``
stands.

What a person wrote is in ``page.md`` and has no figures in it, so a new run can't contradict it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Template

from benchmarks import SECTIONS
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
from benchmarks.relaying import OUR_CATHEDRALS, RELAY_MEASURES
from benchmarks.result import LeftOut, Measured, Result
from benchmarks.saved import Run
from benchmarks.vpns import ACCELERATED, PER_PACKET, PURE, REFERENCE, WIREGUARD
from benchmarks.workloads import CAUSES, MEASURES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks.md"
TEMPLATE = Path(__file__).with_name("page.md")
RACES = Path(__file__).with_name("races.md")
"""Below a heading with a figure's name: why its race may not be won."""

OURS = (ACCELERATED.name, PURE.name, PER_PACKET.name)

PLOTS = {
    "throughput": (
        "Throughput: longer is better",
        "tunnel",
        ("tcp1", "tcp1_back", "tcp8", "udp1300", "udp64", "mixed"),
    ),
    "latency": (
        "Round trips: shorter is better",
        "tunnel",
        ("rtt_idle", "rtt_loaded", "rtt_loaded_p99", "mixed_voice_age"),
    ),
    "cost": (
        "What it costs: shorter is better",
        "tunnel",
        ("work", "wakeups", "calls", "memory"),
    ),
    "relaying": (
        "Relayed: rates, longer is better; round trips and work, shorter is better",
        "relaying",
        ("tcp1", "tcp1_back", "udp1300", "mixed", "rtt_idle", "relay_work"),
    ),
}
"""Name → title, section, and the measures of its panels."""

NAMES = {
    "tunnel": {key: each.name for key, each in MEASURES.items()},
    "relaying": {key: each.name for key, each in RELAY_MEASURES.items()},
}


def write(run: Run, page: Path = PAGE) -> list[Path]:
    """Write the page and its plots beside it; returns the files."""
    drawn = {_file(name): content for name, content in plots(run.results).items()}
    files = {page: text(run), **{page.with_name(name): each for name, each in drawn.items()}}
    for path, content in files.items():
        path.write_text(content)
    return list(files)


def text(run: Run) -> str:
    """The page."""
    drawn = plots(run.results)
    places = {
        "machine": "\n".join(f"* {name}: {value}" for name, value in run.machine.items()),
        "command": run.command,
        "targets": _targets(run.results),
        "races": "\n\n".join(_races(run.results)) or "Every race of this run is won.",
        "against": "\n\n".join(_against(lay_out(run.results.get("tunnel", ())).comparison)),
        "left_out": "\n".join(_gaps(run.results)),
        **{f"plot_{name}": _plot(name, drawn) for name in PLOTS},
        **{name: _section(run.results.get(name, ())) for name in SECTIONS},
    }
    return Template(TEMPLATE.read_text()).substitute(places)


def _file(name: str) -> str:
    """Beside the page."""
    return f"{PAGE.stem}-{name}.svg"


def _plot(name: str, drawn: Iterable[str]) -> str:
    """Where a plot stands in the page."""
    title = PLOTS[name][0]
    return f"![{title}]({_file(name)})" if name in drawn else f"({title}: no figures in this run.)"


def plots(results: Mapping[str, Sequence[Result]]) -> dict[str, str]:
    """Name → SVG."""
    drawn = {}
    for name, (title, section, keys) in PLOTS.items():
        rows = lay_out(results.get(section, ())).comparison.rows
        headings = (NAMES[section][key] for key in keys)
        panels: list[Panel] = [(each, rows[each]) for each in headings if each in rows]
        if panels:
            drawn[name] = draw(title, panels, (*OURS, *OUR_CATHEDRALS))
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


def reasons() -> dict[str, str]:
    """Why a race may not be won, by the figure's name and, where our programs differ in that, the
    program's."""
    parts = RACES.read_text().split("\n## ")[1:]
    return {head: text.strip() for head, _, text in (part.partition("\n") for part in parts)}


def reason(item: Measured, known: Mapping[str, str]) -> str | None:
    """Why this race may not be won, if anybody has found that out."""
    return known.get(f"{item.name}: {item.program}", known.get(item.name))


def _races(results: Mapping[str, Sequence[Result]]) -> Iterator[str]:
    """A paragraph for each race that this run did not win."""
    known = reasons()
    for items in results.values():
        for item in items:
            if not isinstance(item, LeftOut) and item.won is False:
                why = reason(item, known) or "Nobody has found out why."
                reached = f"{number(item.median)}, wanted {item.race}"
                yield f"**{item.name}: {item.program}** ({reached}). {why}"


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
