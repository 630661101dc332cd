//! What may reach the device: the receiver's filter (protocol section 3.4), as in
//! `chancel.daemon.filter`.

use crate::device_drops::Reason;
use crate::device_vnet::{
    ETHERNET_BYTES, IP4_HEADER, IP6_HEADER, TYPE_IP4, TYPE_IP6, TYPE_VLAN, be32,
};

const TYPE_ARP: [u8; 2] = [0x08, 0x06];
const PROTOCOLS4: [u8; 3] = [1, 6, 17];
const PROTOCOLS6: [u8; 3] = [6, 17, 58];
const FRAGMENT6: u8 = 44;
const FRAGMENT6_BYTES: usize = 8;
const MAPPED: u128 = 0xFFFF_0000_0000;
const LINK_LOCAL6: u128 = 0xFE80 >> 6;
const LINK_LOCAL6_BITS: u32 = 10;

/// Source and target of a packet, and its version: an address means nothing without it.
#[derive(Clone, Copy, PartialEq)]
struct Pair {
    version: u8,
    source: u128,
    target: u128,
}

/// An address and the bits of it that count.
#[derive(Clone, Copy)]
struct Network {
    address: u128,
    mask: u128,
}

impl Network {
    fn has(&self, address: u128) -> bool {
        address & self.mask == self.address
    }
}

/// Judges inner packets of one tunnel.
pub enum Rules {
    Packets(Box<PacketRules>),
    Frames,
}

/// Judges IP packets (TUN).
#[derive(Default)]
pub struct PacketRules {
    networks4: Vec<Network>,
    networks6: Vec<Network>,
    names_link_local: bool,
    /// The pair that passed last: bulk traffic has one.
    passed: Option<Pair>,
    refused: Option<Pair>,
}

impl Rules {
    /// The rules for a device: frames of some types, or packets within networks (version, packed
    /// address as a number, prefix length).
    pub fn new(ethernet: bool, networks: &[(u8, u128, u32)]) -> Self {
        if ethernet {
            return Self::Frames;
        }
        let mut rules = PacketRules::default();
        for &(version, address, length) in networks {
            let (bits, all) = if version == 4 {
                (32, u128::from(u32::MAX))
            } else {
                (128, u128::MAX)
            };
            let hosts = bits - length.min(bits);
            let mask = all & u128::MAX.checked_shl(hosts).unwrap_or(0);
            let network = Network {
                address: address & mask,
                mask,
            };
            if version == 4 {
                rules.networks4.push(network);
                continue;
            }
            rules.names_link_local |= length >= LINK_LOCAL6_BITS && is_link_local(address);
            rules.networks6.push(network);
        }
        Self::Packets(Box::new(rules))
    }

    /// The reason to drop an inner packet, or `None` if it may pass.
    pub fn judge(&mut self, packet: &[u8]) -> Option<Reason> {
        match self {
            Self::Frames => judge_frame(packet),
            Self::Packets(rules) => rules.judge(packet),
        }
    }

    /// Source and target of the last packet refused for its addresses, packed; IPv4 mapped into
    /// IPv6. Zeros before there is one.
    pub fn refused(&self) -> ([u8; 16], [u8; 16]) {
        let Self::Packets(rules) = self else {
            return Default::default();
        };
        rules.refused.map_or_else(Default::default, |pair| {
            let mapped = if pair.version == 4 { MAPPED } else { 0 };
            (
                (pair.source | mapped).to_be_bytes(),
                (pair.target | mapped).to_be_bytes(),
            )
        })
    }
}

impl PacketRules {
    fn judge(&mut self, packet: &[u8]) -> Option<Reason> {
        if packet.len() < IP4_HEADER {
            return Some(Reason::TooShort);
        }
        match packet[0] >> 4 {
            4 => self.judge4(packet),
            6 if !self.networks6.is_empty() => self.judge6(packet),
            _ => Some(Reason::Version),
        }
    }

    fn judge4(&mut self, packet: &[u8]) -> Option<Reason> {
        if !PROTOCOLS4.contains(&packet[9]) {
            return Some(Reason::Protocol);
        }
        self.addresses(Pair {
            version: 4,
            source: address4(packet, 12),
            target: address4(packet, 16),
        })
    }

    fn judge6(&mut self, packet: &[u8]) -> Option<Reason> {
        if packet.len() < IP6_HEADER {
            return Some(Reason::TooShort);
        }
        let mut protocol = packet[6];
        if protocol == FRAGMENT6 {
            if packet.len() < IP6_HEADER + FRAGMENT6_BYTES {
                return Some(Reason::TooShort);
            }
            protocol = packet[IP6_HEADER];
        }
        if !PROTOCOLS6.contains(&protocol) {
            return Some(Reason::Protocol);
        }
        self.addresses(Pair {
            version: 6,
            source: address6(packet, 8),
            target: address6(packet, 24),
        })
    }

    fn addresses(&mut self, pair: Pair) -> Option<Reason> {
        if self.passed == Some(pair) {
            return None;
        }
        if self.inside(pair.version, pair.source) && self.inside(pair.version, pair.target) {
            self.passed = Some(pair);
            return None;
        }
        self.refused = Some(pair);
        Some(Reason::Address)
    }

    /// Link-local addresses aren't routed, so `accept ::/0` doesn't mean them.
    fn inside(&self, version: u8, address: u128) -> bool {
        if version == 4 {
            return self.networks4.iter().any(|network| network.has(address));
        }
        (self.names_link_local || !is_link_local(address))
            && self.networks6.iter().any(|network| network.has(address))
    }
}

fn judge_frame(frame: &[u8]) -> Option<Reason> {
    let Some(ethertype) = frame.get(12..ETHERNET_BYTES) else {
        return Some(Reason::TooShort);
    };
    let known = [TYPE_IP4, TYPE_ARP, TYPE_VLAN, TYPE_IP6]
        .iter()
        .any(|each| each == ethertype);
    if known { None } else { Some(Reason::Ethertype) }
}

fn is_link_local(address: u128) -> bool {
    address >> (128 - LINK_LOCAL6_BITS) == LINK_LOCAL6
}

/// The bytes are there: the shortest packet that is looked at so far has 20, of IPv6 40.
fn address4(packet: &[u8], at: usize) -> u128 {
    u128::from(be32(packet, at))
}

fn address6(packet: &[u8], at: usize) -> u128 {
    packet[at..at + 16]
        .iter()
        .fold(0, |number, byte| number << 8 | u128::from(*byte))
}
