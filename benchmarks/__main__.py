"""Run sections and print tables, or JSON. Exit status 1 if a needed target is missed, or something
of ours failed.

A run of all sections at the usual pace, or a longer one, also writes docs/benchmarks.md with its
plots, and is kept in out/benchmarks.json.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from rich.console import Console

from benchmarks import PACED, SECTIONS, machine, page, saved
from benchmarks.pace import FULL, USUAL, Pace
from benchmarks.result import LeftOut, Result, Step, sentence
from benchmarks.saved import Run
from benchmarks.table import as_tables
from benchmarks.watching import Watcher, watching

PAGE_WIDTH = 140
"""Of tables that don't go to a terminal."""

KEPT = page.ROOT / "out/benchmarks.json"


def measure(names: Sequence[str], pace: Pace, watcher: Watcher) -> dict[str, list[Result]]:
    """Run the named sections, all results kept in order."""
    results: dict[str, list[Result]] = {}
    for place, name in enumerate(names):
        watcher.section(name, place, len(names))
        results[name] = list(_section(name, pace, watcher))
    return results


def _section(name: str, pace: Pace, watcher: Watcher) -> Iterator[Result]:
    """What fails is told in its place, as the others took their time as well."""
    try:
        module = importlib.import_module(SECTIONS[name])
        for item in _run(module, name, pace):
            if isinstance(item, Step):
                watcher.step(item)
            else:
                yield item
    except Exception as error:  # noqa: BLE001 - whatever it was, it is shown and fails the run
        yield LeftOut(name, sentence(error), fault=True)


def _run(module: ModuleType, name: str, pace: Pace) -> Iterator[Result | Step]:
    found: Iterator[Result | Step] = module.run(pace) if name in PACED else module.run()
    return found


def passed(run: Run) -> bool:
    """Whether every needed target is met, and nothing of ours failed."""
    items = [item for results in run.results.values() for item in results]
    return not any(item.fault if isinstance(item, LeftOut) else item.met is False for item in items)


def main() -> int:
    """The command line."""
    options = _options()
    if options.page:
        return _page_of(options.page)
    default = FULL if options.full else USUAL
    pace = default._replace(
        rounds=options.rounds or default.rounds, seconds=options.seconds or default.seconds
    )
    names = options.sections or list(SECTIONS)
    where = machine.describe()
    with watching(Console(stderr=True)) as watcher:
        results = measure(names, pace, watcher)
    whole = set(names) == set(SECTIONS) and pace.rounds >= USUAL.rounds
    run = Run(where, machine.command(sys.argv[1:]), whole, results)
    if options.json:
        print(saved.dumps(run))
    else:
        title = "\n".join(f"{name}: {value}" for name, value in where.items())
        Console(width=None if sys.stdout.isatty() else PAGE_WIDTH).print(as_tables(results, title))
    if run.whole:
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(saved.dumps(run))
        _write_page(run)
    return 0 if passed(run) else 1


def _page_of(path: Path) -> int:
    try:
        run = saved.load(path)
    except saved.KeptRunError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 2
    return _write_page(run)


def _write_page(run: Run) -> int:
    if not run.whole:
        print("the page is written from a run of all sections", file=sys.stderr)
        return 1
    for path in page.write(run):
        print(f"wrote {path.relative_to(page.ROOT)}", file=sys.stderr)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--full", action="store_true", help="more rounds, and longer ones")
    parser.add_argument("--rounds", type=int, help="how often programs take turns")
    parser.add_argument("--seconds", type=float, help="of load in each round")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write the page from a run kept as JSON"
    )
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))} (there are {', '.join(SECTIONS)})")
    return options


if __name__ == "__main__":
    sys.exit(main())
