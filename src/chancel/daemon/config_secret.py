"""The file that holds a tunnel's shared secret, looked at from outside.

The guardian parses configurations and must never hold a secret, so the file is examined without
being opened. The process that makes keys opens it, through ``chancel.vault``, and checks again.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import stat
from pathlib import Path

from chancel.daemon.config_lines import quoted
from chancel.daemon.config_values import Refused

MAX_PATH_CHARS = 4096
"""Longer paths don't exist; an error repeats all of one that could."""

_MADE = "expected a file made by `chancel keygen`"


def check_secret(
    path: Path, keeper_user: str | None, size: int = 32, *, may_lack: bool = False
) -> None:
    """Raise :class:`Refused`, with the remedy, unless the file can hold a secret of ours.

    Its owner may be root, this user, or ``keeper_user``, as whom the process that makes keys runs.
    ``size`` is in bytes; ``may_lack``: the file need not exist, but its directory.
    """
    shown = quoted(str(path), MAX_PATH_CHARS)
    try:
        directory_mode = path.parent.stat().st_mode
        _refuse_open_directory(shown, directory_mode)
        found = path.lstat()
    except OSError as error:
        if may_lack and isinstance(error, FileNotFoundError) and path.parent.is_dir():
            return
        raise Refused(f"{shown}: {error.strerror} ({_remedy(error, path, _MADE)})") from None
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
    if found.st_size < size:
        raise Refused(f"{shown} has {found.st_size} bytes (expected at least {size})")


def check_owner(path: Path, process: str, user: str) -> None:
    """Raise :class:`Refused` unless the file is the user's own, as whom ``process`` runs.

    It has no privileges when it reads it. One that has yet to come, as an ambry, will be the
    user's.
    """
    try:
        if path.lstat().st_uid == pwd.getpwnam(user).pw_uid:
            return
    except FileNotFoundError:
        return
    raise Refused(
        f"{quoted(str(path), MAX_PATH_CHARS)} can't be read by {process}, which runs as {user}"
        f" (expected its own file: chown {user} {shlex.quote(str(path))})"
    )


def check_replaceable(path: Path, keeper_user: str | None, size: int | None = None) -> None:
    """Raise :class:`Refused` unless the keeper can put another file in this one's place.

    ``keeper_user`` is ``None`` for a keeper that runs as we do. The file need not exist; if it does
    it has ``size`` bytes, where that is given, or none: any other is somebody else's.
    """
    shown = quoted(str(path), MAX_PATH_CHARS)
    directory = path.parent
    try:
        found = directory.stat()
        _refuse_open_directory(shown, found.st_mode)
        with contextlib.suppress(FileNotFoundError):
            existing = path.lstat()
            if not stat.S_ISREG(existing.st_mode):
                raise Refused(f"{shown} is not a regular file (expected one, or none yet)")
            if size is not None and existing.st_size not in (0, size):
                raise Refused(
                    f"{shown} has {existing.st_size} bytes and would be replaced (expected a file"
                    f" of {size} that a cathedral told of, or none yet)"
                )
    except OSError as error:
        remedy = _remedy(error, path, "expected an existing directory")
        raise Refused(f"{shown}: {error.strerror} ({remedy})") from None
    except ValueError:
        raise Refused(f"{shown} is no path (expected one in a directory of your own)") from None
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        raise Refused(
            f"{quoted(str(directory), MAX_PATH_CHARS)} can't be written to, and this file is"
            " replaced (expected another one; under systemd a line ReadWritePaths= with it)"
        )
    if not _may_write(directory, found, keeper_user):
        who = "we" if keeper_user is None else f"user {keeper_user}"
        whom = "yourself" if keeper_user is None else keeper_user
        raise Refused(
            f"{who} can't write in {quoted(str(directory), MAX_PATH_CHARS)}, where this file is"
            f" replaced (expected a directory that belongs to {whom})"
        )


def _may_write(directory: Path, found: os.stat_result, user: str | None) -> bool:
    try:
        entry = None if user is None else pwd.getpwnam(user)
    except (KeyError, ValueError):
        return True  # whoever starts it is told that there is no such user
    if entry is None or entry.pw_uid == os.geteuid():
        return os.access(directory, os.W_OK | os.X_OK)
    writing, entering = stat.S_IWUSR, stat.S_IXUSR
    if found.st_uid != entry.pw_uid:
        shift = 3 if found.st_gid == entry.pw_gid else 6
        writing, entering = writing >> shift, entering >> shift
    return bool(found.st_mode & writing and found.st_mode & entering)


def _remedy(error: OSError, path: Path, usual: str) -> str:
    """Once a group runs its guardian has no rights over the directories of other users."""
    if not isinstance(error, PermissionError) or not str(path).isprintable():
        return usual
    return f"expected a directory that we may enter: chmod 711 {shlex.quote(str(path.parent))}"


def _refuse_open_directory(shown: str, mode: int) -> None:
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise Refused(f"everyone can replace {shown} (expected a directory of your own)")


def _trusted_owners(keeper_user: str | None) -> set[int]:
    owners = {0, os.geteuid()}
    if keeper_user is not None:
        try:
            owners.add(pwd.getpwnam(keeper_user).pw_uid)
        except (KeyError, ValueError):
            return owners
    return owners
