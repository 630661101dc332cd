"""What systemd does to a service before it starts it: ``python -m tests.e2e.unit UNIT NAME``.

Reads a unit and becomes its ``ExecStart``, as root of wherever it was started, with the unit's
limits: file system, capabilities, system calls, umask, no new privileges. What needs systemd's own
control groups (devices, the number of tasks) is left out. ``/run`` is a new, empty one.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shlex
import struct
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pyseccomp

from chancel.daemon import linux

CLONE_NEWNS = 0x2_0000
_NAMESPACES = {
    "mnt": CLONE_NEWNS,
    "cgroup": 0x0200_0000,
    "uts": 0x0400_0000,
    "ipc": 0x0800_0000,
    "user": 0x1000_0000,
    "pid": 0x2000_0000,
    "net": linux.CLONE_NEWNET,
}
_CAPABILITIES = {
    "CAP_CHOWN": 0,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_ADMIN": 21,
}
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17}
_MAX_FAMILY = 46

_PR_CAPBSET_DROP = 24
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x4_0000

_libc = ctypes.CDLL(None, use_errno=True)

Unit = dict[str, list[str]]


def read(path: Path) -> Unit:
    """The settings of a unit: every value of every key, whatever their section."""
    settings: Unit = defaultdict(list)
    for line in path.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            settings[key].append(value)
    return settings


def words(unit: Unit, key: str) -> list[str]:
    """All words of a list that may be given in several lines."""
    return [word for value in unit[key] for word in value.split()]


def main(path: str, name: str) -> None:
    unit = read(Path(path))
    _limit_files(unit)
    resource.setrlimit(resource.RLIMIT_CORE, (int(unit["LimitCORE"][0]),) * 2)
    os.umask(int(unit["UMask"][0], 8))
    wanted = {_CAPABILITIES[word] for word in words(unit, "CapabilityBoundingSet")}
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in set(range(last + 1)) - wanted:
        linux.prctl(_PR_CAPBSET_DROP, capability)
    if unit["NoNewPrivileges"] == ["yes"]:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    (command,) = unit["ExecStart"]
    program = shlex.split(command.replace("%i", name))
    _limit_calls(unit)
    os.execv(program[0], program)


def _limit_files(unit: Unit) -> None:
    """ProtectSystem=strict, ReadWritePaths= and ProtectKernelTunables=."""
    writable = [*words(unit, "ReadWritePaths"), "/dev", "/proc", "/sys"]
    if unit["ProtectSystem"] != ["strict"]:
        raise ValueError("a unit that this program doesn't know")
    linux.unshare(CLONE_NEWNS)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    _call("mount", b"none", b"/run", b"tmpfs", 0, b"mode=755")
    _call("mount", b"/proc/sys", b"/proc/sys", None, _MS_BIND | _MS_REC, None)
    _read_only("/", True)
    for each in writable:
        if not Path(each).is_mount():
            _call("mount", each.encode(), each.encode(), None, _MS_BIND | _MS_REC, None)
        _read_only(each, False)
    if unit["ProtectKernelTunables"] == ["yes"]:
        _read_only("/proc/sys", True)


def _read_only(path: str, wanted: bool) -> None:
    """mount_setattr(2), for everything that is mounted there."""
    change = (_MOUNT_ATTR_RDONLY, 0) if wanted else (0, _MOUNT_ATTR_RDONLY)
    attributes = struct.pack("=QQQQ", *change, 0, 0)
    number, flags = ctypes.c_long(_SYS_MOUNT_SETATTR), ctypes.c_uint(_AT_RECURSIVE)
    size = ctypes.c_size_t(len(attributes))
    _call("syscall", number, _AT_FDCWD, os.fsencode(path), flags, attributes, size)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name} {arguments}: {os.strerror(code)}")


def _limit_calls(unit: Unit) -> None:
    """SystemCallFilter=, RestrictNamespaces= and RestrictAddressFamilies=."""
    denied = pyseccomp.ERRNO(1)
    calls = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    calls.set_attr(pyseccomp.Attr.CTL_NNP, 0)
    for name in _calls_of(words(unit, "SystemCallFilter")):
        try:
            calls.add_rule(denied, name)
        except (OSError, RuntimeError):  # one that this architecture, or this library, lacks
            continue
    calls.add_rule(pyseccomp.ERRNO(38), "clone3")  # its flags can't be seen
    allowed = words(unit, "RestrictNamespaces")
    for flag in {flag for name, flag in _NAMESPACES.items() if name not in allowed}:
        for call, position in (("unshare", 0), ("clone", 0), ("setns", 1)):
            masked = pyseccomp.Arg(position, pyseccomp.MASKED_EQ, flag, flag)
            calls.add_rule(denied, call, masked)
    families = {_FAMILIES[word] for word in words(unit, "RestrictAddressFamilies")}
    for family in set(range(_MAX_FAMILY)) - families:
        calls.add_rule(pyseccomp.ERRNO(97), "socket", pyseccomp.Arg(0, pyseccomp.EQ, family))
    calls.load()


def _calls_of(names: list[str]) -> set[str]:
    """The calls of a list that begins with ``~``, its sets resolved by systemd itself."""
    calls: set[str] = set()
    for name in names:
        word = name.removeprefix("~")
        if word.startswith("@"):
            shown = subprocess.run(
                ["systemd-analyze", "--no-pager", "syscall-filter", word],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            lines = [line.strip() for line in shown.splitlines()[1:]]
            calls |= _calls_of([line for line in lines if line and not line.startswith("#")])
        else:
            calls.add(word)
    return calls


if __name__ == "__main__":
    main(*sys.argv[1:])
