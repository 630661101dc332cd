"""Every error Chancel raises on purpose.

Two families, as in h11: *we* (or our caller) did something illegal, or *they* (bytes from the
network) did. Bytes from strangers raise exactly one class, :class:`RemoteProtocolError`, which is
caught where the bytes entered and counted there by its reason; it never reaches the top. The others
are for people and say what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chancel.wire.drop import Drop


class ChancelError(Exception):
    """Base of all errors raised by Chancel on purpose."""


class LocalProtocolError(ChancelError):
    """We, or our caller, asked for something illegal in the present state.

    The message names the remedy.
    """


class RemoteProtocolError(ChancelError):
    """Bytes from the network were refused; ``reason`` says why and is what gets counted."""

    def __init__(self, reason: Drop) -> None:
        super().__init__(str(reason))
        self.reason = reason


class ConfigError(ChancelError):
    """A configuration that cannot be used: one line naming file, line and directive.

    ``line`` is 1-based, or ``None`` for a check over the whole file.
    """

    def __init__(self, file: str, line: int | None, directive: str | None, problem: str) -> None:
        self.file = file
        self.line = line
        self.directive = directive
        self.problem = problem
        place = file if line is None else f"{file}:{line}"
        what = problem if directive is None else f"{directive}: {problem}"
        super().__init__(f"{place}: {what}")


class VaultError(ChancelError):
    """A secret that cannot be loaded, or must not be (others can read it, it is too short, ...)."""


class LinkClosed(ChancelError):  # noqa: N818 - a state more than an error; the name is the contract
    """The other end of a link is gone."""
