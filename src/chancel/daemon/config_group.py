"""Checks over the files of one group: tunnels that are carried by the same processes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations, product

from chancel.daemon import places
from chancel.daemon.config_directives import ANY, ANY6, user_exists
from chancel.daemon.config_lines import quoted
from chancel.daemon.config_secret import check_owner
from chancel.daemon.config_types import KEEPER, PROCESSES, TunnelConfig
from chancel.daemon.config_values import Refused
from chancel.daemon.config_written import check_written
from chancel.wire.types import Address


def check(configs: Sequence[TunnelConfig]) -> None:
    """Both checks, the second where it matters: for the machine's root. Raises ConfigError."""
    check_group(configs)
    if places.is_machine_root():
        check_users(configs)


def check_group(configs: Sequence[TunnelConfig]) -> None:
    """Refuse files that can't share a group; raises :class:`ConfigError` naming two of them."""
    for earlier, later in combinations(configs, 2):
        _check_modes(earlier, later)
        _check_accelerator(earlier, later)
        _check_users_agree(earlier, later)
        _check_sockets(earlier, later)
        _check_networks(earlier, later)
    for directive, key in _UNIQUE:
        _check_unique(configs, directive, key)
    check_written(configs)


def check_users(configs: Iterable[TunnelConfig]) -> None:
    """Refuse files that don't name an existing user for each process; only root needs them.

    One of these has to be able to read the secret.
    """
    for config in configs:
        for process in PROCESSES[config.mode]:
            user = config.run_as.get(process)
            if user is None:
                problem = f"no user for {process} (expected a line: run {process} as USER)"
                raise config.refusal("run", problem, key=f"run {process}")
            if not user_exists(user):
                problem = f"user {quoted(user)} does not exist (expected the name of a user)"
                raise config.refusal("run", problem, key=f"run {process}")
        _check_secrets(config)


def _check_secrets(config: TunnelConfig) -> None:
    keeper = KEEPER[config.mode]
    for directive, path, _size in config.key_files:
        try:
            check_owner(path, keeper, config.run_as[keeper])
        except Refused as refused:
            raise config.refusal(directive, str(refused)) from None


_UNIQUE: tuple[tuple[str, Callable[[TunnelConfig], Hashable | None]], ...] = (
    ("instance", lambda config: config.instance),
    ("pidfile", lambda config: config.pidfile),
    ("control", lambda config: config.control and config.control.path),
)
"""Directives whose values name something on this machine, so that no two files can share one."""


def _check_unique(
    configs: Sequence[TunnelConfig],
    directive: str,
    key: Callable[[TunnelConfig], Hashable | None],
) -> None:
    seen: dict[Hashable, TunnelConfig] = {}
    for config in configs:
        value = key(config)
        if value is None:
            continue
        if value in seen:
            other = seen[value].place(directive)
            problem = f"{quoted(str(value))} is taken by {other} (expected one of its own)"
            raise config.refusal(directive, problem)
        seen[value] = config


def _check_modes(earlier: TunnelConfig, later: TunnelConfig) -> None:
    """A group has the processes of one mode, so that a one-way end has no way back at all."""
    if earlier.mode is not later.mode:
        place = earlier.place("mode")
        problem = (
            f"{later.mode} can't share processes with {earlier.mode} in {place}"
            " (expected one mode, or a group of its own)"
        )
        raise later.refusal("mode", problem)


def _check_accelerator(earlier: TunnelConfig, later: TunnelConfig) -> None:
    """The processes decide it before they know any tunnel."""
    if earlier.accelerator != later.accelerator:
        words = {True: "on", False: "off"}
        problem = (
            f"{words[later.accelerator]} here and {words[earlier.accelerator]} in"
            f" {earlier.place('accelerator')} (expected one word, or a group of its own)"
        )
        raise later.refusal("accelerator", problem)


def _check_users_agree(earlier: TunnelConfig, later: TunnelConfig) -> None:
    for process in PROCESSES[earlier.mode]:
        one, other = earlier.run_as.get(process), later.run_as.get(process)
        if one != other and one is not None and other is not None:
            key = f"run {process}"
            problem = (
                f"{process} runs as {quoted(other)} here and as {quoted(one)} in"
                f" {earlier.place(key)} (expected one user, or a group of its own)"
            )
            raise later.refusal("run", problem, key)


_ANYWHERE = frozenset({ANY.host, ANY6.host})


def _same_socket(one: Address, other: Address) -> bool:
    hosts = {one.host, other.host}
    return one.port == other.port != 0 and (len(hosts) == 1 or not hosts.isdisjoint(_ANYWHERE))


def _check_sockets(earlier: TunnelConfig, later: TunnelConfig) -> None:
    if _same_socket(earlier.local, later.local):
        problem = (
            f"{later.local} is taken by {earlier.local} of {earlier.place('local')}"
            " (expected another address or port)"
        )
        raise later.refusal("local", problem)


def _check_networks(earlier: TunnelConfig, later: TunnelConfig) -> None:
    for mine, theirs in product(later.networks, earlier.networks):
        if mine.version == theirs.version and mine.overlaps(theirs):
            directive = "tunnel" if mine.version == 4 else "tunnel6"
            place = earlier.place(directive)
            problem = f"{mine} overlaps with {theirs} of {place} (expected another network)"
            raise later.refusal(directive, problem)
    for route in later.routes:
        if route in earlier.routes:
            key = f"route {route}"
            problem = f"{route} is routed by {earlier.place(key)} (expected one tunnel for it)"
            raise later.refusal("route", problem, key)
