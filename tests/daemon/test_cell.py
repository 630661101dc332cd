"""Cells: what a command in one can see of the machine, and what it says where there can be none."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from chancel.daemon import cell, cell_view, linux, namespaces
from chancel.daemon.linux import MachineError
from tests.daemon.network import InNetwork

RUN, ETC = Path("/run"), Path("/etc")


def a_machine() -> None:
    """Files of a machine for tests to change: ``/run`` and ``/etc`` are ours, nobody else's."""
    linux.unshare(namespaces.CLONE_NEWNS)
    linux.mount("none", Path("/"), "", linux.MS_REC | linux.MS_PRIVATE)
    for path, files in ((RUN, ()), (ETC, ("passwd", "hosts"))):
        copies = {name: (path / name).read_bytes() for name in files}
        linux.mount("tmpfs", path, "tmpfs", 0, "mode=0755")
        for name, content in copies.items():
            (path / name).write_bytes(content)
    (ETC / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    (ETC / "localtime").symlink_to("../usr/share/zoneinfo/UTC")
    (ETC / "ssl").mkdir()
    (ETC / "ssl" / "own").write_text("certificate")


def listening(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def in_view(
    check: Callable[[], None],
    environ: dict[str, str],
    servers: list[str],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Run ``check`` with a command's view, after ``meanwhile`` has happened on the machine."""
    built, building = os.pipe()
    happened, happening = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            cell_view.build(servers, environ)
            os.write(building, b".")
            os.read(happened, 1)
            check()
            status = 0
        finally:
            os._exit(status)
    os.close(building)
    assert os.read(built, 1) == b"."
    meanwhile()
    os.write(happening, b".")
    assert os.waitpid(pid, 0)[1] == 0


def test_sockets_of_the_machine_are_out_of_sight_but_for_screen_and_sound(
    in_network: InNetwork, tmp: Path
) -> None:
    def test() -> None:
        a_machine()
        own = RUN / "user/1000"
        names = ("bus", "systemd/private", "wayland-0", "pulse/native")
        servers = [listening(own / name) for name in names]
        servers += [listening(RUN / name) for name in ("nscd/socket", "avahi-daemon/socket")]
        servers.append(listening(tmp / "named"))
        (own / "cookie").write_text("secret")
        (RUN / "lock").mkdir()
        environ = {
            "XDG_RUNTIME_DIR": str(own),
            "XAUTHORITY": str(own / "cookie"),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp / 'named'},guid=0;tcp:host=x",
        }
        assert all(can_connect(own / name) for name in names)

        def check() -> None:
            assert sorted(path.name for path in RUN.iterdir()) == ["lock", "user"]
            assert sorted(path.name for path in own.iterdir()) == ["cookie", "pulse", "wayland-0"]
            assert can_connect(own / "wayland-0")
            assert can_connect(own / "pulse/native")
            assert (own / "cookie").read_text() == "secret"
            assert not can_connect(tmp / "named")
            assert not cell_view.environment(environ).keys() & {"DBUS_SESSION_BUS_ADDRESS"}

        def meanwhile() -> None:
            servers.append(listening(RUN / "sssd/socket"))  # a daemon that starts later

        in_view(check, environ, [], meanwhile)
        for server in servers:
            server.close()

    in_network(test)


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [
        ("bus 2", "DBUS_SESSION_BUS_ADDRESS", "unix:path={}/bus%202,guid=ab"),
        ("bus", "DBUS_SESSION_BUS_ADDRESS", "unix:guid=ab,path={}/bus"),
        ("a,b;c", "DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=x;unix:path={}/a%2cb%3Bc;"),
        ("b\u00fcs", "DBUS_SYSTEM_BUS_ADDRESS", "unix:path={}/b%c3%bcs"),
        ("b\u00fcs", "DBUS_SYSTEM_BUS_ADDRESS", "unix:path={}/b\u00fcs"),
        ("50%", "DBUS_SESSION_BUS_ADDRESS", "unix:path={}/50%"),
        ("a,%20b", "NOTIFY_SOCKET", "{}/a,%20b"),
    ],
)
def test_sockets_that_the_environment_names_are_covered(
    in_network: InNetwork, tmp: Path, name: str, variable: str, value: str
) -> None:
    def test() -> None:
        a_machine()
        with listening(tmp / name), listening(tmp / "another"):
            assert can_connect(tmp / name)

            def check() -> None:
                assert not can_connect(tmp / name)
                assert can_connect(tmp / "another")

            in_view(check, {variable: value.format(tmp)}, [])

    in_network(test)


def test_addresses_that_lead_nowhere_are_no_matter(in_network: InNetwork) -> None:
    def test() -> None:
        a_machine()
        for value in (":", "unix:", "unix:path", "unix:path=", "unix:path=%00", "%", "x;y,z=%zz"):
            in_view(lambda: None, dict.fromkeys(cell_view.UNSET, value), [])

    in_network(test)


def test_etc_is_the_machines_but_for_names(in_network: InNetwork) -> None:
    def test() -> None:
        a_machine()
        passwd = (ETC / "passwd").read_text()

        def check() -> None:
            lines = (ETC / "resolv.conf").read_text().splitlines()
            assert lines[1:] == ["nameserver 2001:db8::53"]
            assert "hosts:      files dns" in (ETC / "nsswitch.conf").read_text()
            assert (ETC / "passwd").read_text() == passwd
            assert (ETC / "ssl/own").read_text() == "certificate"
            assert str((ETC / "localtime").readlink()) == "../usr/share/zoneinfo/UTC"
            with pytest.raises(OSError, match="Read-only"):
                (ETC / "new").touch()

        def meanwhile() -> None:
            """As a DHCP client does it."""
            (ETC / "resolv.conf.new").write_text("nameserver 192.0.2.54\n")
            shutil.move(ETC / "resolv.conf.new", ETC / "resolv.conf")

        in_view(check, {}, ["2001:db8::53"], meanwhile)

    in_network(test)


def test_a_directory_that_is_hidden_is_left(in_network: InNetwork) -> None:
    def test() -> None:
        a_machine()
        (RUN / "daemon").mkdir()
        os.chdir(RUN / "daemon")
        listening(RUN / "daemon/socket").close()

        def check() -> None:
            assert Path.cwd() == Path("/")

        in_view(check, {}, [])

    in_network(test)


def test_a_directory_that_was_deleted_is_left(in_network: InNetwork, tmp_path: Path) -> None:
    def test() -> None:
        a_machine()
        (tmp_path / "gone").mkdir()
        os.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()

        def check() -> None:
            assert Path.cwd() == Path("/")

        in_view(check, {}, [])

    in_network(test)


def test_a_cell_has_loopback_and_nothing_else(in_network: InNetwork) -> None:
    def test() -> None:
        made = cell.found()
        assert made.user is None  # the rights were there
        made.enter()
        assert [name for _, name in socket.if_nameindex()] == ["lo"]
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname()).close()
        made.close()

    in_network(test)


def test_where_user_namespaces_are_forbidden_the_setting_is_named(in_network: InNetwork) -> None:
    def test() -> None:
        try:
            Path("/proc/sys/user/max_user_namespaces").write_text("0")
        except OSError:  # /proc/sys is read-only in many containers
            return
        linux.keep_capabilities()
        with pytest.raises(MachineError, match=r"sudo sysctl -w user\.max_user_namespaces=65536"):
            cell.found()

    in_network(test)
