"""``chancel map``: the network as a picture, who is direct, who is relayed and through whom."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from chancel.cli import map_svg, map_text, names
from chancel.cli.map_network import chart
from chancel.cli.options import RuntimeDir
from chancel.cli.status_command import collect
from chancel.daemon import places


def map_(
    others: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE.json", help="What 'chancel status --json' said on other machines."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.svg", help="Draw a picture.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
    only: Annotated[
        bool, typer.Option("--only", help="Of the files alone, not of this machine.")
    ] = False,
    runtime_dir: RuntimeDir = None,
) -> None:
    """Draw the network: who has a tunnel to whom, directly or through which cathedral.

    A machine knows its own tunnels. With the status of others, in files named after them, both
    ends of a tunnel become one line.

    \b
    Examples:
      chancel map
      ssh garden chancel status --json > garden.json; chancel map garden.json -o network.svg
    """
    answers: dict[str, Any] = {}
    if not only:
        answers[os.uname().nodename] = collect(
            *names.running(places.runtime_dir(runtime_dir), None)
        )
    elif not others:
        raise typer.BadParameter("expected files of other machines with it", param_hint="--only")
    for file in others or ():
        answers[file.stem] = _read(file)
    network = chart(answers)
    if output is not None:
        _write(output, map_svg.draw(network, f"tunnels of {', '.join(network.machines)}"))
    if as_json:
        typer.echo(json.dumps(network.as_json()))
    elif output is None:
        Console().print(map_text.render(network))
    else:
        typer.echo(f"{output} shows {len(network.lines)} tunnels")


def _read(file: Path) -> Any:
    """A status answer. Raises ``typer.BadParameter`` for anything else."""
    try:
        answer = json.loads(file.read_text())
        chart({file.stem: answer})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise typer.BadParameter(
            f"{file} is not what 'chancel status --json' prints: make it anew"
        ) from None
    return answer


def _write(output: Path, picture: str) -> None:
    """Whole, or not at all."""
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        unfinished.write_text(picture)
        unfinished.replace(output)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
