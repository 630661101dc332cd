"""What a process gives up before its first packet.

The user it was started by, its groups, capabilities, the network it could open sockets in, gaining
privileges again, core dumps and being traced. Descriptors that were opened before keep working: the
device, the UDP socket. The last step is ``sandbox``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import resource
from pathlib import Path
from typing import NamedTuple

from chancel.daemon import linux
from chancel.daemon.linux import MachineError

log = logging.getLogger("chancel.daemon")


class Identity(NamedTuple):
    """A user and its primary group, which is also the only supplementary one."""

    uid: int
    gid: int


def identity(user: str) -> Identity | None:
    """The user, if we can become that: the machine and our user namespace know it, and we may.

    Raises :class:`MachineError` for a root who is kept from it: it would go on as root.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    can_become = (
        os.geteuid() == 0
        and _is_mapped("uid_map", entry.pw_uid)
        and _is_mapped("gid_map", entry.pw_gid)
        and _groups_allowed()
    )
    if not can_become:
        return None
    _check_rights(user)
    return Identity(entry.pw_uid, entry.pw_gid)


def _check_rights(user: str) -> None:
    needed = {"CAP_SETUID": linux.CAP_SETUID, "CAP_SETGID": linux.CAP_SETGID}
    lacking = [name for name, number in needed.items() if not linux.has_capability(number)]
    if lacking:
        raise MachineError(
            f"no process can become the user {user} here: root lacks {' and '.join(lacking)}"
            " (in Docker: --cap-add=SETUID --cap-add=SETGID)"
        )


def drop(wanted: Identity | None) -> None:
    """Give everything up, for good. ``None`` keeps the user. Raises OSError.

    Clears the parent death signal when the user changes; the caller sets it again.
    """
    with contextlib.suppress(PermissionError):  # a container whose root may not make namespaces
        linux.unshare(linux.CLONE_NEWNET)
    if wanted is not None:
        os.setgroups([wanted.gid])
        os.setresgid(wanted.gid, wanted.gid, wanted.gid)
        os.setresuid(wanted.uid, wanted.uid, wanted.uid)
    linux.keep_capabilities()
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _is_mapped(file: str, number: int) -> bool:
    for line in Path("/proc/self", file).read_text().splitlines():
        first, _outside, count = map(int, line.split())
        if first <= number < first + count:
            return True
    return False


def _groups_allowed() -> bool:
    return Path("/proc/self/setgroups").read_text().strip() != "deny"
