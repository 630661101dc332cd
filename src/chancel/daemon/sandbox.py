"""The last step before a process of the group serves: what it can do from now on, and no more.

Landlock takes the file system, TCP and other processes away, a filter every system call that isn't
on the process's list (``sandbox_calls``), and no module is imported any more. Neither can be taken
off again. The guardian, which goes on opening devices and sockets, gives up less.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import tokenize  # noqa: F401 - which tracebacks import when they are printed
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from chancel.daemon import (
    device_tun,
    landlock,
    linux,
    places,
    sandbox_compiler,
    sandbox_filter,
)
from chancel.daemon.config_liturgy import LiturgyConfig
from chancel.daemon.config_types import KEEPER, LITURGY, TunnelConfig
from chancel.daemon.linux import MachineError
from chancel.daemon.sandbox_filter import Program
from chancel.daemon.sandbox_mode import Sandbox
from chancel.daemon.topology import WIRED_FROM, End

DESCRIPTORS = 1024
"""What the numbers of the wiring need; the usual soft limit."""

READERS = frozenset({*KEEPER.values(), "cathedral"})
"""Processes that read files while they serve: secrets, and a cathedral's settings."""

log = logging.getLogger("chancel.daemon")


class Plan(NamedTuple):
    """What the guardian found out before it forked."""

    mode: Sandbox
    landlock: int
    """The version in force; 0 for none."""
    secrets: tuple[str, ...]
    """Directories with secrets, which the keeper alone may read."""
    replaced: tuple[str, ...] = ()
    """Directories in which it replaces files, in any mode."""
    asking: tuple[str, ...] = ()
    """Those with what a liturgy asks a cathedral with, which that process may read."""
    remembered: tuple[str, ...] = ()
    """Those in which it replaces files."""

    def readable_to(self, name: str) -> tuple[str, ...]:
        """Directories that the process with this duty may read files of."""
        if name == LITURGY:
            return (*self.asking, *self.remembered)
        return self.secrets if name in READERS else ()

    def replaceable_by(self, name: str) -> tuple[str, ...]:
        """Directories in which it replaces files."""
        if name == LITURGY:
            return self.remembered
        return self.replaced if name in KEEPER.values() else ()

    def in_force(self) -> dict[str, Any]:
        """What ``chancel status`` shows."""
        return {"sandbox": str(self.mode), "landlock": self.landlock}

    def check(self, config: TunnelConfig) -> None:
        """Refuse a tunnel whose secrets the running keeper can't read, or whose files it can't
        replace. Raises ConfigError.
        """
        beyond = {*_directories([config])} - {*self.secrets}
        if self.landlock and beyond:
            raise config.refusal(
                "secret",
                f"{min(beyond)} is closed to the group that runs"
                f" (expected a file in {' or '.join(self.secrets)}; or run a group of its own)",
            )
        is_limited = self.landlock or (self.mode is Sandbox.ON and not self.replaced)
        for directive, path in config.written_files if is_limited else ():
            directory = os.path.realpath(path.parent)
            if directory not in self.replaced:
                raise config.refusal(
                    directive,
                    f"the group that runs can't replace files in {directory}"
                    " (expected a group of its own)",
                )


def prepare(mode: Sandbox, configs: Sequence[TunnelConfig]) -> Plan:
    """See what the machine has, before the fork. Raises :class:`MachineError`."""
    plan = prepare_reading(mode, _directories(configs))
    for config in configs if places.is_machine_root() else ():
        _warn_of_keeper(config)
    return plan._replace(replaced=_replaced(configs))


def prepare_liturgy(mode: Sandbox, config: LiturgyConfig) -> Plan:
    """The same for a liturgy, which has two processes that read files. Raises MachineError."""
    keys = [path for _directive, path, _size in config.cathedral.key_files]
    plan = prepare_reading(mode, _parents([*keys, config.secretdir / "secret"]))
    asked = [path for _directive, path, _size in config.asking_files]
    table = config.cathedral.remembrance
    return plan._replace(
        replaced=_parents([config.secretdir / "secret"]),
        asking=_parents(asked),
        remembered=() if table is None else _parents([table]),
    )


def prepare_reading(mode: Sandbox, directories: Sequence[str]) -> Plan:
    """As :func:`prepare`; the keeper may read below these directories, and nowhere else."""
    _allow_descriptors()
    if mode is Sandbox.OFF:
        log.warning("no sandbox: processes keep all system calls and files of their users")
        return Plan(mode, 0, ())
    if mode is Sandbox.LOG:
        log.warning("no sandbox: calls that it would stop are logged")
        return Plan(mode, 0, ())
    version = landlock.abi()
    if not version:
        log.warning("this kernel has no Landlock: files are closed by system call filters alone")
    return Plan(mode, version, tuple(directories))


def programs(plan: Plan, ends: Mapping[str, Mapping[End, Sequence[int]]]) -> dict[str, Program]:
    """The filters of the processes with these ends, and the guardian's; none in the mode ``off``.

    Raises :class:`MachineError` where there is no libseccomp, or a kernel without filters.
    """
    if plan.mode is Sandbox.OFF:
        return {}
    replacing = tuple(name for name in ends if plan.replaceable_by(name))
    return sandbox_compiler.programs(ends, report=plan.mode is Sandbox.LOG, replacing=replacing)


def seal(name: str, program: Program | None, plan: Plan, listen: Callable[[int], None]) -> None:
    """Close the process with duty ``name`` in, for good. Raises OSError.

    ``listen`` takes the descriptor on which calls are reported, in the mode ``log``.
    """
    if program is None:
        return
    report = plan.mode is Sandbox.LOG
    if not report:
        _seal_imports()
    if plan.landlock:
        readable, replaced = plan.readable_to(name), plan.replaceable_by(name)
        for missing in landlock.restrict(plan.landlock, readable, replaced):
            log.warning("directory of secrets can't be opened path=%s", missing)
    listener = sandbox_filter.load(program, report=report)
    if listener is not None:
        listen(listener)


GUARDIANS_RIGHTS = frozenset(
    {linux.CAP_NET_ADMIN, linux.CAP_NET_BIND_SERVICE, linux.CAP_CHOWN, linux.CAP_KILL}
)
"""What adding a tunnel needs (devices, addresses, sockets, their owners), and CAP_KILL: without it
neither the guardian nor its death could end processes of other users."""


def confine_guardian(
    plan: Plan, program: Program | None, rights: frozenset[int] = GUARDIANS_RIGHTS
) -> None:
    """What the guardian gives up once the group runs: all but these ``rights``. Raises OSError."""
    kept = set(rights)
    if linux.CAP_NET_ADMIN in kept and not os.access(device_tun.CLONE_DEVICE, os.R_OK | os.W_OK):
        kept |= {linux.CAP_NET_RAW, linux.CAP_SYS_ADMIN}  # veth pairs, one end in another network
    linux.keep_capabilities(kept)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if program is not None and plan.mode is Sandbox.ON:
        sandbox_filter.load(program)


class _Sealed:
    """The one finder that is left: it finds nothing, and says why."""

    def find_spec(self, name: str, *_where: object) -> NoReturn:
        """Refuse, so that an import is no question to the file system."""
        raise ModuleNotFoundError(f"{name}: nothing is imported in a sandbox", name=name)


def _seal_imports() -> None:
    """No other finder is asked. What they remember stays: to free it would copy a MB of pages."""
    sys.meta_path[:] = [_Sealed()]
    sys.path_hooks.clear()


def _directories(configs: Sequence[TunnelConfig]) -> tuple[str, ...]:
    """Where the secrets of some tunnels are. A file may be replaced, so they are directories."""
    return _parents([file for each in configs for _directive, file, _size in each.key_files])


def _warn_of_keeper(config: TunnelConfig) -> None:
    """What root reads at the next start says whom processes become, and what they may see."""
    keeper = KEEPER[config.mode]
    if config.run_as.get(keeper) == "root":
        return
    own = os.path.realpath(Path(config.file).parent)
    if own in _replaced([config]):
        log.warning(
            "who took %s over could replace the configuration file=%s"
            " (expected what it replaces in a directory of its own)",
            keeper,
            config.file,
        )


def _replaced(configs: Sequence[TunnelConfig]) -> tuple[str, ...]:
    """Where the files are that the keeper replaces."""
    return _parents([file for each in configs for _directive, file in each.written_files])


def _parents(files: Sequence[Path]) -> tuple[str, ...]:
    return tuple(sorted({os.path.realpath(file.parent) for file in files}))


def _allow_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
        if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
            raise MachineError(
                f"at most {hard} descriptors are allowed here (expected {DESCRIPTORS} or more:"
                f" ulimit -n {DESCRIPTORS}), of which {WIRED_FROM} are for tunnels"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
