"""From the fork to the duty: what a process of the group does first, and how it ends.

It closes every descriptor that isn't one of its ends, maps its own memory, gives up its
privileges, closes itself in, and serves. When a neighbour dies it falls silent and waits: the
guardian, which sees who died first, says so and ends the group.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from chancel.daemon import linux, logs, privileges, sandbox, scheduling
from chancel.daemon.config_types import KEEPER, LITURGY
from chancel.daemon.lies import NeighbourLied
from chancel.daemon.linux import MachineError
from chancel.daemon.privileges import Identity
from chancel.daemon.process import Duty, Process
from chancel.daemon.sandbox import Plan
from chancel.daemon.sandbox_filter import Program
from chancel.daemon.topology import CARRYING, TIMES, Wiring
from chancel.errors import LinkClosed

Make = Callable[[Process], Duty]

COLLECTING = frozenset({"control", "cathedral", LITURGY, *KEEPER.values()})
"""Duties that keep the cycle collector: they make few objects, and the others make no cycles."""

HUNG_UP_LIMIT_S = 5.0
"""A guardian that lives speaks up at once when a process has died."""

GUARDIANS_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
"""Those that end a group."""

_STANDARD = frozenset({0, 1, 2})

log = logging.getLogger("chancel.daemon")


def run(
    name: str,
    wiring: Wiring,
    make: Make,
    user: Identity | None,
    plan: Plan,
    program: Program | None,
    guardian: int,
) -> NoReturn:
    """Be the process with duty ``name``, until the guardian (its pid) says stop. Never returns.

    ``program`` is its system call filter.
    Objects of the guardian whose descriptors were closed under them are still referenced from its
    stack below us, so none of them closes a number that means something else by now.
    """
    status = 1
    try:
        settle(name, guardian)
        close_all_but(wiring.own_descriptors(name) | logs.descriptors())
        process = Process(name, wiring)
        if name in CARRYING:
            process.settle = scheduling.settling(TIMES, time.monotonic())
        privileges.drop(user)
        _die_with(guardian)
        duty = make(process)
        sandbox.seal(name, program, plan, process.report_to)
        _serve(process, duty)
        status = 0
    except MachineError as error:
        log.error("%s", error)
    except LinkClosed:
        pass  # the guardian is gone, and the kernel is about to end us
    except NeighbourLied as lie:
        log.error("a neighbour lies: %s", lie)
    except Exception:
        log.exception("failed")
    finally:
        os._exit(status)


def _serve(process: Process, duty: Duty) -> None:
    try:
        process.serve(duty)
    except LinkClosed as closed:
        _wait_for_the_end(process, closed)


def _wait_for_the_end(process: Process, closed: LinkClosed) -> None:
    """The guardian saw who died. That it says nothing means that nobody did: somebody hung up."""
    guardian = process.guardian
    deadline = time.monotonic() + HUNG_UP_LIMIT_S
    poll = select.poll()
    poll.register(guardian, select.POLLIN)
    while poll.poll(1000 * max(0.0, deadline - time.monotonic())):
        received = guardian.receive()
        if received is not None and received[0].get("do") == "stop":
            return
    raise NeighbourLied(f"{closed}, and it lives") from closed


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """What is forked in this block never hears the signals that are for the guardian, which a
    terminal sends to all of us. It hears them itself, if late.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GUARDIANS_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def settle(name: str, guardian: int) -> None:
    """Take our own name and place; signals are blocked (:func:`deaf`)."""
    logs.rename(name)
    _die_with(guardian)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    linux.prctl(linux.PR_SET_NAME, name.encode())
    if name not in COLLECTING:
        gc.disable()


def _die_with(guardian: int) -> None:
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guardian:
        raise LinkClosed("the guardian is gone")


def close_all_but(own: frozenset[int]) -> None:
    """Close all descriptors but these and the standard ones."""
    kept = sorted(own | _STANDARD)
    for below, above in itertools.pairwise([*kept, os.sysconf("SC_OPEN_MAX")]):
        os.closerange(below + 1, above)
