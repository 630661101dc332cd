"""``chancel completion``: what makes a shell complete commands, options and names of tunnels."""

from __future__ import annotations

import enum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from chancel.cli.main import COMPLETE


class Shell(enum.StrEnum):
    """A shell we have a script for."""

    BASH = enum.auto()
    ZSH = enum.auto()
    FISH = enum.auto()


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="bash|zsh|fish", help="The shell you use.")],
) -> None:
    """Print a script that has a shell complete commands, options and tunnels.

    \b
    Examples:
      eval "$(chancel completion bash)"       in ~/.bashrc
      eval "$(chancel completion zsh)"        in ~/.zshrc, behind compinit
      chancel completion fish | source        in ~/.config/fish/config.fish
    """
    typer.echo(get_completion_script(prog_name="chancel", complete_var=COMPLETE, shell=shell))
