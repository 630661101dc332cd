"""Run sections and print the table, or JSON. Exit status 1 if a figure misses its target."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks import SECTIONS
from benchmarks.result import Figure, LeftOut, Result


def measure(names: Sequence[str]) -> dict[str, list[Result]]:
    """Run the named sections, all results kept in order."""
    results: dict[str, list[Result]] = {}
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        results[name] = list(importlib.import_module(SECTIONS[name]).run())
    return results


def machine() -> str:
    """Where this was measured, in one line."""
    return (
        f"Python {platform.python_version()}, {platform.system()} {platform.release()},"
        f" {platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    )


def as_json(results: dict[str, list[Result]]) -> str:
    """The same as the table, with every sample."""
    sections = {
        name: [
            {"name": item.name, "left_out": item.reason}
            if isinstance(item, LeftOut)
            else {
                "name": item.name,
                "unit": item.unit,
                "median": item.median,
                "samples": list(item.samples),
                "target": None if item.target is None else str(item.target),
                "met": item.met,
            }
            for item in items
        ]
        for name, items in results.items()
    }
    return json.dumps({"machine": machine(), "sections": sections}, indent=2)


def as_table(results: dict[str, list[Result]]) -> Table:
    """What a person reads."""
    table = Table(title=machine(), title_justify="left", title_style="bold")
    table.add_column("figure")
    table.add_column("median", justify="right")
    table.add_column("range", justify="right")
    table.add_column("unit")
    table.add_column("target")
    for items in results.values():
        for item in items:
            table.add_row(*_row(item))
        table.add_section()
    return table


def _row(item: Result) -> tuple[str, str, str, str, str]:
    if isinstance(item, LeftOut):
        return item.name, "left out", "", "", item.reason
    spread = f"{min(item.samples):.3g} … {max(item.samples):.3g}"
    verdict = "" if item.target is None else f"{item.target} {'✓' if item.met else '✗ missed'}"
    return item.name, f"{item.median:.3g}", spread, item.unit, verdict


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))} (there are {', '.join(SECTIONS)})")
    results = measure(options.sections or list(SECTIONS))
    if options.json:
        print(as_json(results))
    else:
        Console().print(as_table(results))
    figures = [item for items in results.values() for item in items if isinstance(item, Figure)]
    return 1 if any(figure.met is False for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
