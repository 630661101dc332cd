"""``examples/over_ssh.py``: through a local command, and through a real ssh to a real sshd.

sshd serves one connection on its standard streams (``-i``), as our own user and with keys made
here: no network, no account and no configuration of this machine is involved.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.programs import EXAMPLES, Program

EXAMPLE = EXAMPLES / "over_ssh.py"
ROUNDS = 5


@pytest.fixture
def ssh(tmp_path: Path) -> list[str]:
    """The command that logs in to a host named ``far``, up to what is to be run there."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
    client, keygen = shutil.which("ssh"), shutil.which("ssh-keygen")
    if sshd is None or client is None or keygen is None:
        pytest.skip("needs ssh and sshd: sudo apt-get install openssh-client openssh-server")
    user = pwd.getpwuid(os.geteuid())
    if user.pw_shell.endswith(("nologin", "false")):
        pytest.skip(f"needs a user with a shell: sudo usermod --shell /bin/sh {user.pw_name}")
    if user.pw_uid == 0 and not Path("/run/sshd").is_dir():
        pytest.skip("sshd as root needs /run/sshd: mkdir /run/sshd, or test as another user")
    host_key, user_key = _key(keygen, tmp_path / "host"), _key(keygen, tmp_path / "user")
    configuration = tmp_path / "sshd_config"
    configuration.write_text(
        f"HostKey {host_key}\n"
        f"AuthorizedKeysFile {user_key}.pub\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    known = tmp_path / "known_hosts"
    known.write_text(f"far {host_key.with_suffix('.pub').read_text()}")
    options = {
        "ProxyCommand": f"{sshd} -i -f {configuration}",
        "IdentityFile": user_key,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": known,
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [client, "-F", "none", *words, f"{user.pw_name}@far"]


def _key(keygen: str, file: Path) -> Path:
    """A key pair, without a passphrase; the path of its private half."""
    command = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(file)]
    subprocess.run(command, check=True)
    return file


def test_through_a_local_command(key: Path) -> None:
    _check(key, [])


def test_through_ssh(key: Path, ssh: list[str]) -> None:
    _check(key, ssh)


def test_what_ssh_says_is_heard(key: Path, ssh: list[str], tmp_path: Path) -> None:
    (tmp_path / "user.pub").write_text("")
    with Program(EXAMPLE.name, key, "near", *ssh, "true") as near:
        status, output, errors = near.finish()
    assert (status, output) == (1, "")
    assert "Permission denied" in errors
    assert "over_ssh: " in errors


def test_without_a_command_it_explains_itself() -> None:
    with Program(EXAMPLE.name) as near:
        status, _, errors = near.finish()
    assert status == 1
    assert "python over_ssh.py far.key near ssh" in errors


def _check(key: Path, command: list[str]) -> None:
    far = [sys.executable, str(EXAMPLE), str(key), "far"]
    with Program(EXAMPLE.name, key, "near", *command, *far) as near:
        status, output, errors = near.finish()
    assert status == 0, errors
    lines = output.splitlines()
    assert len(lines) == ROUNDS
    assert [line.partition(":")[0] for line in lines] == [str(number) for number in range(ROUNDS)]
    assert all(f": {os.uname().nodename}, after " in line for line in lines)
