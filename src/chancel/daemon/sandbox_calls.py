"""What each process may ask of the kernel, as data: the allow-lists behind the filters.

Three outcomes: a call that is *allowed* happens; a *refused* one (files, new sockets: what
libraries may try as a fall-back) is answered EPERM; every other call *kills* the process, and so
the group.

Descriptors are pinned. Those of the wiring are numbers known before the filter is made, and apart
from all that come later (``topology.WIRED_FROM``): a tunnel's device and sockets, which the
guardian passes, have numbers below. What a process may do with these stands in the entries for
``End.ARRIVED``.

To extend a process's list add an entry to its row of :data:`DUTIES`, or to :data:`EVERYBODY`, and
to ``docs/processes.md``, which a test compares with these tables. ``chancel run --sandbox=log``
tells what is missing. Names are those of x86-64 and aarch64; one that an architecture lacks is
passed over there.
"""

from __future__ import annotations

import mmap
import os
from typing import NamedTuple

from chancel.daemon.topology import End


class Test(NamedTuple):
    """A condition: ``argument & mask == value``. ``words`` are those of the documentation."""

    argument: int
    mask: int
    value: int
    words: str


class Call(NamedTuple):
    """A system call that is allowed, on these descriptors (its first argument), if ``tests`` hold.

    No descriptors: it takes none.
    """

    name: str
    on: tuple[End, ...] = ()
    tests: tuple[Test, ...] = ()


_ALL = 0xFFFF_FFFF_FFFF_FFFF
_INT = 0xFFFF_FFFF
_O_WRITING = 0o3 | 0o100 | 0o1000 | 0o2000 | 0o20_000_000
"""O_ACCMODE, O_CREAT, O_TRUNC, O_APPEND, __O_TMPFILE."""
_O_NEW = 0o100 | 0o200
"""O_CREAT and O_EXCL: nothing that exists is opened."""
_FIONBIO, _FIONREAD = 0x5421, 0x541B
_CLONE_THREAD = 0x10000
_FAMILIES = ((2, "IPv4"), (10, "IPv6"), (16, "netlink"))

NOT_EXECUTABLE = Test(2, mmap.PROT_EXEC, 0, "not executable")
ANONYMOUS = Test(4, _INT, _INT, "no file")
TO_NOBODY = Test(4, _ALL, 0, "without an address")
FOR_READING = Test(2, _O_WRITING, 0, "for reading")
A_NEW_FILE = Test(2, _O_NEW, _O_NEW, "a new file")
NONBLOCKING = Test(1, _INT, _FIONBIO, "FIONBIO")
HOW_MUCH = Test(1, _INT, _FIONREAD, "FIONREAD")
A_THREAD = Test(0, _CLONE_THREAD, _CLONE_THREAD, "a thread")
OF_ITSELF = Test(0, _INT, 0, "its own")
AS_BATCH_JOB = Test(1, _INT, os.SCHED_BATCH, "SCHED_BATCH")
AS_ANYBODY = Test(1, _INT, os.SCHED_OTHER, "SCHED_OTHER")

EVERYBODY = (
    # memory
    Call("brk"),
    Call("madvise"),
    Call("mmap", tests=(NOT_EXECUTABLE, ANONYMOUS)),
    Call("mprotect", tests=(NOT_EXECUTABLE,)),
    Call("mremap"),
    Call("munmap"),
    # time, waiting, randomness
    Call("clock_gettime"),
    Call("clock_nanosleep"),
    Call("epoll_ctl"),
    Call("epoll_pwait"),
    Call("epoll_wait"),
    Call("futex"),
    Call("getrandom"),
    Call("poll"),
    Call("ppoll"),
    Call("restart_syscall"),
    Call("sched_yield"),
    # itself
    Call("exit_group"),
    Call("getpid"),
    Call("rt_sigreturn"),
    # descriptors
    Call("close", (End.ARRIVED,)),
    Call("read", (End.BELL,)),
    Call("recvfrom", (End.LANES, End.KEYS_IN)),
    Call("recvmsg", (End.GUARDIAN,)),
    Call("sendto", (End.GUARDIAN, End.LANES, End.KEYS_OUT, End.SYSLOG), (TO_NOBODY,)),
    Call("write", (End.OUTPUT, End.RINGS)),
    # a trace, while somebody wants one
    Call("getsockname", (End.ARRIVED,)),
    Call("sendto", (End.ARRIVED,), (TO_NOBODY,)),
)

HANDING_OVER = Call("sendmsg", (End.GUARDIAN,))
"""How a listener reaches the guardian, who can answer nothing before (``--sandbox=log``)."""

_READING_SECRETS = (
    Call("openat", tests=(FOR_READING,)),
    Call("fstat", (End.ARRIVED,)),
    Call("geteuid"),
    Call("newfstatat"),
    Call("stat"),
    Call("readv", (End.ARRIVED,)),
)
"""Only below the directories that Landlock leaves open."""

REPLACING_FILES = (
    Call("openat", tests=(A_NEW_FILE,)),
    Call("write", (End.ARRIVED,)),
    Call("fsync", (End.ARRIVED,)),
    Call("rename"),
    Call("renameat"),
    Call("renameat2"),
    Call("unlink"),
    Call("unlinkat"),
)
"""For a keeper whose tunnels have secrets from ambries, or a remembrance, and a liturgy that has
one; by Landlock only in their directories."""

_CARRYING = (
    Call("pread64", (End.TIMES,)),
    Call("sched_setscheduler", tests=(OF_ITSELF, AS_BATCH_JOB)),
    Call("sched_setscheduler", tests=(OF_ITSELF, AS_ANYBODY)),
)
"""For who is a batch job, except on a crowded machine."""

DUTIES: dict[str, tuple[Call, ...]] = {
    "bless": _CARRYING,
    "confess": _CARRYING,
    "heaven-rx": (
        *_CARRYING,
        Call("readv", (End.ARRIVED,)),
        Call("recvmsg", (End.ARRIVED,)),  # a packet socket for TAP: VLAN tags come apart
    ),
    "heaven-tx": (*_CARRYING, Call("writev", (End.ARRIVED,))),
    "purgatory-rx": (
        *_CARRYING,
        Call("getsockopt", (End.ARRIVED,)),
        Call("recvmsg", (End.ARRIVED,)),
    ),
    "purgatory-tx": (
        *_CARRYING,
        Call("getsockopt", (End.ARRIVED,)),
        Call("sendmmsg", (End.ARRIVED,)),
        Call("sendmsg", (End.ARRIVED,)),
        Call("sendto", (End.ARRIVED,)),
    ),
    "chapel": (
        *_READING_SECRETS,
        Call("pread64", (End.ARRIVED,)),  # the peer's last addresses
        Call("pwrite64", (End.ARRIVED,)),
    ),
    "liturgy": (
        *_READING_SECRETS,
        Call("getsockopt", (End.ARRIVED,)),
        Call("recvfrom", (End.ARRIVED,)),
        Call("sendto", (End.ARRIVED,)),
    ),
    "pilgrim": _READING_SECRETS,
    "shrine": _READING_SECRETS,
    "cathedral": (
        *_READING_SECRETS,
        Call("lstat"),
        Call("getsockopt", (End.ARRIVED,)),
        Call("recvmsg", (End.ARRIVED,)),
        Call("sendmmsg", (End.ARRIVED,)),
        Call("sendmsg", (End.ARRIVED,)),
        Call("sendto", (End.ARRIVED,)),
    ),
    "control": (
        Call("getsockopt", (End.ARRIVED,)),
        Call("accept4", (End.ARRIVED,)),
        Call("ioctl", (End.ARRIVED,), (NONBLOCKING,)),
        Call("recvfrom", (End.ARRIVED,)),
        Call("recvmsg", (End.ARRIVED,)),
        Call("sendmsg", (End.ARRIVED, End.GUARDIAN)),  # with what the other of the two passed
        Call("sendto", (End.ARRIVED,)),
    ),
}

LOOKING_UP = (
    # memory, also for modules of the C library
    *map(Call, ("brk", "madvise", "mmap", "mprotect", "mremap", "munmap")),
    # threads
    Call("clone", tests=(A_THREAD,)),
    *map(Call, ("exit", "exit_group", "futex", "gettid", "rseq", "sched_yield")),
    *map(Call, ("sched_getaffinity", "set_robust_list", "rt_sigaction", "rt_sigprocmask")),
    *map(Call, ("rt_sigreturn", "sigaltstack", "restart_syscall")),
    Call("prlimit64", tests=(OF_ITSELF,)),
    # time, waiting, randomness, who it is
    *map(Call, ("clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "time")),
    *map(Call, ("poll", "ppoll", "select", "pselect6", "getrandom")),
    *map(Call, ("getpid", "getuid", "geteuid", "getgid", "getegid", "uname")),
    # files, which Landlock chooses
    Call("openat", tests=(FOR_READING,)),
    Call("open", tests=(FOR_READING._replace(argument=1),)),
    *map(Call, ("close", "read", "readv", "pread64", "lseek", "write")),
    *map(Call, ("fstat", "lstat", "newfstatat", "stat", "statx")),
    # the network
    *(Call("socket", tests=(Test(0, _INT, family, word),)) for family, word in _FAMILIES),
    *map(Call, ("bind", "connect", "getpeername", "getsockname", "getsockopt", "setsockopt")),
    *map(Call, ("recvfrom", "recvmsg", "sendmmsg", "sendmsg", "sendto")),
    Call("ioctl", tests=(HOW_MUCH,)),
)
"""For the process that looks names up. It is nobody's neighbour, so what isn't here is refused, and
kills nothing: modules that a system added to the C library may try a lot. The point is what is not
here: unix sockets, which Landlock leaves open to whoever has our user; modes and owners of files,
which it leaves to him, too; signals, programs, processes."""

REFUSED = (
    *("access", "faccessat", "faccessat2"),
    *("open", "openat", "openat2", "creat", "readlink", "readlinkat"),
    *("stat", "lstat", "fstat", "newfstatat", "statx", "statfs", "fstatfs"),
    *("getcwd", "chdir", "fchdir", "getdents64", "lseek", "fcntl", "ioctl"),
    *("unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir"),
    *("link", "linkat", "symlink", "symlinkat", "truncate", "ftruncate"),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat"),
    *("socket", "socketpair", "connect", "bind", "listen"),
)
"""Answered EPERM. What is on a process's own list is left out: there another use of it kills."""

GUARDIAN_KILLED = (
    *("execve", "execveat"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"),
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup"),
    *("io_uring_enter", "io_uring_register"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"),
    *("add_key", "request_key", "keyctl"),
    *("mount", "umount2", "pivot_root", "chroot", "fsopen", "fsmount", "move_mount", "open_tree"),
    *("mount_setattr", "open_by_handle_at", "swapon", "swapoff", "acct", "quotactl"),
    *(
        "settimeofday",
        "clock_settime",
        "adjtimex",
        "clock_adjtime",
        "sethostname",
        "iopl",
        "ioperm",
    ),
)
"""The guardian opens what tunnels need, in ways that depend on libraries and kernel: so it has a
list of what it never needs, instead of one of what it does."""


def allowed_to(duty: str, *, replaces_files: bool = False) -> tuple[Call, ...]:
    """The calls that the process with this duty may make."""
    return (*EVERYBODY, *DUTIES[duty], *(REPLACING_FILES if replaces_files else ()))


def refused_to(duty: str, *, replaces_files: bool = False) -> tuple[str, ...]:
    """The calls that the process with this duty is refused."""
    own = {call.name for call in allowed_to(duty, replaces_files=replaces_files)}
    return tuple(name for name in REFUSED if name not in own)
