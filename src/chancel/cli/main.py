"""``chancel COMMAND ...``: the table of commands, and how errors become an exit status.

A command's module is imported only when that command was typed, so ``chancel --help`` stays quick;
all the others are stand-ins with a name and a summary. The exit status is 0, 1 (failed) or 2 (wrong
usage or configuration), and an error is one line on standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.exceptions import TyperException

from chancel import __version__, console
from chancel.errors import ChancelError, ConfigError

FAILED = 1
USAGE = 2

COMPLETE = "_CHANCEL_COMPLETE"
"""Set by a shell that completes a line (``chancel completion``), and doesn't run a command."""


class Entry(NamedTuple):
    """A command: its summary, its module, and there a function, or several for a group.

    A function of a module below that one is ``MODULE:FUNCTION``. A group has an ``example``; a
    function shows its own.
    """

    summary: str
    module: str
    functions: tuple[str, ...]
    example: str | None = None
    runs_another: bool = False
    """Options end at the first other word: what follows are those of another program."""
    beside: tuple[str, ...] = ()
    """What a command can do besides, ``MODULE:FUNCTION`` by the word that comes first of all."""


COMMANDS = {
    "run": Entry("Run tunnels.", "chancel.cli.run_command", ("run",)),
    "status": Entry("Show how tunnels are.", "chancel.cli.status_command", ("status",)),
    "up": Entry("Start a tunnel by name.", "chancel.cli.up_commands", ("up",)),
    "down": Entry("End a tunnel by name.", "chancel.cli.up_commands", ("down",)),
    "list": Entry("List tunnels.", "chancel.cli.up_commands", ("list_",)),
    "exec": Entry(
        "Run a command whose only network is a tunnel.",
        "chancel.cli.exec_command",
        ("exec_",),
        runs_another=True,
    ),
    "add": Entry("Add a tunnel to a running group.", "chancel.cli.group_commands", ("add",)),
    "remove": Entry("Take a tunnel out of its group.", "chancel.cli.group_commands", ("remove",)),
    "top": Entry("Watch all tunnels on the screen.", "chancel.cli.top_command", ("top",)),
    "map": Entry("Draw who reaches whom, and how.", "chancel.cli.map_command", ("map_",)),
    "trace": Entry("Watch a group at work; draw it.", "chancel.cli.trace_command", ("trace",)),
    "keygen": Entry("Make a shared secret.", "chancel.cli.keygen_command", ("keygen",)),
    "hymn": Entry(
        "Configure tunnels by name, start and stop them.",
        "chancel.cli",
        (
            *("hymn_files:add", "hymn_files:liturgy", "hymn_files:del_", "hymn_files:keygen"),
            *("hymn_service:up", "hymn_service:down", "hymn_service:restart"),
            *("hymn_views:list_", "hymn_views:status", "hymn_views:help_"),
            *("hymn_edits:mtu", "hymn_edits:nat", "hymn_edits:name", "hymn_edits:shroud"),
            *("hymn_edits:route", "hymn_edits:accept", "hymn_edits:bridge"),
            *("hymn_edits:cathedral", "hymn_edits:remembrance"),
        ),
        example="chancel hymn status office",
    ),
    "ambry": Entry(
        "Make and roll the keys of devices.",
        "chancel.cli.ambry_commands",
        ("generate", "bundle", "export", "renew", "cosk_pair", "inspect", "roll"),
        example="chancel ambry bundle cafeba00 cafeba00 30 home.ambry",
    ),
    "vicar": Entry(
        "Make and read encrypted bundles for devices.", "chancel.cli.vicar_command", ("vicar",)
    ),
    "lab": Entry(
        "Two hosts joined by a bad wire; no root.",
        "chancel",
        ("lab.command:lab",),
        beside=("demo.scenario_command:run_", "demo.nat_lab_command:nat_matrix"),
    ),
    "sim": Entry(
        "Simulate tunnels with faults.",
        "chancel.sim",
        (
            *("command:pair", "command:ordeal", "command:suite"),
            *("nat_command:nat_matrix", "heresy_command:heresy"),
            *("network_command:network", "network_command:long", "scenario_command:run_"),
        ),
        example="chancel sim pair --seed 7 --hours 24 --loss 0.05 --restarts",
    ),
    "demo": Entry("Watch a tunnel at work.", "chancel.cli.demo_command", ("demo",)),
    "completion": Entry(
        "Have your shell complete names.", "chancel.cli.completion_command", ("completion",)
    ),
}

LATER = frozenset(
    {"share", "open", "inlet", "outlet"}
    | {"relay", "confessions", "litany", "reliquary", "rlq", "sacristan"}
)
"""Commands whose names are promised; they come with later releases."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    console.open_standard()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if COMPLETE in os.environ:
        return _complete()
    chosen, following = _chosen(words)
    if chosen in LATER:
        return _fail(f"{chosen} comes with a later release", USAGE)
    try:
        command = typer.main.get_command(_program(chosen, following))
        status = command.main(words, prog_name="chancel", standalone_mode=False)
        sys.stdout.flush()
    except TyperException as error:
        command_name = f" {chosen}" if chosen in COMMANDS else ""
        hint = f"(see chancel{command_name} --help)"
        return _fail(f"{error.format_message().rstrip('.')} {hint}", error.exit_code)
    except (ChancelError, OSError, typer.Abort, KeyboardInterrupt) as error:
        return _explain(error)
    return status if isinstance(status, int) else 0


def _chosen(words: Sequence[str]) -> tuple[str | None, str | None]:
    """The command, and the word that comes right after it."""
    for index, word in enumerate(words):
        if not word.startswith("-"):
            return word, next(iter(words[index + 1 :]), None)
    return None, None


def _complete() -> int:
    """Answer a shell that completes a line: print what its last word may become."""
    from typer.completion import completion_init  # type: ignore[attr-defined]

    typed = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    completion_init()
    try:
        typer.main.get_command(_program(*_chosen(typed.split()[1:]))).main([], prog_name="chancel")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else FAILED
    return FAILED


def _explain(error: BaseException) -> int:
    """One line for an error that a command met; returns the exit status."""
    unwritten = console.flush()
    match error:
        case ConfigError():
            return _fail(console.explain(error), USAGE)
        case BrokenPipeError():  # the reader of a pipe has seen enough
            return FAILED
        case OSError() if unwritten is not None:
            return _fail(f"standard output: {console.explain(unwritten)}", FAILED)
        case typer.Abort() | KeyboardInterrupt():
            return _fail("interrupted", FAILED)
    return _fail(console.explain(error), FAILED)


def _program(chosen: str | None, following: str | None) -> typer.Typer:
    program = typer.Typer(
        name="chancel",
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        epilog="Example: chancel run -c /etc/hymn/office.conf",
    )
    program.callback()(_options)
    for name, entry in COMMANDS.items():
        if name != chosen:
            program.command(name, help=entry.summary)(_stand_in)
            continue
        beside = [each for each in entry.beside if _word(each) == following]
        functions = [_function(entry.module, each) for each in beside or entry.functions]
        if entry.example is None and not beside:
            settings = {"allow_interspersed_args": not entry.runs_another}
            program.command(name, context_settings=settings)(functions[0])
        else:
            program.add_typer(_group(entry, functions), name=name)
    return program


def _function(module: str, name: str) -> Callable[..., Any]:
    below, _, function = name.rpartition(":")
    found: Callable[..., Any] = getattr(
        import_module(f"{module}.{below}" if below else module), function
    )
    return found


def _group(entry: Entry, functions: list[Callable[..., Any]]) -> typer.Typer:
    group = typer.Typer(
        rich_markup_mode=None, help=entry.summary, epilog=f"Example: {entry.example}"
    )
    group.callback()(_stand_in)
    for function in functions:
        group.command(_word(function.__name__))(function)
    return group


def _word(function: str) -> str:
    """What is typed for a function."""
    return function.rpartition(":")[2].strip("_").replace("_", "-")


def _stand_in() -> None:
    """Stands for a command that was not typed, and before the commands of a group."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"chancel {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Post-quantum tunnels, compatible with sanctum."""


def _fail(message: str, status: int) -> int:
    console.complain(message)
    return status


if __name__ == "__main__":
    sys.exit(main())
