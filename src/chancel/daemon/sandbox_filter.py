"""System call filters: the tables of ``sandbox_calls`` become a program in the kernel.

libseccomp compiles; we load the program ourselves, because its own loading keeps the descriptor of
notifications to itself. A filter can't be taken off again, and holds for what a process forks.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from chancel import console
from chancel.daemon import linux
from chancel.daemon.linux import MachineError
from chancel.daemon.sandbox_calls import (
    GUARDIAN_KILLED,
    HANDING_OVER,
    LOOKING_UP,
    Call,
    allowed_to,
    refused_to,
)
from chancel.daemon.topology import WIRED_FROM, End

_SET_MODE_FILTER, _GET_ACTION_AVAILABLE = 1, 2
_NEW_LISTENER = 1 << 3
_KILL_PROCESS = 0x8000_0000
_INSTRUCTION_BYTES = 8
_BINARY_TREE = 2


class Program(NamedTuple):
    """A compiled filter."""

    call: int
    """The number of seccomp(2) here, so that who loads the program needs no libseccomp."""
    instructions: bytes


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def load_library() -> Any:
    """The module ``pyseccomp``. Raises :class:`MachineError` where it has no libseccomp."""
    try:
        import pyseccomp
    except (ImportError, RuntimeError) as error:
        raise MachineError(
            "libseccomp is not installed (Debian: apt-get install libseccomp2; Fedora: dnf install"
            " libseccomp; without system call filters: chancel run --sandbox=off)"
        ) from error
    except OSError as error:
        raise MachineError(
            f"libseccomp can't be loaded: {console.explain(error)} (expected the library of this"
            " system, installed anew; without system call filters: chancel run --sandbox=off)"
        ) from error
    return pyseccomp


def check_kernel() -> None:
    """Raise :class:`MachineError` where the kernel has no filters."""
    try:
        action = _KILL_PROCESS.to_bytes(4, sys.byteorder)
        linux.syscall(_own_number(), _GET_ACTION_AVAILABLE, 0, action)
    except OSError as error:
        raise MachineError(
            f"this kernel has no system call filters: {error.strerror}"
            " (to run without them: --sandbox=off)"
        ) from error


def for_duty(
    name: str,
    ends: Mapping[End, Iterable[int]],
    *,
    report: bool = False,
    replaces_files: bool = False,
) -> Program:
    """Compile the filter of the process with duty ``name``, whose descriptors are ``ends``.

    ``report``: whatever isn't allowed is put to a listener (:func:`load` returns it) instead.
    """
    library = load_library()
    filtering = library.SyscallFilter(library.NOTIFY if report else library.KILL_PROCESS)
    allowed = allowed_to(name, replaces_files=replaces_files)
    for call in (*allowed, *((HANDING_OVER,) if report else ())):
        for rule in _arguments(call, ends):
            filtering.add_rule(library.ALLOW, call.name, *rule)
    if not report:
        for refused in refused_to(name, replaces_files=replaces_files):
            filtering.add_rule(library.ERRNO(errno.EPERM), refused)
    return compiled(filtering)


def for_guardian() -> Program:
    """Compile the filter of the guardian."""
    library = load_library()
    filtering = library.SyscallFilter(library.ALLOW)
    for name in GUARDIAN_KILLED:
        filtering.add_rule(library.KILL_PROCESS, name)
    return compiled(filtering)


def for_lookup() -> Program:
    """Compile the filter of the process that looks names up."""
    library = load_library()
    filtering = library.SyscallFilter(library.ERRNO(errno.EPERM))
    for call in LOOKING_UP:
        for rule in _arguments(call, {}):
            filtering.add_rule(library.ALLOW, call.name, *rule)
    # Its flags are in memory, where a filter can't look. Without it the C library takes clone.
    filtering.add_rule(library.ERRNO(errno.ENOSYS), "clone3")
    return compiled(filtering)


def load(program: Program, *, report: bool = False) -> int | None:
    """Filter this process's calls from now on; ``no_new_privs`` is set. Raises OSError.

    With ``report`` the descriptor of the listener is returned: a call that is not allowed waits
    until the listener has answered.
    """
    loaded = _Program(len(program.instructions) // _INSTRUCTION_BYTES, program.instructions)
    flags = _NEW_LISTENER if report else 0
    listener = linux.syscall(program.call, _SET_MODE_FILTER, flags, bytes(loaded))
    return listener if report else None


def call_name(number: int) -> str:
    """The name of a system call of this machine."""
    library = load_library()
    try:
        return str(library.resolve_syscall(library.system_arch(), number).decode())
    except ValueError:
        return f"call {number}"


def _own_number() -> int:
    library = load_library()
    return int(library.resolve_syscall(library.system_arch(), "seccomp"))


def _arguments(call: Call, ends: Mapping[End, Iterable[int]]) -> list[list[Any]]:
    """The conditions of a call: one list for each rule, of which any may hold.

    Comparisons are of 64 bits: a descriptor with anything in the upper half, which the kernel would
    not look at, passes neither.
    """
    library = load_library()
    tests = [
        library.Arg(test.argument, library.MASKED_EQ, test.mask, test.value) for test in call.tests
    ]
    if not call.on:
        return [tests]
    rules = []
    for end in call.on:
        if end is End.ARRIVED:
            rules.append([library.Arg(0, library.LT, WIRED_FROM), *tests])
        else:
            rules += [[library.Arg(0, library.EQ, fd), *tests] for fd in ends.get(end, ())]
    return rules


def compiled(filtering: Any) -> Program:
    """A filter's program, for :func:`load`. Other instruction sets than the machine's are fatal."""
    library = load_library()
    filtering.set_attr(library.Attr.CTL_OPTIMIZE, _BINARY_TREE)
    filtering.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
    memory = os.memfd_create("filter", os.MFD_CLOEXEC)
    with open(memory, "rb") as file:
        filtering.export_bpf(file)
        file.seek(0)
        return Program(_own_number(), file.read())
