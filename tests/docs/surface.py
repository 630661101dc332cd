"""The public surface: every name that a program using the library may write, with its types.

``python -m tests.docs.surface`` writes it into ``docs/surface.txt``; a test compares. Whoever
changes a signature changes a line there, so that nobody breaks programs without noticing.
``docs/api.md`` is made from the same (``tests.docs.api``).
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from tests.docs.declarations import names

PAGE = Path(__file__).parents[2] / "docs/surface.txt"

PUBLIC = (
    "chancel.tunnel",
    "chancel.links.interface",
    "chancel.links.addresses",
    "chancel.links.udp",
    "chancel.links.port_link",
    "chancel.links.tcp",
    "chancel.links.tls",
    "chancel.links.unix",
    "chancel.links.stdio",
    "chancel.links.serial",
    "chancel.links.websocket",
    "chancel.links.text",
    "chancel.links.irc",
    "chancel.links.memory",
    "chancel.links.blocking",
    "chancel.links.framing",
    "chancel.links.endpoint",
    "chancel.links.conformance",
    "chancel.errors",
    "chancel.vault.secret",
    "chancel.vault.files",
    "chancel.wire.types",
    "chancel.wire.drop",
    "chancel.protocol.events",
    "chancel.protocol.registration_events",
    "libkyrka",
)
"""The modules that programs import from, in the order of the API page."""

PASSED_ON = {
    "chancel.links.stream": ("StreamLink",),
    "chancel.links.calls": ("StreamListener",),
    "chancel.links.udp_offload": ("Offloads",),
    "chancel.links.text_lines": ("Unused",),
    "chancel.protocol.base_keys": ("SecretSource",),
    "chancel.protocol.behaviour": ("Behaviour", "CHANCEL"),
    "chancel.protocol.profile": ("Profile", "CURRENT", "V0_9"),
    "chancel.protocol.session_types": ("SessionStatus", "CathedralStatus", "RemembranceNotKept"),
    "chancel.crypto.suite": ("Suite",),
    "chancel.wire.offer": ("OfferState",),
    "libkyrka.cathedral": ("CathedralKeywords",),
    "libkyrka.telling": ("EventCallback", "PacketCallback"),
}
"""What else occurs in signatures: to annotate with and to hand on; what is inside may change."""

INTERNAL = (
    "chancel.links",
    "chancel.links.calls",
    "chancel.links.conformance.*",
    "chancel.links.cover",
    "chancel.links.descriptors",
    "chancel.links.eyeballs",
    "chancel.links.outbox",
    "chancel.links.schemes",
    "chancel.links.sockets",
    "chancel.links.stream",
    "chancel.links.text_lines",
    "chancel.links.udp_offload",
    "chancel.links.udp_socket",
    "chancel.tunnel.*",
    "libkyrka.*",
)
"""The other modules of the library's packages, as patterns: free to change. A public class that one
of them defines is named where programs find it."""

_PACKAGES = ("chancel.links", "chancel.tunnel", "libkyrka")


def library_modules() -> set[str]:
    """Every module of the packages whose surface is kept."""
    found = set(_PACKAGES)
    for package in _PACKAGES:
        paths = importlib.import_module(package).__path__
        found |= {module.name for module in pkgutil.walk_packages(paths, f"{package}.")}
    return found


def render() -> str:
    """The whole surface, as it stands in the file."""
    lines = ["# The public surface. Made by: python -m tests.docs.surface"]
    for module in PUBLIC:
        lines += ["", module]
        for name in names(module):
            lines += [f"    {name.text}"]
            lines += [f"        {member.text}" for member in name.members]
    lines += ["", "# To annotate with and to hand on; what is inside may change."]
    lines += [f"{module}: {', '.join(named)}" for module, named in PASSED_ON.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
