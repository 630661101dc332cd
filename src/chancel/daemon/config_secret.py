"""The file that holds a tunnel's shared secret, looked at from outside.

The guardian parses configurations and must never hold a secret, so the file is examined without
being opened. The process that makes keys opens it, through ``chancel.vault``, and checks again.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from pathlib import Path

from chancel.daemon.config_lines import quoted
from chancel.daemon.config_values import Refused

SECRET_BYTES = 32

MAX_PATH_CHARS = 4096
"""Longer paths don't exist; an error repeats all of one that could."""

_MADE = "expected a file made by `chancel keygen`"


def check_secret(path: Path, keeper_user: str | None) -> None:
    """Raise :class:`Refused`, with the remedy, unless the file can hold a secret of ours.

    Its owner may be root, this user, or ``keeper_user``, as whom the process that makes keys runs.
    """
    shown = quoted(str(path), MAX_PATH_CHARS)
    try:
        found = path.lstat()
        directory_mode = path.parent.stat().st_mode
    except OSError as error:
        raise Refused(f"{shown}: {error.strerror} ({_MADE})") from None
    except ValueError:
        raise Refused(f"{shown} is no path ({_MADE})") from None
    if stat.S_ISLNK(found.st_mode):
        raise Refused(f"{shown} is a symbolic link (expected the path of the file itself)")
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{shown} is not a regular file ({_MADE})")
    remedy = f"chmod 600 {shlex.quote(str(path))}" if str(path).isprintable() else "chmod 600"
    if found.st_mode & 0o077:
        raise Refused(f"{shown} is accessible by others (expected mode 0600: {remedy})")
    if not found.st_mode & stat.S_IRUSR:
        raise Refused(f"{shown} can't be read by its own owner (expected mode 0600: {remedy})")
    if found.st_uid not in _trusted_owners(keeper_user):
        raise Refused(f"{shown} belongs to user {found.st_uid} (expected yourself or root)")
    if found.st_size < SECRET_BYTES:
        raise Refused(f"{shown} has {found.st_size} bytes (expected at least {SECRET_BYTES})")
    if directory_mode & stat.S_IWOTH and not directory_mode & stat.S_ISVTX:
        raise Refused(f"everyone can replace {shown} (expected a directory of your own)")


def _trusted_owners(keeper_user: str | None) -> set[int]:
    owners = {0, os.geteuid()}
    if keeper_user is not None:
        try:
            owners.add(pwd.getpwnam(keeper_user).pw_uid)
        except (KeyError, ValueError):
            return owners
    return owners
