//! Recognising trains: packets that the kernel would cut in the same way from one big packet
//! (`chancel.daemon.hot.trains`).
//!
//! Where any doubt is left there is no train. What bears options in its IP header, extension
//! headers or a VLAN tag has no layout, and is never joined.

use crate::device_checksum::{right, sum, word};
use crate::device_vnet::*;

const HEAD_MOST: usize = ETHERNET_BYTES + IP6_HEADER + TCP_HEADER_MOST;
const TCP_HEADER_MOST: usize = 60;
const DONT_FRAGMENT: u8 = 0x40;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Bits that are looked at, over the headers of a packet.
type Mask = [u8; HEAD_MOST];

/// Where the headers of one kind of packet stand, counted from the start of the frame.
pub struct Layout {
    /// The `GSO_…` type of the virtio header.
    pub kind: u8,
    pub version: u8,
    pub tcp: bool,
    /// Where the IP header and the transport header begin, and the payload.
    pub ip: usize,
    pub start: usize,
    pub head: usize,
    /// What must be equal in packets to be joined: not lengths and checksums, for example.
    same: Mask,
    /// What makes a packet one of this kind: version, fragmentation, header sizes, …
    alike: Mask,
}

impl Layout {
    /// What packets can be joined to the first one of a run; `None` for nothing.
    ///
    /// `ip`: bytes of Ethernet header before the IP header, or 0.
    pub fn of(first: &[u8], ip: usize) -> Option<Self> {
        if first.len() < ip + IP4_HEADER + UDP_HEADER {
            return None;
        }
        let version = first[ip] >> 4;
        let (header, protocol, ethertype) = match version {
            4 if first[ip] == 0x45 && first[ip + 6] & !DONT_FRAGMENT == 0 && first[ip + 7] == 0 => {
                (IP4_HEADER, first[ip + 9], TYPE_IP4)
            }
            6 if first.len() >= ip + IP6_HEADER + UDP_HEADER => {
                (IP6_HEADER, first[ip + 6], TYPE_IP6)
            }
            _ => return None,
        };
        if ip > 0 && first[ip - 2..ip] != ethertype {
            return None;
        }
        let start = ip + header;
        let (kind, least, size) = match protocol {
            TCP if first.len() > start + TCP_HEADER => {
                let kind = if version == 4 { GSO_TCP4 } else { GSO_TCP6 };
                (kind, TCP_HEADER, usize::from(first[start + 12] >> 4) * 4)
            }
            UDP => (GSO_UDP, UDP_HEADER, UDP_HEADER),
            _ => return None,
        };
        let head = start + size;
        if size < least || head >= first.len() {
            return None;
        }
        let (tcp, same, alike) = (protocol == TCP, [0xFF; HEAD_MOST], [0; HEAD_MOST]);
        let mut layout = Self {
            kind,
            version,
            tcp,
            ip,
            start,
            head,
            same,
            alike,
        };
        layout.set_masks();
        Some(layout)
    }

    fn set_masks(&mut self) {
        let (ip, start) = (self.ip, self.start);
        self.same[start + 4..start + 8].fill(0); // a sequence number; UDP's length and checksum
        self.alike[ip] = 0xFF;
        if self.version == 4 {
            self.same[ip + 2..ip + 6].fill(0);
            self.same[ip + 10..ip + 12].fill(0);
            self.alike[ip + 6..ip + 8].fill(0xFF);
            self.alike[ip + 9] = 0xFF;
        } else {
            self.same[ip + 4..ip + 6].fill(0);
            self.alike[ip] = 0xF0; // the rest of the byte is the traffic class
            self.alike[ip + 6] = 0xFF;
        }
        if ip > 0 {
            self.alike[ip - 2..ip].fill(0xFF);
        }
        if self.tcp {
            self.same[start + 13] = 0;
            self.same[start + 16..start + 18].fill(0);
            self.alike[start + 12] = 0xFF;
        }
    }

    /// Where the transport's checksum stands.
    pub fn checksum(&self) -> usize {
        self.start + if self.tcp { 16 } else { 6 }
    }

    /// Where the flags of TCP stand.
    pub fn flags(&self) -> usize {
        self.start + 13
    }

    pub fn protocol(&self) -> u8 {
        if self.tcp { TCP } else { UDP }
    }

    pub fn addresses<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        &packet[self.ip + if self.version == 4 { 12 } else { 8 }..self.start]
    }

    /// Where the length of the IP packet stands, and from where it counts.
    pub fn length(&self) -> (usize, usize) {
        if self.version == 4 {
            (self.ip + 2, self.ip)
        } else {
            (self.ip + 4, self.start)
        }
    }

    /// Whether a packet is intact, says its true length, and has nothing that can't be joined.
    ///
    /// `packet` has one byte more than `size`, the first of its tail, if that makes its transport
    /// segment even. It is longer than `head`.
    pub fn sound(&self, packet: &[u8], size: usize) -> bool {
        let start = self.start;
        let (at, counted) = self.length();
        if usize::from(be16(packet, at)) != size - counted {
            return false;
        }
        let likely = if self.tcp {
            packet[self.flags()] | PSH == ACK | PSH
        } else {
            usize::from(be16(packet, start + 4)) == size - start && be16(packet, start + 6) != 0
        };
        likely && self.checksums_right(packet, size - start)
    }

    fn checksums_right(&self, packet: &[u8], length: usize) -> bool {
        let Ok(length) = u16::try_from(length) else {
            return false;
        };
        let pseudo = sum(self.addresses(packet)) + word(u16::from(self.protocol())) + word(length);
        let header = self.version == 6 || right(sum(&packet[self.ip..self.start]));
        header && right(pseudo + sum(&packet[self.start..]))
    }

    /// Whether a sound packet goes on where the sound one before it ended, in a train of `first`
    /// whose payloads have `segment` bytes.
    pub fn follows(&self, first: &[u8], before: &[u8], packet: &[u8], segment: usize) -> bool {
        let head = self.head;
        if differ(&before[..head], &packet[..head], &self.same)
            || differ(&first[..head], &packet[..head], &self.alike)
        {
            return false;
        }
        let ip = self.ip;
        if self.version == 4
            && packet[ip + 6] & DONT_FRAGMENT == 0
            && be16(packet, ip + 4) != be16(before, ip + 4).wrapping_add(1)
        {
            return false;
        }
        let number = self.start + 4;
        !self.tcp
            || (before[self.flags()] == ACK
                && be32(packet, number).wrapping_sub(be32(before, number)) as usize == segment)
    }
}

/// Whether two headers differ in what a mask looks at.
fn differ(one: &[u8], other: &[u8], mask: &Mask) -> bool {
    one.iter()
        .zip(other)
        .zip(mask)
        .fold(0, |found, ((a, b), bits)| found | (a ^ b) & bits)
        != 0
}
