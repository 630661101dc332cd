//! Cutting a big packet of the kernel's into the packets that it would have made itself
//! (`chancel.daemon.hot.cutting`).

use crate::device_checksum::{finish, finish_nonzero, sum, word};
use crate::device_filling::Filling;
use crate::device_vnet::*;

/// The largest inner packet that fits the wire: 1522 less header, tail and tag.
pub const MAX_INNER_BYTES: usize = 1472;

const VLAN_TAG_BYTES: usize = 4;
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// A big packet: `packets` payloads of `segment` bytes, the last of `rest`, of which `done` are cut.
///
/// `ip` is where the IP header begins, `start` the transport header, `head` the payload.
#[derive(Clone, Copy)]
pub struct Train {
    tcp: bool,
    version: u8,
    ip: usize,
    start: usize,
    head: usize,
    segment: usize,
    packets: usize,
    rest: usize,
    done: usize,
}

impl Train {
    /// What the vnet header says, checked against the packet; `None` if it can't be.
    ///
    /// `skipped`: bytes of a frame header before the packet, which the vnet header counts.
    pub fn of(packet: &[u8], vnet: &Vnet, skipped: usize, ethernet: bool) -> Option<Self> {
        let kind = vnet.kind & !GSO_ECN;
        let tcp = matches!(kind, GSO_TCP4 | GSO_TCP6);
        if !tcp && kind != GSO_UDP {
            return None;
        }
        let ip = if ethernet { ip_offset(packet)? } else { 0 };
        let version = packet.get(ip)? >> 4;
        let start = usize::from(vnet.start).checked_sub(skipped)?;
        let header = start.checked_sub(ip)?;
        let (least, fits, ethertype) = match version {
            4 => (
                IP4_HEADER,
                header == usize::from(packet[ip] & 0x0F) * 4,
                TYPE_IP4,
            ),
            6 => (IP6_HEADER, header % 8 == 0, TYPE_IP6),
            _ => return None,
        };
        if !fits || header < least || (ip > 0 && packet[ip - 2..ip] != ethertype) {
            return None;
        }
        let header = if tcp {
            usize::from(packet.get(start + 12)? >> 4) * 4
        } else {
            UDP_HEADER
        };
        let (head, segment) = (start + header, usize::from(vnet.segment));
        let bad = (tcp && header < TCP_HEADER) || segment == 0 || head + segment > MAX_INNER_BYTES;
        if bad || head >= packet.len() {
            return None;
        }
        let packets = (packet.len() - head).div_ceil(segment);
        let rest = packet.len() - head - (packets - 1) * segment;
        Some(Self {
            tcp,
            version,
            ip,
            start,
            head,
            segment,
            packets,
            rest,
            done: 0,
        })
    }

    /// Cut as much of the train as the slot has room for. Returns how many packets and bytes that
    /// was, and whether it was all.
    pub fn cut(&mut self, packet: &[u8], filling: &mut Filling<'_>) -> (usize, usize, bool) {
        let left = self.packets - self.done;
        let largest = if left > 1 { self.segment } else { self.rest };
        let count = left.min(filling.room(self.head + largest));
        if count == 0 {
            return (0, 0, false);
        }
        let whole = count == left;
        let size = self.head + largest + TAIL_BYTES;
        let last = if whole {
            self.head + self.rest + TAIL_BYTES
        } else {
            size
        };
        let stride = if count > 1 { size } else { last };
        let mut at = filling.train(count, stride, last);
        let mut bytes = 0;
        for _ in 0..count {
            let size = self.write_next(packet, &mut filling.slot[at..]);
            bytes += size;
            at += size + TAIL_BYTES;
        }
        (count, bytes, whole)
    }

    /// Write the next packet and its tail; returns the packet's size.
    fn write_next(&mut self, packet: &[u8], out: &mut [u8]) -> usize {
        let (index, head) = (self.done, self.head);
        let is_last = index + 1 == self.packets;
        let payload = if is_last { self.rest } else { self.segment };
        let (from, size) = (head + index * self.segment, head + payload);
        out[..head].copy_from_slice(&packet[..head]);
        out[head..size].copy_from_slice(&packet[from..from + payload]);
        out[size..size + TAIL_BYTES].fill(0);
        let out = &mut out[..size];
        self.write_network(out, index);
        self.write_transport(out, index, is_last);
        self.done += 1;
        size
    }

    fn write_network(&self, out: &mut [u8], index: usize) {
        let ip = self.ip;
        let size = out.len() - ip;
        if self.version == 6 {
            put16(out, ip + 4, low16(size - IP6_HEADER));
            return;
        }
        put16(out, ip + 2, low16(size));
        put16(out, ip + 4, be16(out, ip + 4).wrapping_add(low16(index)));
        put16(out, ip + 10, 0);
        let value = finish(sum(&out[ip..self.start]));
        out[ip + 10..ip + 12].copy_from_slice(&value);
    }

    /// FIN and PSH belong to the last packet, CWR to the first.
    fn write_transport(&self, out: &mut [u8], index: usize, is_last: bool) {
        let start = self.start;
        let length = low16(out.len() - start);
        let protocol = if self.tcp { TCP } else { UDP };
        let field = start + if self.tcp { 16 } else { 6 };
        if self.tcp {
            let done = (index * self.segment) as u32;
            put32(out, start + 4, be32(out, start + 4).wrapping_add(done));
            let not_last = if is_last { 0 } else { FIN_PSH };
            let not_first = if index == 0 { 0 } else { CWR };
            out[start + 13] &= !(not_last | not_first);
        } else {
            put16(out, start + 4, length);
        }
        put16(out, field, 0);
        let ip = self.ip;
        let addresses = if self.version == 4 {
            ip + 12..ip + 20
        } else {
            ip + 8..ip + 40
        };
        let pseudo = sum(&out[addresses]) + word(u16::from(protocol)) + word(length);
        let total = pseudo + sum(&out[start..]);
        let value = if self.tcp {
            finish(total)
        } else {
            finish_nonzero(total)
        };
        out[field..field + 2].copy_from_slice(&value);
    }
}

/// Where the IP header begins, if there is one in this Ethernet frame.
fn ip_offset(frame: &[u8]) -> Option<usize> {
    let tagged = frame.get(12..ETHERNET_BYTES)? == TYPE_VLAN;
    Some(ETHERNET_BYTES + if tagged { VLAN_TAG_BYTES } else { 0 })
}

/// A length or a count as a header has it; lengths are below 1,472, counts wrap around.
fn low16(number: usize) -> u16 {
    (number & 0xFFFF) as u16
}
