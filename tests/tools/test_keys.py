"""Key files: what is made, where, for whom; and every file that is refused."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from chancel.crypto.ed25519 import sign, verify_untrusted
from chancel.crypto.kdf_ambry import derived_kek
from chancel.errors import VaultError
from chancel.tools.ambry import keys
from chancel.tools.ambry.folder import Folder, held
from chancel.wire.ambry import DEVICES
from chancel.wire.types import Flocks
from tests.tools.playing import FLOCK, OTHER, SUITE, quiet

NAMES = [f"kek-0x{device:02x}" for device in range(1, 256)]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(action: object, path: Path, reason: str) -> None:
    assert callable(action)
    with pytest.raises(VaultError, match=re.escape(str(path))) as caught:
        action()
    assert reason in str(caught.value)


def load(root: Path) -> None:
    keys.load_derived(Folder(root, FLOCK), FLOCK, SUITE)


def test_generate_makes_the_references_files(made: Path) -> None:
    folder = made / "00000000cafeba00"
    assert names(folder) == ["external", "internal", "kek-data"]
    assert names(folder / "kek-data") == names(folder / "internal") == NAMES
    assert names(folder / "external") == ["00000000deadbe00"]
    assert {mode(path) for path in folder.rglob("*") if path.is_dir()} == {0o700}
    assert {mode(path) for path in folder.rglob("kek-*") if path.is_file()} == {0o400}
    secrets = [path.read_bytes() for path in folder.rglob("kek-0x*")]
    assert {len(secret) for secret in secrets} == {32}
    assert len(set(secrets)) == 3 * len(DEVICES)


def test_derived_keys_are_those_of_the_device(made: Path) -> None:
    folder = Folder(made, FLOCK)
    for other in (FLOCK, OTHER):
        expected = derived_kek(SUITE, folder.device(5).read_bytes(), Flocks(FLOCK, other))
        assert (folder.derived(other) / "kek-0x05").read_bytes() == expected


def test_a_flock_is_generated_once(root: Path) -> None:
    before = sorted((path, path.read_bytes()) for path in root.rglob("kek-0x*"))
    folder = Folder(root, FLOCK)
    refused(lambda: keys.generate(folder, SUITE, quiet), folder.path, "exists, and is kept")
    assert sorted((path, path.read_bytes()) for path in root.rglob("kek-0x*")) == before
    assert names(root) == ["00000000cafeba00", "00000000deadbe00"]


def test_an_export_is_made_once_and_not_for_oneself(root: Path) -> None:
    folder = Folder(root, FLOCK)
    refused(lambda: keys.export(folder, OTHER, SUITE, quiet), folder.derived(OTHER), "exists")
    refused(lambda: keys.export(folder, FLOCK, SUITE, quiet), folder.path, "no export for itself")


def test_renewing_changes_one_device(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("kek-0x*")}
    keys.renew(Folder(root, FLOCK), 0xFF, SUITE)
    after = {path: path.read_bytes() for path in root.rglob("kek-0x*")}
    flock = root / "00000000cafeba00"
    changed = {path for path in before if before[path] != after.get(path)}
    assert changed == {flock / "kek-data/kek-0xff", flock / "internal/kek-0xff"}
    assert set(after) == set(before)
    assert {mode(path) for path in changed} == {0o400}
    load(root)  # one belongs to the other


def test_keys_of_nobody_are_not_renewed(tmp_path: Path) -> None:
    folder = Folder(tmp_path, FLOCK)
    refused(lambda: keys.renew(folder, 1, SUITE), folder.path, "chancel ambry generate cafeba00")
    assert list(tmp_path.iterdir()) == []


def test_a_renewed_device_has_to_be_exported_again(root: Path) -> None:
    folder = Folder(root, FLOCK)
    keys.renew(folder, 5, SUITE)
    stale = folder.derived(OTHER) / "kek-0x05"
    remedy = "away, then chancel ambry export cafeba00 deadbe00"
    refused(lambda: keys.load_derived(folder, OTHER, SUITE), stale, remedy)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "doesn't exist"),
        (lambda path: path.write_bytes(bytes(31)), "has 31 bytes, needs 32"),
        (lambda path: path.write_bytes(b""), "has 0 bytes, needs 32"),
        (lambda path: path.write_bytes(bytes(33)), "has 33 bytes, and a key 32"),
        (lambda path: path.chmod(0o440), "others have rights to it (mode 0440)"),
        (lambda path: path.write_bytes(bytes(32)), "chancel ambry renew cafeba00 7"),
        (lambda path: path.rename(path.with_name("x")) and path.symlink_to("x"), "symbolic link"),
    ],
    ids=["gone", "short", "empty", "long", "readable", "foreign", "link"],
)
@pytest.mark.parametrize("part", ["internal", "kek-data"])
def test_a_bad_key_file_is_refused_by_name(
    root: Path, part: str, spoil: object, reason: str
) -> None:
    path = root / "00000000cafeba00" / part / "kek-0x07"
    path.chmod(0o600)
    assert callable(spoil)
    spoil(path)
    if part == "kek-data" and reason == "doesn't exist":
        load(root)  # as it is with who got exported keys only
    else:
        refused(lambda: load(root), path, reason)


def test_two_programs_do_not_change_keys_at_once(root: Path) -> None:
    folder = Folder(root, FLOCK)
    with folder.held(to_change=True):
        refused(lambda: keys.renew(folder, 1, SUITE), folder.path, "another chancel ambry")
    with held(root, Flocks(OTHER, FLOCK), to_change=False):
        refused(lambda: keys.renew(folder, 1, SUITE), folder.path, "another chancel ambry")
        with held(root, Flocks(FLOCK, FLOCK), to_change=False):  # reading doesn't exclude reading
            pass
    keys.renew(folder, 1, SUITE)


def test_a_cosk_pair_signs(tmp_path: Path) -> None:
    private, public = tmp_path / "cosk", tmp_path / "cosk.pub"
    keys.cosk_pair(private, public)
    assert (mode(private), mode(public)) == (0o400, 0o400)
    secret, shown = private.read_bytes(), public.read_bytes()
    assert (len(secret), secret[32:]) == (64, shown)
    assert verify_untrusted(shown, b"offer", sign(secret[:32], b"offer"))


@pytest.mark.parametrize("taken", ["cosk", "cosk.pub"])
def test_no_half_of_a_cosk_pair(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_bytes(b"old")
    pair = tmp_path / "cosk", tmp_path / "cosk.pub"
    refused(lambda: keys.cosk_pair(*pair), tmp_path / taken, "exists, and is kept")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(taken, b"old")]
