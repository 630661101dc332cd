"""A user namespace of our own: how somebody who isn't root gains the right to make networks.

Inside, our user keeps its number and has every right over what was made there, and none more over
anything else. The kernel refuses all this to processes with threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from chancel.daemon import linux
from chancel.daemon.linux import MachineError

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000

_SETTINGS = {
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "user.max_user_namespaces": ("0", "65536"),
}
"""What forbids user namespaces: the setting, the value that does, and one that doesn't."""


def found_user() -> int | None:
    """Move into a new user namespace, as the user we are; returns a descriptor of it.

    ``None`` when we have its rights already. Raises :class:`MachineError` that names the remedy.
    """
    if linux.has_capability(linux.CAP_SYS_ADMIN):
        return None
    uid, gid = os.geteuid(), os.getegid()
    try:
        linux.unshare(CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    except OSError as error:
        raise MachineError(refusal(error)) from error
    return own("user")


def own(kind: str) -> int:
    """A descriptor of our namespace of that kind (``user``, ``net``). Raises OSError."""
    return os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def refusal(error: OSError) -> str:
    """Why the kernel forbids namespaces, and the one command that allows them."""
    for name, (forbidding, allowing) in _SETTINGS.items():
        path = Path("/proc/sys") / name.replace(".", "/")
        with contextlib.suppress(OSError):
            if path.read_text().strip() == forbidding:
                return (
                    f"this machine forbids user namespaces ({name} = {forbidding}); "
                    f"allow them with: sudo sysctl -w {name}={allowing}"
                )
    if error.errno == errno.ENOSPC:
        return (
            "too many namespaces exist; raise the limits with: "
            "sudo sysctl -w user.max_user_namespaces=65536 user.max_net_namespaces=65536"
        )
    return (
        f"this machine forbids user namespaces ({error.strerror}), usually because of a "
        "container's seccomp profile; in Docker, start the container with: "
        "--security-opt seccomp=unconfined"
    )
