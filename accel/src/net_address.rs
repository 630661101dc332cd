//! Addresses: 18 bytes in a run (`chancel.daemon.run.pack_address`), a `sockaddr` for the kernel.

use std::mem::size_of;

use libc::{AF_INET, AF_INET6, in_addr, in6_addr, sockaddr_in, sockaddr_in6};

const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
/// Where the zone of a link-local address lies: such an address has only zeros there.
const ZONE: std::ops::Range<usize> = 2..6;

/// An address as runs carry it: IPv6 (IPv4 mapped into it), then the port, big-endian.
pub type Packed = [u8; 18];

/// Room for either kind of `sockaddr`.
#[derive(Clone, Copy)]
#[repr(C)]
pub union SocketAddress {
    v4: sockaddr_in,
    v6: sockaddr_in6,
}

impl SocketAddress {
    /// Room for the kernel to write to.
    pub fn empty() -> Self {
        // SAFETY: all zeros are a valid value of either structure, which are integers alone.
        unsafe { std::mem::zeroed() }
    }

    /// The address for a socket of this family; `None` for IPv6 where that has only IPv4.
    pub fn of(packed: &Packed, is_ipv6: bool) -> Option<(Self, libc::socklen_t)> {
        let mut host = [0; 16];
        host.copy_from_slice(&packed[..16]);
        let port = u16::from_ne_bytes([packed[16], packed[17]]);
        if is_ipv6 {
            return Some((
                Self { v6: v6(host, port) },
                size_of::<sockaddr_in6>() as libc::socklen_t,
            ));
        }
        if host[..12] != MAPPED {
            return None;
        }
        let address = u32::from_ne_bytes([host[12], host[13], host[14], host[15]]);
        let v4 = sockaddr_in {
            sin_family: AF_INET as libc::sa_family_t,
            sin_port: port,
            sin_addr: in_addr { s_addr: address },
            sin_zero: [0; 8],
        };
        Some((Self { v4 }, size_of::<sockaddr_in>() as libc::socklen_t))
    }

    /// What the kernel wrote, as a run carries it.
    pub fn packed(&self) -> Packed {
        // SAFETY: both structures begin with the family, and all of this union was initialised, if
        // only with zeros (`empty`); every pattern of bits is a value of these integers.
        let (v4, v6) = unsafe { (self.v4, self.v6) };
        let mut packed = [0; 18];
        if i32::from(v6.sin6_family) == AF_INET6 {
            packed[..16].copy_from_slice(&v6.sin6_addr.s6_addr);
            if is_link_local(&v6.sin6_addr.s6_addr) && v6.sin6_scope_id != 0 {
                packed[ZONE].copy_from_slice(&v6.sin6_scope_id.to_be_bytes());
            }
            packed[16..].copy_from_slice(&v6.sin6_port.to_ne_bytes());
        } else {
            packed[..12].copy_from_slice(&MAPPED);
            packed[12..16].copy_from_slice(&v4.sin_addr.s_addr.to_ne_bytes());
            packed[16..].copy_from_slice(&v4.sin_port.to_ne_bytes());
        }
        packed
    }
}

fn v6(mut host: [u8; 16], port: u16) -> sockaddr_in6 {
    let mut zone = 0;
    if is_link_local(&host) {
        zone = u32::from_be_bytes([host[2], host[3], host[4], host[5]]);
        host[ZONE].fill(0);
    }
    sockaddr_in6 {
        sin6_family: AF_INET6 as libc::sa_family_t,
        sin6_port: port,
        sin6_flowinfo: 0,
        sin6_addr: in6_addr { s6_addr: host },
        sin6_scope_id: zone,
    }
}

fn is_link_local(host: &[u8; 16]) -> bool {
    host[0] == 0xfe && host[1] & 0xc0 == 0x80
}
