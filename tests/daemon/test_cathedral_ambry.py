"""Ambries that a tunnel's cathedrals serve: the keeper opens them, keeps their secrets and uses
them."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from chancel.daemon import replacing
from chancel.vault.ambries import AmbryHistory, beside
from chancel.vault.files import SecretFile
from chancel.vault.secret import Secret
from tests.daemon.registered import End
from tests.protocol.registration_world import FIRST, KEK, PEER, SHARED, Cathedral, ambry


def test_its_secret_is_kept_and_used(home: Path) -> None:
    cathedral = Cathedral(FIRST)
    cathedral.ambry = ambry(7)
    end = End(home, cathedral, kek=str(home / "kek"))
    assert (home / "secret").read_bytes() == SHARED
    assert (home / "secret").stat().st_mode & 0o777 == 0o600
    assert not (home / "secret.new").exists()
    assert (end.board.generation, end.board.ambry_at) == (7, end.now)
    assert end.changes == 1
    assert end.infos[0][1].skips_ambry is False
    end.run(6.0)
    assert end.infos[-1][1].generation == 7
    assert end.changes == 1


def test_the_exchange_waits_for_it(home: Path) -> None:
    (home / "secret").touch(0o600)
    (home / "secret").write_bytes(bytes(32))
    cathedral = Cathedral(FIRST)
    cathedral.peer = PEER
    end = End(home, cathedral, kek=str(home / "kek"))
    end.exchange.path_known(True, end.now)
    end.run(30.0)
    assert end.exchange.datagrams() == []
    cathedral.ambry = ambry(8)
    end.run(6.0)
    assert end.exchange.datagrams() != []


def test_without_any_cathedral_the_secret_of_before_is_used(home: Path) -> None:
    (home / "secret").touch(0o600)
    (home / "secret").write_bytes(bytes(32))
    cathedral = Cathedral(FIRST)
    cathedral.dead = True
    end = End(home, cathedral, kek=str(home / "kek"))
    end.exchange.path_known(True, end.now)
    end.run(12.0)
    assert end.exchange.datagrams() != []


def test_one_that_can_not_be_written_comes_again(home: Path) -> None:
    """A directory stands in the way, as a full disk would."""
    (home / "secret").mkdir()
    cathedral = Cathedral(FIRST)
    cathedral.ambry = ambry(7)
    end = End(home, cathedral, kek=str(home / "kek"))
    assert (end.trouble, end.board.generation, end.changes) == ("ambry-not-kept", 0, 0)
    (home / "secret").rmdir()
    end.run(6.0)
    assert (end.trouble, end.board.generation) == ("", 7)
    assert (home / "secret").read_bytes() == SHARED


def test_which_there_were_is_kept_beside_it(home: Path) -> None:
    cathedral = Cathedral(FIRST)
    for generation in (7, 8):
        cathedral.ambry = ambry(generation)
        End(home, cathedral, kek=str(home / "kek"))
    kept = beside(home / "secret")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert AmbryHistory.decode(kept.read_bytes()).replaced == (7,)
    assert {each.name for each in home.iterdir() if each.suffix == replacing.SUFFIX} == set()


def test_one_that_was_replaced_is_not_taken_after_a_restart(home: Path) -> None:
    cathedral = Cathedral(FIRST)
    for generation in (7, 8):
        cathedral.ambry = ambry(generation)
        End(home, cathedral, kek=str(home / "kek"))
    cathedral.ambry = ambry(7)
    end = End(home, cathedral, kek=str(home / "kek"))
    end.run(20.0)
    assert (end.trouble, end.board.generation) == ("ambry-repeated", 0)
    cathedral.ambry = ambry(8)
    end.run(6.0)
    assert (end.trouble, end.board.generation) == ("", 8)


def test_which_there_were_is_not_believed_of_a_file_that_others_can_change(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is as if there were none, until the next ambry makes one."""
    kept = beside(home / "secret")
    cathedral = Cathedral(FIRST)
    for generation in (7, 8):
        cathedral.ambry = ambry(generation)
        End(home, cathedral, kek=str(home / "kek"))
    kept.chmod(0o620)
    cathedral.ambry = ambry(7)
    end = End(home, cathedral, kek=str(home / "kek"))
    assert end.board.generation == 7
    assert f"ambries can't be recalled tunnel=a error={kept}: others have rights" in caplog.text
    assert kept.stat().st_mode & 0o777 == 0o600


def test_which_there_were_reaches_the_disk_first(home: Path) -> None:
    """A directory stands in the way of it: then the secret is not replaced."""
    beside(home / "secret").mkdir()
    cathedral = Cathedral(FIRST)
    cathedral.ambry = ambry(7)
    end = End(home, cathedral, kek=str(home / "kek"))
    assert (end.trouble, end.board.generation) == ("ambry-not-kept", 0)
    assert not (home / "secret").exists()
    beside(home / "secret").rmdir()
    end.run(6.0)
    assert (end.trouble, end.board.generation) == ("", 7)


def test_without_a_kek_none_are_looked_for(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "kek").touch(0o600)
    beside(home / "secret").mkdir()
    End(home, Cathedral(FIRST))
    assert "ambries" not in caplog.text


def test_one_for_another_kek(home: Path) -> None:
    cathedral = Cathedral(FIRST)
    cathedral.ambry = ambry(7, kek=bytes(32))
    end = End(home, cathedral, kek=str(home / "kek"))
    assert (end.trouble, end.board.generation) == ("ambry-bad-tag", 0)
    assert not (home / "secret").exists()
    assert end.board.cathedral_heard_at == end.now, "it was the cathedral all the same"


def test_a_kek_that_can_not_be_read(home: Path) -> None:
    (home / "kek").touch(0o600)
    (home / "kek").write_bytes(KEK)
    (home / "kek").chmod(0o644)
    cathedral = Cathedral(FIRST)
    cathedral.ambry = ambry(7)
    end = End(home, cathedral, kek=str(home / "kek"))
    assert end.trouble == "kek-unreadable"
    (home / "kek").chmod(0o600)
    end.run(6.0)
    assert (end.trouble, end.board.generation) == ("", 7)


def test_a_disk_that_fills_up_loses_no_secret(home: Path) -> None:
    """In a process with a limit for files: what there is of the secret stays, and is usable."""
    (home / "secret").touch(0o600)
    (home / "secret").write_bytes(bytes(32))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            cathedral = Cathedral(FIRST)
            end = End(home, cathedral, kek=str(home / "kek"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
            cathedral.ambry = ambry(7)
            end.run(6.0)
            status = 0 if end.trouble == "ambry-not-kept" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (home / "secret").read_bytes() == bytes(32)
    assert not (home / f"secret{replacing.SUFFIX}").exists()
    with SecretFile(home / "secret")().reveal() as secret, Secret(bytes(32)).reveal() as zeros:
        assert secret == zeros
