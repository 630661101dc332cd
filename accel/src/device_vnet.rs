//! `struct virtio_net_hdr` of Linux: what stands before each frame of a device with offloads.

pub const VNET_BYTES: usize = 10;
pub const NEEDS_CHECKSUM: u8 = 1;
pub const GSO_NONE: u8 = 0;
pub const GSO_TCP4: u8 = 1;
pub const GSO_TCP6: u8 = 4;
pub const GSO_UDP: u8 = 5;
pub const GSO_ECN: u8 = 0x80;

pub const ETHERNET_BYTES: usize = 14;
pub const IP4_HEADER: usize = 20;
pub const IP6_HEADER: usize = 40;
pub const TCP_HEADER: usize = 20;
pub const UDP_HEADER: usize = 8;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

pub const TYPE_IP4: [u8; 2] = [0x08, 0x00];
pub const TYPE_IP6: [u8; 2] = [0x86, 0xDD];
pub const TYPE_VLAN: [u8; 2] = [0x81, 0x00];

/// What is added to a packet inside the tunnel: two bytes behind it.
pub const TAIL_BYTES: usize = 2;

/// The fields of a header, in the machine's byte order.
pub struct Vnet {
    pub flags: u8,
    pub kind: u8,
    pub head: u16,
    pub segment: u16,
    /// Where summing starts, and where from there the checksum goes.
    pub start: u16,
    pub field: u16,
}

impl Vnet {
    pub fn decode(bytes: &[u8; VNET_BYTES]) -> Self {
        let [flags, kind, h0, h1, s0, s1, c0, c1, f0, f1] = *bytes;
        Self {
            flags,
            kind,
            head: u16::from_ne_bytes([h0, h1]),
            segment: u16::from_ne_bytes([s0, s1]),
            start: u16::from_ne_bytes([c0, c1]),
            field: u16::from_ne_bytes([f0, f1]),
        }
    }

    pub fn encode(&self) -> [u8; VNET_BYTES] {
        let [h0, h1] = self.head.to_ne_bytes();
        let [s0, s1] = self.segment.to_ne_bytes();
        let [c0, c1] = self.start.to_ne_bytes();
        let [f0, f1] = self.field.to_ne_bytes();
        [self.flags, self.kind, h0, h1, s0, s1, c0, c1, f0, f1]
    }
}

/// A big-endian number of 16 bits; the caller has checked that it is there.
pub fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// A big-endian number of 32 bits.
pub fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}
