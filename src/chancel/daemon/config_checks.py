"""What is checked after the last line of a file, and the configuration that comes of it.

In the order of the sanctum daemon, so that a file with two faults is refused for the same one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface
from types import MappingProxyType

from chancel.daemon import config_cathedral, places
from chancel.daemon.config_directives import ANY, ANY6, Draft
from chancel.daemon.config_secret import check_replaceable, check_secret
from chancel.daemon.config_types import (
    IPV6_OVERHEAD_BYTES,
    KEEPER,
    LEGACY_MTU,
    MAX_DATAGRAM_BYTES,
    MIN_MTU,
    MIN_MTU_IPV6,
    OVERHEAD_BYTES,
    SHROUD_OVERHEAD_BYTES,
    CathedralConfig,
    Mode,
    Network,
    ProfileName,
    TunnelConfig,
)
from chancel.daemon.config_values import Refused
from chancel.errors import ConfigError
from chancel.wire.remembrance import TABLE_BYTES
from chancel.wire.types import Address, FlockId, Flocks

_NO_ADDRESS = IPv4Address(0)


def finish(draft: Draft, file: str) -> TunnelConfig:
    """Check what the lines say together. Raises :class:`ConfigError`."""
    return _Finish(draft, file).config()


@dataclasses.dataclass(slots=True)
class _Finish:
    draft: Draft
    file: str

    def config(self) -> TunnelConfig:
        draft = self.draft
        if draft.instance is None:
            raise self._missing("instance", "expected instance NAME")
        if draft.secret is None:
            raise self._missing("secret", "expected secret PATH")
        tunnel = self._tunnel()
        local = self._local()
        mtu = self._mtu(local)
        cathedral = self._cathedral(local)
        self._check_options(tunnel)
        config = TunnelConfig(
            file=self.file,
            instance=draft.instance,
            descr=draft.descr,
            secret=draft.secret,
            spi_prefix=draft.spi_prefix,
            tunnel=tunnel,
            mtu=mtu,
            mtu_discovery=draft.mtu is None,
            local=local,
            peer=draft.peer,
            routes=tuple(draft.routes),
            accepts=tuple(draft.accepts),
            run_as=MappingProxyType(draft.run_as),
            control=draft.control,
            pidfile=draft.pidfile,
            flocks=Flocks(
                FlockId(draft.flock),
                FlockId(draft.flock if draft.flock_dst is None else draft.flock_dst),
            ),
            offloads=draft.offloads,
            mode=draft.mode,
            tunnel6=draft.tunnel6,
            tap=draft.tap,
            bridge=draft.bridge,
            tfc=draft.tfc,
            shroud=draft.shroud,
            profile=draft.profile,
            encapsulation=draft.encapsulation,
            cathedral=cathedral,
            accelerator=draft.accelerator,
            lines=MappingProxyType(draft.lines),
        )
        self._check_files(config)
        return config

    def _cathedral(self, local: Address) -> CathedralConfig | None:
        """How the tunnel deals with cathedrals, if it has one."""
        draft = self.draft
        if not draft.cathedral.places:
            if draft.cathedral.kek is not None:
                raise self._refusal("kek", "nobody brings ambries (expected cathedral HOST:PORT)")
            return None
        if draft.mode is not Mode.TUNNEL:
            problem = f"a {draft.mode} has none (expected mode tunnel)"
            raise self._refusal("cathedral", problem)
        if draft.profile is ProfileName.LEGACY:
            raise self._refusal("cathedral", "is not for 0.9 (expected profile current)")
        lacking = config_cathedral.missing(draft)
        if lacking is not None:
            raise self._missing(lacking, f"expected {lacking} with a cathedral")
        if _is_ipv6(local) and local.host != ANY6.host:
            problem = f"can't be reached from local {local} (expected an IPv4 address, or [::])"
            raise self._refusal("cathedral", problem)
        return draft.cathedral.finish()

    def _tunnel(self) -> IPv4Interface | None:
        """The device's address; a TAP device has none, and then bridges are possible."""
        tunnel, has_address = self.draft.tunnel, True
        if tunnel is not None:
            has_address = tunnel.ip != _NO_ADDRESS
        if self.draft.tap:
            if tunnel is not None and has_address:
                raise self._refusal("tunnel", "TAP has no address (expected 0.0.0.0/0 MTU)")
            return None
        if self.draft.bridge is not None:
            raise self._refusal("bridge", "makes no sense without a TAP device (expected tap yes)")
        if tunnel is None:
            raise self._missing("tunnel", "expected tunnel ip/length MTU")
        if not has_address:
            problem = "0.0.0.0 is no address for a tunnel (expected ip/length MTU)"
            raise self._refusal("tunnel", problem)
        return tunnel

    def _local(self) -> Address:
        """The address to bind; it follows the peer's family where no line says otherwise."""
        local, peer = self.draft.local, self.draft.peer
        if peer is None or _is_ipv6(local) == _is_ipv6(peer) or local.host == ANY6.host:
            return local
        if "local" not in self.draft.lines:
            return ANY6 if _is_ipv6(peer) else ANY
        family = "IPv6" if _is_ipv6(local) else "IPv4"
        problem = f"{peer} can't be reached from local {local} (expected an {family} address)"
        raise self._refusal("peer", problem)

    def _mtu(self, local: Address) -> int:
        """The MTU of the inside; under ``auto`` the largest, where discovery starts."""
        draft = self.draft
        if draft.mtu is None and draft.profile is ProfileName.LEGACY:
            raise self._refusal("tunnel", "auto came after 0.9 (expected a number, as of the peer)")
        if draft.mtu is None and draft.mode is not Mode.TUNNEL:
            raise self._refusal("tunnel", f"{draft.mode} can't find out an MTU (expected a number)")
        lowest, highest = MIN_MTU, MAX_DATAGRAM_BYTES - self._overhead(local)
        why = f", as a packet costs {self._overhead(local)} bytes, or auto"
        if draft.profile is ProfileName.LEGACY:
            (lowest, highest), why = LEGACY_MTU, ""
        if draft.tunnel6 is not None:
            lowest, why = MIN_MTU_IPV6, f"{why}; IPv6 needs {MIN_MTU_IPV6}"
        mtu = highest if draft.mtu is None else draft.mtu
        if not lowest <= mtu <= highest:
            problem = f"MTU '{mtu}' is out of range (expected {lowest} to {highest}{why})"
            raise self._refusal("tunnel", problem)
        return mtu

    def _overhead(self, local: Address) -> int:
        return (
            OVERHEAD_BYTES
            + SHROUD_OVERHEAD_BYTES * self.draft.shroud
            + IPV6_OVERHEAD_BYTES * _is_ipv6(local)
        )

    def _check_options(self, tunnel: IPv4Interface | None) -> None:
        draft = self.draft
        legacy = draft.profile is ProfileName.LEGACY
        if draft.tfc and draft.mtu is None:
            raise self._refusal("tfc", "pads to the MTU (expected a number in the tunnel line)")
        if draft.tfc and draft.tap:
            raise self._refusal("tfc", "pads IP packets alone (expected tap no)")
        if draft.shroud and legacy:
            raise self._refusal("shroud", "came after 0.9 (expected encapsulation PATH)")
        if draft.encapsulation is not None and not legacy:
            raise self._refusal("encapsulation", "ended with 0.9 (expected shroud yes)")
        if draft.tunnel6 is not None and tunnel is None:
            raise self._refusal("tunnel6", "TAP has no address (expected no such line)")
        if draft.tunnel6 is None and not draft.tap:
            self._check_ipv4_only("route", draft.routes)
            self._check_ipv4_only("accept", draft.accepts)
        if draft.mode is Mode.PILGRIM and draft.peer is None:
            raise self._refusal("peer", "a pilgrim can't learn it (expected its shrine's ip:port)")

    def _check_ipv4_only(self, directive: str, networks: Sequence[Network]) -> None:
        for network in networks:
            if network.version == 6:
                problem = f"{network}: the device has no IPv6 (expected a tunnel6 line)"
                raise self._refusal(directive, problem)

    def _check_files(self, config: TunnelConfig) -> None:
        keeper = self.draft.run_as.get(KEEPER[self.draft.mode])
        replaced = dict(config.written_files)
        for directive, path, size in config.key_files:
            may_lack = directive in replaced and self._comes_as_ambry()
            try:
                check_secret(path, keeper, size, may_lack=may_lack)
            except Refused as refused:
                raise self._refusal(directive, str(refused)) from None
        for directive, path in replaced.items():
            only = TABLE_BYTES if directive == "cathedral_remembrance" else None
            try:
                check_replaceable(path, keeper if places.is_machine_root() else None, only)
            except Refused as refused:
                raise self._refusal(directive, str(refused)) from None

    def _comes_as_ambry(self) -> bool:
        """Whether the file of the secret may come later: with ``kek`` before it."""
        lines = self.draft.lines
        return lines["kek"] < lines["secret"]

    def _refusal(self, directive: str, problem: str) -> ConfigError:
        return ConfigError(self.file, self.draft.lines.get(directive), directive, problem)

    def _missing(self, directive: str, expected: str) -> ConfigError:
        return ConfigError(self.file, None, directive, f"missing ({expected})")


def _is_ipv6(address: Address) -> bool:
    return ":" in address.host
