"""A tunnel in a program: the Python module of the reference's library, by the same names.

A program written for the reference's module runs unchanged: :func:`alloc` makes a context, the
program moves packets between its socket and the context, and calls ``key_manage`` once a second.
There is no thread, no timer and no I/O in here. The packets are those of every other Chancel or
sanctum end. For new programs ``chancel.tunnel`` is the friendlier choice.

Where the reference's module can't work, this one does: the second argument of ``heaven_input`` and
``purgatory_input`` is optional, there is an MTU from the start, and ``version`` and ``p2p_active``
return. More than it has are the missing constants, ``mtu_size``, ``peer_timeout``, ``last_error``,
``key_material_copy``, ``cathedral_liturgy`` and ``drops``, and what cathedrals tell in full.
"""

from __future__ import annotations

import chancel
from libkyrka import constants
from libkyrka.constants import *  # noqa: F403 - the names are the interface
from libkyrka.constants import KYRKA_API_VERSION
from libkyrka.context import KYRKA, make_context
from libkyrka.surroundings import Surroundings

__all__ = ["KYRKA", "alloc", "version"]
__all__ += constants.__all__


def alloc() -> KYRKA:
    """Make a context: one end of one tunnel, without a secret and without keys."""
    return make_context(Surroundings())


def version() -> str:
    """The version, with that of the API."""
    return f"chancel-{chancel.__version__} (api:{KYRKA_API_VERSION})"
