"""The system calls that a command in a cell does without: those that know no network namespace.

Sockets to a hypervisor, to Bluetooth or to a radio reach beyond the cell, and a key request can
have the kernel resolve a name outside. So only the families of :data:`FAMILIES` are left; whatever
else a program does with its calls is its own business. Programs of another instruction set, as the
32-bit ones of a 64-bit machine, are ended: some of those name the family where no filter can look.
"""

from __future__ import annotations

import errno
import socket

from chancel.daemon import sandbox_filter
from chancel.daemon.sandbox_filter import Program

FAMILIES = frozenset(
    {
        int(socket.AF_UNIX),
        int(socket.AF_INET),
        int(socket.AF_INET6),
        int(socket.AF_NETLINK),
        int(socket.AF_PACKET),
        int(socket.AF_ALG),
    }
)
"""Sockets that stay within their network namespace, or within the kernel."""


def program() -> Program:
    """Compile the filter, for ``sandbox_filter.load``. Raises :class:`MachineError`."""
    library = sandbox_filter.load_library()
    filtering = library.SyscallFilter(library.ALLOW)
    unknown = library.ERRNO(errno.EAFNOSUPPORT)
    for family in {*range(max(FAMILIES))} - FAMILIES:
        filtering.add_rule(unknown, "socket", library.Arg(0, library.EQ, family))
    filtering.add_rule(unknown, "socket", library.Arg(0, library.GT, max(FAMILIES)))
    # A ring makes sockets past all filters; where there are no rings, programs do without.
    filtering.add_rule(library.ERRNO(errno.ENOSYS), "io_uring_setup")
    filtering.add_rule(library.ERRNO(errno.ENOKEY), "request_key")
    return sandbox_filter.compiled(filtering)
