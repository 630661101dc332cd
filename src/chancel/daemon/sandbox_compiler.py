"""Filters are compiled in a process of their own, which ends.

libseccomp and its Python module take a MB, and give most of it back in pieces between what all
processes share: each process forked later would have its own copy of the pages around them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterable, Mapping
from typing import NoReturn

from chancel.daemon import sandbox_filter
from chancel.daemon.linux import MachineError
from chancel.daemon.sandbox_filter import Program
from chancel.daemon.topology import GUARDIAN, LOOKUP, End

log = logging.getLogger("chancel.daemon")


def programs(
    ends: Mapping[str, Mapping[End, Iterable[int]]],
    *,
    report: bool,
    replacing: Collection[str] = (),
) -> dict[str, Program]:
    """The filters of the processes with these ends, of the guardian, and of what it forks later.

    Those of the processes ``replacing`` may replace files. Raises :class:`MachineError` where there
    is no libseccomp, or a kernel without filters.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _run(ends, writing, report=report, replacing=replacing)
    os.close(writing)
    with open(reading) as file:
        text = file.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise MachineError("system call filters can't be compiled (the log says why)")
    answer = json.loads(text)
    if "error" in answer:
        raise MachineError(answer["error"])
    return {name: Program(call, bytes.fromhex(code)) for name, (call, code) in answer.items()}


def _run(
    ends: Mapping[str, Mapping[End, Iterable[int]]],
    writing: int,
    *,
    report: bool,
    replacing: Collection[str],
) -> NoReturn:
    status = 1
    try:
        answer: dict[str, object] = {}
        try:
            sandbox_filter.check_kernel()
            made = {
                name: sandbox_filter.for_duty(
                    name, own, report=report, replaces_files=name in replacing
                )
                for name, own in ends.items()
            }
            made[GUARDIAN] = sandbox_filter.for_guardian()
            made[LOOKUP] = sandbox_filter.for_lookup()
            answer = {name: (each.call, each.instructions.hex()) for name, each in made.items()}
        except MachineError as error:
            answer = {"error": str(error)}
        with open(writing, "w") as file:
            json.dump(answer, file)
        status = 0
    except Exception:
        log.exception("failed")
    finally:
        os._exit(status)
