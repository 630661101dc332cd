"""Objects that count packet numbers: a copy, or a forked process, would use each number again.

Two packets under one key and one number show an observer their XOR and let him forge others, so
what seals packets exists once: it can't be copied or pickled, and in the child of a fork it does
nothing. Copies that no process can notice (a restored snapshot of a virtual machine) are not
covered: there the clock jumps, which begins a new exchange.
"""

from __future__ import annotations

import os
from typing import NoReturn, SupportsIndex

from chancel.errors import LocalProtocolError


class _Process:
    """How often this process descends from a fork since the module was loaded."""

    generation = 0

    @classmethod
    def forked(cls) -> None:
        cls.generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Process.forked)


class Uncopied:
    """Belongs to the process that made it. Derived classes call :meth:`check_process`."""

    def __init__(self) -> None:
        self._generation = _Process.generation

    @property
    def is_here(self) -> bool:
        """Whether this is the process that made it, and no forked child."""
        return self._generation == _Process.generation

    def check_process(self) -> None:
        """Raise ``LocalProtocolError`` in a forked child."""
        if self._generation != _Process.generation:
            raise LocalProtocolError(
                f"a {type(self).__name__} was made before this process was forked, and both would"
                " use its packet numbers: make one of its own here"
            )

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        # What copy, deepcopy and pickle ask for.
        raise LocalProtocolError(
            f"a {type(self).__name__} is never copied or pickled, as both would use its packet"
            " numbers: pass the object itself, or make another one"
        )
