"""``chancel top``: all tunnels of this machine, again every second, on the whole screen."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from chancel.cli import names
from chancel.cli.options import RuntimeDir
from chancel.cli.status_command import collect
from chancel.cli.top_view import SORTS, History, render
from chancel.daemon import places

INTERVAL_S = 1.0


def top(
    sort: Annotated[
        str, typer.Option("--sort", metavar="ORDER", help=f"One of {', '.join(SORTS)}.")
    ] = "rate",
    once: Annotated[bool, typer.Option("--once", help="One frame, and no more.")] = False,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Watch all tunnels: peers, ways, rates, ages of keys, drops, cathedrals.

    On the screen, s takes the next order and q ends it.

    \b
    Example:
      chancel top --sort drops
    """
    if sort not in SORTS:
        raise typer.BadParameter(f"expected one of {', '.join(SORTS)}", param_hint="--sort")
    directory = places.runtime_dir(runtime_dir)
    console, history = Console(), History()
    orders = itertools.cycle([sort, *(each for each in SORTS if each != sort)])
    order = next(orders)

    def frame() -> object:
        answer = collect(*names.running(directory, None))
        history.add(answer["tunnels"])
        return render(answer, history, order, console.height)

    if once or not sys.stdin.isatty() or not console.is_terminal:
        console.print(frame())
        return
    with _keys_at_once(), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(frame(), refresh=True)  # type: ignore[arg-type]
            match _key_within(INTERVAL_S):
                case "q" | "Q":
                    return
                case "s" | "S":
                    order = next(orders)


@contextlib.contextmanager
def _keys_at_once() -> Iterator[None]:
    """Keys come as they are typed, and don't show."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _key_within(seconds: float) -> str | None:
    """The next key, or ``None`` after so long. A terminal that is gone counts as ``q``."""
    if not select.select([sys.stdin], [], [], seconds)[0]:
        return None
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") or "q"
