"""What the guardian tells the processes of a cathedral, and the cathedral tells control.

Counters are on the board. What is longer and changes seldom (which settings are in force, which
bundles, what is wrong with them) the cathedral sends to control on a link of their own, as JSON.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from chancel.cathedrald.config import ServerConfig
from chancel.cathedrald.settings import SettingsFile
from chancel.daemon.lies import NeighbourLied
from chancel.protocol.cathedral.settings import Options
from chancel.wire.types import Address

MAX_TOLD = 30
"""Bundles and problems that are told, bundles with a problem first: more, at the worst of names,
wouldn't fit a message (``link.MAX_MESSAGE_BYTES``)."""

MAX_SHOWN_CHARS = 250
"""Of a path, and of a problem."""

News = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class CathedralSettings:
    """What the processes have to know of a cathedral when it is added; times aside, all of it."""

    instance: str
    secret: str
    secretdir: str
    settings: str
    announced: Address
    mtu: int
    p2p_sync: bool
    shroud: bool
    tfc: bool
    gso: bool
    gro: bool

    @classmethod
    def of(cls, config: ServerConfig, *, gso: bool, gro: bool) -> Self:
        """Those of a configuration, and which trains the kernel carries."""
        return cls(
            instance=config.instance,
            secret=str(config.secret),
            secretdir=str(config.secretdir),
            settings=str(config.settings),
            announced=config.announced,
            mtu=config.mtu,
            p2p_sync=config.p2p_sync,
            shroud=config.shroud,
            tfc=config.tfc,
            gso=gso,
            gro=gro,
        )

    @property
    def options(self) -> Options:
        """As the brain takes them."""
        return Options(
            address=self.announced,
            mtu=self.mtu,
            p2p_sync=self.p2p_sync,
            shroud=self.shroud,
            tfc=self.tfc,
        )

    def to_json(self) -> dict[str, Any]:
        """The settings as a JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls(**data | {"announced": Address(*data["announced"])})


def news(file: SettingsFile, taken_wall: float | None) -> News:
    """What is in force; ``taken_wall`` is when the settings were taken, in Unix time."""
    bundles = sorted(file.bundles, key=lambda state: not state.problem)
    settings = file.settings
    return {
        "settings": {
            "taken_wall": taken_wall,
            "flocks": len(settings.flocks),
            "allows": sum(len(flock.allows) for flock in settings.flocks.values()),
            "xflocks": len(settings.xflocks),
            "problems": [each[:MAX_SHOWN_CHARS] for each in file.problems[:MAX_TOLD]],
        },
        "federation": [str(address) for address in settings.federation],
        "bundles": [
            {
                "path": state.path[:MAX_SHOWN_CHARS],
                "flocks": [f"{flock:016x}" for flock in dict.fromkeys(state.flocks)],
                "generation": f"{state.bundle.header.generation:08x}" if state.bundle else None,
                "expires_wall": state.bundle.header.expires_at if state.bundle else None,
                "problem": state.problem[:MAX_SHOWN_CHARS],
            }
            for state in bundles[:MAX_TOLD]
        ],
        "bundles_total": len(bundles),
    }


def checked(message: dict[str, Any]) -> News:
    """What came as news, if it has the form of :func:`news`. Raises :class:`NeighbourLied`."""
    match message:
        case {
            "settings": {"taken_wall": int() | float() | None, "problems": [*problems]},
            "federation": [*federation],
            "bundles": [*bundles],
            "bundles_total": int(),
            **others,
        } if not others and all(isinstance(each, str) for each in (*problems, *federation)):
            if all(_is_bundle(each) for each in bundles):
                return message
    raise NeighbourLied("news of a cathedral have another form")


def _is_bundle(value: object) -> bool:
    match value:
        case {
            "path": str(),
            "flocks": [*flocks],
            "generation": str() | None,
            "expires_wall": int() | None,
            "problem": str(),
        }:
            return all(isinstance(flock, str) for flock in flocks)
    return False
