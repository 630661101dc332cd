"""The guardian of a cathedral: it opens sockets and files, starts two processes, and ends both when
one dies.

``control`` answers who asks; ``cathedral`` has the network, the clients' keys and all tables. There
is one process for all that, where a tunnel has seven: a cathedral holds no key that opens traffic,
so there is no plaintext to keep from the network, and every process more would copy each packet
once more. The guardian reads the settings once before it forks, to know which directories the
cathedral has to see; it never reads a key.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from chancel.cathedrald.config import PROCESSES, ServerConfig
from chancel.cathedrald.opened import Opened
from chancel.cathedrald.records import CathedralRecord
from chancel.cathedrald.settings import bundle_directories, check_start
from chancel.daemon import image, linux, logs, sandbox
from chancel.daemon.accelerator import Accelerator, engage
from chancel.daemon.child import Make
from chancel.daemon.group import Group, Message
from chancel.daemon.guarding import Guarding, hearing_signals, users_of, warm_up
from chancel.daemon.sandbox_mode import Sandbox
from chancel.daemon.topology import GUARDIAN, BoardSpec, Topology

CATHEDRAL = 0
"""Its number, where tunnels have theirs."""

RIGHTS = frozenset({linux.CAP_KILL})
"""What the guardian keeps: without it its death could not end processes of other users."""

TOPOLOGY = Topology(
    keeper="cathedral",
    duties=PROCESSES,
    add_order=PROCESSES,
    lanes={},
    key_links={},
    boards={"cathedral": BoardSpec("cathedral", CathedralRecord, ("control",))},
    rings={},
)

log = logging.getLogger("chancel.daemon")


def run(
    config: ServerConfig,
    runtime_dir: Path,
    up: Callable[[], None] = lambda: None,
    confinement: Sandbox = Sandbox.ON,
) -> int:
    """Be a cathedral until a signal comes or a process dies; returns the exit status.

    ``up`` is called once it serves. Raises :class:`ChancelError` when it can't; then nothing of it
    is left.
    """
    return serve(config, runtime_dir, load_duties(), up, confinement)


def load_duties() -> dict[str, Make]:
    """Import what the processes do, before the fork."""
    warm_up()
    modules = {"control": "control", "cathedral": "duty"}
    return {
        name: importlib.import_module(f"chancel.cathedrald.{module}").make
        for name, module in modules.items()
    }


def serve(
    config: ServerConfig,
    runtime_dir: Path,
    makers: Mapping[str, Make],
    up: Callable[[], None] = lambda: None,
    confinement: Sandbox = Sandbox.ON,
) -> int:
    """As :func:`run`, with duties of the caller's choice."""
    logs.setup(GUARDIAN)
    plan = sandbox.prepare_reading(confinement, readable(config))
    accelerator = engage(wanted=config.accelerator)
    image.settle()
    with hearing_signals() as signals:
        users = users_of([config], makers)
        group = Group(TOPOLOGY, makers, users, plan, signals)
        guardian = Guardian(group, runtime_dir, signals, plan)
        return guardian.live(lambda: guardian.start(config, accelerator), up, RIGHTS)


def readable(config: ServerConfig) -> tuple[str, ...]:
    """The directories that the cathedral reads from. Raises :class:`SettingsRefused`."""
    draft = check_start(config.settings, config.announced)
    own = (config.secret.parent, config.secretdir, config.settings.parent)
    return tuple(sorted({*map(os.path.realpath, own), *bundle_directories(draft)}))


class Guardian(Guarding):
    """One cathedral, from its first packet to its last."""

    requests = "reload, stop, or trace"

    _opened: Opened | None = None

    def start(self, config: ServerConfig, accelerator: Accelerator) -> None:
        """Open what it needs and hand it over. Raises :class:`ChancelError`."""
        self.introduce(config.instance, {"accelerator": accelerator})
        opened = self._opened = Opened.open(config, self._runtime_dir)
        self._group.tell_control({"tunnel": CATHEDRAL, "about": opened.about()})
        self._group.tell_control({"news": CATHEDRAL}, [opened.news[1].fileno()])
        order = {"do": "add", "tunnel": CATHEDRAL, "settings": opened.settings().to_json()}
        for name in self._group.topology.add_order:
            self._group.tell(name, order, opened.descriptors_for(name))
        opened.handed_over()
        opened.announce()
        log.info("cathedral added cathedral=%s local=%s", config.instance, config.local)
        log.info("chancel started (pid=%d)", os.getpid())

    def close(self) -> None:
        """Undo what is left, once the processes are gone."""
        if self._opened is not None:
            self._opened.close()
        super().close()

    def _obey(self, request: Message, fds: list[int]) -> list[int]:
        match request:
            case {"request": "reload"}:
                self._group.order("cathedral", {"look": True})
                return []
            case _:
                return super()._obey(request, fds)
