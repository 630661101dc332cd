"""Does a link, port or listener keep the rules of ``chancel.links.interface``? For anybody's.

Give a function that makes two connected ends, as an async context manager; each rule gets ends of
its own. The first rule that is broken raises an ``AssertionError`` that names it. No test framework
is needed::

    @contextlib.asynccontextmanager
    async def pair():
        left, right = memory_pair()
        async with left, right:
            yield left, right

    await check_link(pair)

Ends should be connected by something that works. Where it is known to be bad, the :class:`Terms`
say so. An unreliable link whose network loses, doubles or reorders messages is then only expected
to alter none; a reliable link has no such excuse.

To find what goes wrong when a call is cancelled, it is cancelled after 0, 1, 2, ... steps of the
event loop until it completes.
"""

from __future__ import annotations

from chancel.links.conformance.checking import (
    MakeEnds,
    MakeLinks,
    Rule,
    Terms,
    expect_nothing_left,
    run_rule,
    turned,
)
from chancel.links.conformance.rules_cancelling import CANCELLING
from chancel.links.conformance.rules_closing import CLOSING
from chancel.links.conformance.rules_listener import LISTENING, Dial, MakeListener
from chancel.links.conformance.rules_messages import MESSAGES
from chancel.links.conformance.rules_port import PORTS, MakePorts, as_links
from chancel.links.conformance.rules_pressure import PRESSURE
from chancel.links.conformance.rules_use import USE
from chancel.links.interface import Link

__all__ = [
    "LINK_RULES",
    "LISTENER_RULES",
    "PORT_RULES",
    "Dial",
    "MakeEnds",
    "MakeLinks",
    "MakeListener",
    "MakePorts",
    "Terms",
    "check_link",
    "check_listener",
    "check_port",
]

LINK_RULES: tuple[Rule[Link, Link], ...] = (*MESSAGES, *PRESSURE, *CANCELLING, *CLOSING, *USE)
"""In the order in which they are checked; each is tried in both directions."""

PORT_RULES = PORTS
LISTENER_RULES = LISTENING

_DEFAULT = Terms()


async def check_link(make_pair: MakeLinks, terms: Terms = _DEFAULT) -> None:
    """Check a transport that makes links. Raises ``AssertionError``."""
    for rule in LINK_RULES:
        await run_rule(rule, make_pair, terms)
        await run_rule(rule, turned(make_pair), terms)
    await expect_nothing_left(make_pair, terms)


async def check_port(make_pair: MakePorts, terms: Terms = _DEFAULT) -> None:
    """Check a transport that makes ports, each to be reached at its ``local`` address.

    The rules of links are checked too, by a ``PortLink`` on each port. Raises ``AssertionError``.
    """
    for rule in PORT_RULES:
        await run_rule(rule, make_pair, terms)
    await check_link(as_links(make_pair), terms)


async def check_listener(make_listener: MakeListener, terms: Terms = _DEFAULT) -> None:
    """Check a transport that listens: ``make_listener`` gives a listener, and a function that calls
    it and returns the caller's link. Raises ``AssertionError``."""
    for rule in LISTENER_RULES:
        await run_rule(rule, make_listener, terms)
    await expect_nothing_left(make_listener, terms)
