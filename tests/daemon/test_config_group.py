"""Files that start together: what they may share and what they may not."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from chancel.daemon.config import TunnelConfig, check_group, check_users, parse
from chancel.daemon.config_types import PROCESSES, Mode
from chancel.errors import ConfigError

ME = pwd.getpwuid(os.geteuid()).pw_name

Make = Callable[..., TunnelConfig]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(32))
    secret.chmod(0o600)

    def config(number: int, *lines: str, instance: str | None = None) -> TunnelConfig:
        text = [
            f"instance {instance or f't{number}'}",
            f"secret {secret}",
            f"tunnel 10.{number}.0.1/24 auto",
            *lines,
        ]
        return parse("\n".join(text), f"{number}.conf")

    return config


def refusal(*configs: TunnelConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        check_group(configs)
    return str(caught.value)


def test_many_tunnels(make: Make) -> None:
    users = [f"run {process} as {ME}" for process in PROCESSES[Mode.TUNNEL]]
    check_group([make(number, f"local 0.0.0.0:{4000 + number}", *users) for number in range(16)])


def test_ports_chosen_by_the_system_never_clash(make: Make) -> None:
    check_group([make(1), make(2, "local 0.0.0.0:0")])


@pytest.mark.parametrize(
    ("earlier", "later", "message"),
    [
        (
            "run bless as root",
            "run bless as nobody",
            "2.conf:4: run: bless runs as 'nobody' here and as 'root' in 1.conf:4"
            " (expected one user, or a group of its own)",
        ),
        (
            "accelerator off",
            "accelerator on",
            "2.conf:4: accelerator: on here and off in 1.conf:4"
            " (expected one word, or a group of its own)",
        ),
        (
            "descr silent",
            "accelerator off",
            "2.conf:4: accelerator: off here and on in 1.conf"
            " (expected one word, or a group of its own)",
        ),
        (
            "local 192.0.2.1:5",
            "local 192.0.2.1:5",
            "2.conf:4: local: 192.0.2.1:5 is taken by 192.0.2.1:5 of 1.conf:4"
            " (expected another address or port)",
        ),
        (
            "local 0.0.0.0:5",
            "local 192.0.2.1:5",
            "2.conf:4: local: 192.0.2.1:5 is taken by 0.0.0.0:5 of 1.conf:4"
            " (expected another address or port)",
        ),
        (
            "pidfile /run/x",
            "pidfile /run/x",
            "2.conf:4: pidfile: '/run/x' is taken by 1.conf:4 (expected one of its own)",
        ),
        (
            "control /run/x root",
            "control /run/x nobody",
            "2.conf:4: control: '/run/x' is taken by 1.conf:4 (expected one of its own)",
        ),
        (
            "route 10.9.0.0/24",
            "route 10.9.0.0/24",
            "2.conf:4: route: 10.9.0.0/24 is routed by 1.conf:4 (expected one tunnel for it)",
        ),
        (
            "tunnel 10.8.0.1/16 auto",
            "tunnel 10.8.9.1/24 auto",
            "2.conf:4: tunnel: 10.8.9.0/24 overlaps with 10.8.0.0/16 of 1.conf:4"
            " (expected another network)",
        ),
        (
            "tunnel6 fd00::1/48",
            "tunnel6 fd00::2/64",
            "2.conf:4: tunnel6: fd00::/64 overlaps with fd00::/48 of 1.conf:4"
            " (expected another network)",
        ),
        (
            "local [::]:5",
            "local 192.0.2.1:5",
            "2.conf:4: local: 192.0.2.1:5 is taken by [::]:5 of 1.conf:4"
            " (expected another address or port)",
        ),
        (
            "mode tunnel",
            "mode shrine\ntunnel 10.9.9.1/24 1400",
            "2.conf:4: mode: shrine can't share processes with tunnel in 1.conf:4"
            " (expected one mode, or a group of its own)",
        ),
        (
            "instance same",
            "instance same",
            "2.conf:4: instance: 'same' is taken by 1.conf:4 (expected one of its own)",
        ),
    ],
)
def test_clashes_name_both_files(make: Make, earlier: str, later: str, message: str) -> None:
    assert refusal(make(1, earlier), make(2, later)) == message


def test_users_of_processes_that_do_not_run_here_may_differ(make: Make) -> None:
    check_group([make(1, "run cathedral as root"), make(2, "run cathedral as nobody")])


def test_root_needs_users_for_the_processes_of_the_mode_alone(make: Make) -> None:
    users = [f"run {process} as {ME}" for process in PROCESSES[Mode.SHRINE]]
    check_users([make(1, "mode shrine", "tunnel 10.1.0.1/24 1400", *users)])


def test_root_needs_a_user_for_each_process(make: Make) -> None:
    users = [f"run {process} as {ME}" for process in PROCESSES[Mode.TUNNEL]]
    check_users([make(1, *users)])
    with pytest.raises(ConfigError) as missing:
        check_users([make(1, *users[:-1])])
    assert str(missing.value) == (
        "1.conf: run: no user for chapel (expected a line: run chapel as USER)"
    )
    with pytest.raises(ConfigError) as unknown:
        check_users([make(1, *users[:-1], "run chapel as no.such.user")])
    assert str(unknown.value) == (
        "1.conf:11: run: user 'no.such.user' does not exist (expected the name of a user)"
    )


def test_the_secret_belongs_to_the_user_who_reads_it(make: Make, tmp_path: Path) -> None:
    users = [f"run {process} as {ME}" for process in PROCESSES[Mode.TUNNEL][:-1]]
    other = "nobody" if ME == "root" else "root"
    with pytest.raises(ConfigError) as unreadable:
        check_users([make(1, *users, f"run chapel as {other}")])
    assert str(unreadable.value) == (
        f"1.conf:2: secret: '{tmp_path}/secret' can't be read by chapel, which runs as {other}"
        f" (expected its own file: chown {other} {tmp_path}/secret)"
    )
