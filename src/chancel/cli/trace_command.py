"""``chancel trace``: what the processes of a group do, as it happens."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from chancel.cli import names, trace_svg, trace_text
from chancel.cli.options import RuntimeDir
from chancel.cli.trace_rows import Row, Rows
from chancel.daemon import ctl, places

MESSAGE_BYTES = 1 << 20
FLUSH_S = 0.1
"""How long hops may wait on the screen for others to be added to them."""

Line = dict[str, Any]


def trace(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A tunnel; the only one without it.",
            autocompletion=names.running_names,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, help="How long; until interrupted without it.")
    ] = float("inf"),
    as_json: Annotated[bool, typer.Option("--json", help="Each event as a line of JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.svg", help="Draw a picture.")
    ] = None,
    merge: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--merge", metavar="LEFT RIGHT", help="Draw two traces made with --json, one each end."
        ),
    ] = None,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Watch packets and keys pass through a group, as a sequence diagram.

    Tells sizes, counts, addresses and states: never a key, nothing of what packets hold.

    \b
    Examples:
      chancel trace office
      chancel trace office --seconds 10 -o office.svg
      chancel trace office --seconds 10 --json > left.jsonl
      chancel trace --merge left.jsonl right.jsonl -o both.svg
    """
    if merge is not None:
        if name is not None or as_json:
            raise typer.BadParameter("expected neither NAME nor --json", param_hint="--merge")
        _draw_all(_merged(*merge), 2, output, f"{merge[0].stem} and {merge[1].stem}")
        return
    group, name = names.find(places.runtime_dir(runtime_dir), name)
    lines = _lines(ctl.trace(group.socket), name, time.monotonic() + seconds)
    if as_json:
        _print_json(lines)
    elif output is not None:
        rows = _rows([line for line in lines if line is not None])
        _draw_all(rows, 1, output, f"{name or group.name} for {seconds:g} s")
    else:
        _print_live(lines)


def _lines(end: socket.socket, name: str | None, until: float) -> Iterator[Line | None]:
    """The lines about one tunnel, or all; ``None`` whenever there were none for a moment."""
    with end, contextlib.suppress(KeyboardInterrupt):
        while (left := until - time.monotonic()) > 0:
            end.settimeout(min(left, FLUSH_S))
            try:
                message = end.recv(MESSAGE_BYTES)
            except TimeoutError:
                yield None
                continue
            if not message:
                return  # the group has ended, or another trace took over
            for text in message.splitlines():
                line = json.loads(text)
                if name is None or line.get("tunnel", name) == name:
                    yield line


def _print_json(lines: Iterable[Line | None]) -> None:
    for line in lines:
        if line is not None:
            typer.echo(json.dumps(line))


def _print_live(lines: Iterable[Line | None]) -> None:
    console, rows, start = Console(), Rows(), None
    console.print(trace_text.heading(1), no_wrap=True, crop=False)
    for line in lines:
        if line is not None and start is None:
            start = line["at"]
        for row in rows.flush() if line is None else rows.feed(line):
            console.print(trace_text.draw(row, 1, start or 0.0), no_wrap=True, crop=False)
    for row in rows.flush():
        console.print(trace_text.draw(row, 1, start or 0.0), no_wrap=True, crop=False)


def _rows(lines: Iterable[Line], end: int = 0) -> list[Row]:
    rows = Rows(end)
    made = [row for line in sorted(lines, key=lambda line: line["at"]) for row in rows.feed(line)]
    return made + rows.flush()


def _merged(left: Path, right: Path) -> list[Row]:
    """Both ends' rows in the order of the wall clock."""
    made = [row for end, path in enumerate((left, right)) for row in _rows(_read(path), end)]
    return sorted(made, key=lambda row: row.at)


def _read(path: Path) -> list[Line]:
    """A file made with ``--json``; its times become those of the wall clock."""
    try:
        lines = [json.loads(text) for text in path.read_text().splitlines()]
        shift = next(line["wall"] - line["at"] for line in lines if line["event"] == "begin")
        return [line | {"at": line["at"] + shift} for line in lines]
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        problem = "is no trace (expected a file made with chancel trace --json)"
        raise typer.BadParameter(f"{path} {problem}", param_hint="--merge") from error


def _draw_all(rows: list[Row], ends: int, output: Path | None, title: str) -> None:
    if output is not None:
        output.write_text(trace_svg.draw(rows, ends, f"Trace of {title}"))
        typer.echo(f"{output}: {len(rows)} rows")
        return
    console = Console()
    console.print(trace_text.heading(ends), no_wrap=True, crop=False)
    for row in rows:
        console.print(trace_text.draw(row, ends, rows[0].at), no_wrap=True, crop=False)
