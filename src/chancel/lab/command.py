"""``chancel lab``: a shell, or one program, in a host with a peer behind a wire of your choice."""

from __future__ import annotations

import os
import re
import signal
import sys
from types import MappingProxyType
from typing import Annotated

import typer

from chancel.lab.lab import Host, Lab
from chancel.sim.models import LinkModel
from chancel.sim.nat import NAT_TYPES, NatModel

HOME, NEAR, ROUTER_INSIDE = "10.0.0.0/24", "10.0.0.2", "10.0.0.1"
OUTSIDE, ROUTER_OUTSIDE, FAR = "192.168.201.0/24", "192.168.201.1", "192.168.201.2"
"""Without a NAT, host a takes the router's outside address."""
OUTSIDE6, NEAR6, FAR6 = "2001:db8:201::/64", "2001:db8:201::1", "2001:db8:201::2"
"""With ``--ipv6``: no NAT stands before it."""

TUN = "/dev/net/tun"

_SECONDS = MappingProxyType({"s": 1.0, "ms": 1e-3, "us": 1e-6})


def duration_s(text: str) -> float:
    """``20ms``, ``1.5s`` or ``300us`` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)(s|ms|us)", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration; write it as 20ms or 1.5s")
    return float(match[1]) * _SECONDS[match[2]]


def probability(text: str) -> float:
    """``1%`` or ``0.01`` as a number between 0 and 1."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)(%?)", text)
    value = float(match[1]) / (100 if match[2] else 1) if match else -1.0
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text!r} is no probability; write it as 1% or 0.01")
    return value


def nat_model(text: str) -> NatModel:
    """A kind of NAT by its name."""
    if text not in NAT_TYPES:
        raise typer.BadParameter(f"{text!r} is no kind of NAT; known are {', '.join(NAT_TYPES)}")
    return NAT_TYPES[text]


def lab(
    program: Annotated[
        list[str] | None, typer.Argument(metavar="PROGRAM", help="Behind --; a shell without it.")
    ] = None,
    latency: Annotated[
        float, typer.Option(parser=duration_s, metavar="TIME", help="Delay each way.")
    ] = "0ms",  # type: ignore[assignment]  # typer parses defaults too
    loss: Annotated[
        float, typer.Option(parser=probability, metavar="SHARE", help="Packets lost each way.")
    ] = "0%",  # type: ignore[assignment]
    rate: Annotated[float | None, typer.Option(metavar="MBIT", help="Mbit/s each way.")] = None,
    nat: Annotated[
        NatModel | None, typer.Option(parser=nat_model, metavar="KIND", help="NAT before host a.")
    ] = None,
    ipv6: Annotated[bool, typer.Option("--ipv6", help="Join the hosts by IPv6 as well.")] = False,
    peer: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="Shell command for host b meanwhile.")
    ] = None,
) -> None:
    """Open a shell (or run PROGRAM) in host a of two hosts joined by a wire. No root needed.

    \b
    There is more, each with a --help of its own:
      chancel lab run FILE.toml     a scenario with real daemons (docs/scenarios.md)
      chancel lab nat-matrix        two devices behind every pair of NATs (docs/nat.md)

    \b
    Examples:
      chancel lab --latency 20ms --loss 1%
      chancel lab --nat symmetric --peer "chancel run -c b.conf" -- chancel run -c a.conf
    """
    model = LinkModel(
        latency_s=latency, loss=loss, rate_bytes_s=None if rate is None else rate * 1e6 / 8
    )
    with Lab() as built:
        a, b = built.host("a"), built.host("b")
        outside = built.network(OUTSIDE, model)
        outside.join(b, FAR)
        address = ROUTER_OUTSIDE
        if nat is None:
            outside.join(a, address)
        else:
            address = NEAR
            home = built.network(HOME)
            home.join(a, address)
            built.router((home, ROUTER_INSIDE), (outside, ROUTER_OUTSIDE), nat)
        also, far_also = "", ""
        if ipv6:
            outside6 = built.network(OUTSIDE6, model)
            outside6.join(a, NEAR6)
            outside6.join(b, FAR6)
            also, far_also = f", {NEAR6}", f", {FAR6}"
        _tell(f"this is host a ({address}{also}); host b is {FAR}{far_also}")
        if not os.access(TUN, os.R_OK | os.W_OK):
            _tell(f"programs that need {TUN} will fail; allow it with: sudo chmod 0666 {TUN}")
        if peer is not None:
            b.popen(["sh", "-c", peer])
        status = _foreground(a, program or [os.environ.get("SHELL", "/bin/sh")])
    raise typer.Exit(status)


def _tell(sentence: str) -> None:
    print(f"lab: {sentence}", file=sys.stderr)


def _foreground(host: Host, program: list[str]) -> int:
    """Run it with the terminal; an interrupt is the program's to handle. Its exit status."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        status = host.popen(program).wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status
