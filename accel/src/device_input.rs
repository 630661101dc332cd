//! The descriptor from which frames of a network device are read, and the buffers for one frame.

use crate::device_vnet::{TYPE_VLAN, VNET_BYTES};
use libc::{c_void, iovec, msghdr};
use std::io::{Error, Result};
use std::mem::{size_of, zeroed};
use std::os::fd::RawFd;

/// One read: a 64 KiB packet, its headers, and a tag that is put into it.
const MAX_READ_BYTES: usize = 65_536 + 64;

const PACKET_AUXDATA: i32 = 8;
const TP_STATUS_VLAN_VALID: u32 = 0x10;
const TP_STATUS_VLAN_TPID_VALID: u32 = 0x40;
const MACS_BYTES: usize = 12;
const TAG_BYTES: usize = 4;
const CONTROL_BYTES: usize = 64;

/// `struct tpacket_auxdata`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Auxdata {
    status: u32,
    lengths: [u32; 2],
    offsets: [u16; 2],
    tag: u16,
    ethertype: u16,
}

/// Control data of one message, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Reads one frame at a time: `prefix` (virtio and frame header), and behind it the packet.
pub struct Input {
    pub fd: RawFd,
    pub prefix: Vec<u8>,
    pub packet: Vec<u8>,
    vnet: bool,
    tags_aside: bool,
}

impl Input {
    pub fn new(fd: RawFd, vnet: bool, frame_header_bytes: usize, tags_aside: bool) -> Self {
        let prefix = if vnet { VNET_BYTES } else { 0 } + frame_header_bytes;
        Self {
            fd,
            prefix: vec![0; prefix],
            packet: vec![0; MAX_READ_BYTES],
            vnet,
            tags_aside,
        }
    }

    /// The virtio header of the last frame, from a device that has them.
    pub fn vnet(&self) -> Option<&[u8; VNET_BYTES]> {
        if self.vnet {
            self.prefix.first_chunk()
        } else {
            None
        }
    }

    /// Read one frame. Returns how many bytes of `packet` it has (none, if it ends in the prefix),
    /// or `None` when there is no frame now.
    pub fn read(&mut self) -> Result<Option<usize>> {
        let read = if self.tags_aside {
            self.read_tagged()
        } else {
            self.read_plain()
        };
        match read {
            Ok(size) => Ok(Some(size.saturating_sub(self.prefix.len()))),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parts(&mut self) -> [iovec; 2] {
        [&mut self.prefix, &mut self.packet].map(|part| iovec {
            iov_base: part.as_mut_ptr().cast(),
            iov_len: part.len(),
        })
    }

    fn read_plain(&mut self) -> Result<usize> {
        let parts = self.parts();
        // SAFETY: the parts are two buffers of our own, borrowed exclusively for the call.
        let read = unsafe { libc::readv(self.fd, parts.as_ptr(), 2) };
        usize::try_from(read).map_err(|_| Error::last_os_error())
    }

    /// Read from a packet socket, which tells of a VLAN tag apart, and put the tag into the frame.
    fn read_tagged(&mut self) -> Result<usize> {
        let mut parts = self.parts();
        let mut control = Control([0; CONTROL_BYTES]);
        // SAFETY: a msghdr of zeros is valid: no name, no parts, no control data.
        let mut message: msghdr = unsafe { zeroed() };
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len() as _;
        message.msg_control = (&raw mut control).cast::<c_void>();
        message.msg_controllen = CONTROL_BYTES as _;
        // SAFETY: the parts are two buffers of our own, borrowed exclusively; the control data is a
        // local of the length given.
        let read = unsafe { libc::recvmsg(self.fd, &raw mut message, 0) };
        let read = usize::try_from(read).map_err(|_| Error::last_os_error())?;
        match auxdata(&message) {
            Some(aside) if aside.status & TP_STATUS_VLAN_VALID != 0 => {
                self.insert(read, &aside);
                Ok(read + TAG_BYTES)
            }
            _ => Ok(read),
        }
    }

    fn insert(&mut self, read: usize, aside: &Auxdata) {
        let named = aside.status & TP_STATUS_VLAN_TPID_VALID != 0;
        let ethertype = if named {
            aside.ethertype.to_be_bytes()
        } else {
            TYPE_VLAN
        };
        let end = read
            .saturating_sub(self.prefix.len())
            .min(MAX_READ_BYTES - TAG_BYTES);
        if end > MACS_BYTES {
            self.packet
                .copy_within(MACS_BYTES..end, MACS_BYTES + TAG_BYTES);
        }
        self.packet[MACS_BYTES..MACS_BYTES + 2].copy_from_slice(&ethertype);
        self.packet[MACS_BYTES + 2..MACS_BYTES + 4].copy_from_slice(&aside.tag.to_be_bytes());
        if let Some(vnet) = self.prefix.first_chunk_mut::<VNET_BYTES>() {
            for at in [2, 6] {
                // Where the frame's headers end, and where summing starts.
                let place = u16::from_ne_bytes([vnet[at], vnet[at + 1]]);
                let moved = place.wrapping_add(TAG_BYTES as u16);
                vnet[at..at + 2].copy_from_slice(&moved.to_ne_bytes());
            }
        }
    }
}

/// What a packet socket says beside a frame.
#[allow(clippy::unnecessary_cast, reason = "lengths have another type in musl")]
fn auxdata(message: &msghdr) -> Option<Auxdata> {
    // SAFETY: the kernel has filled the control data of this message and set its length; the macros
    // walk no further than that. What they point to is copied out, wherever it is aligned, and only
    // if it is as long as the struct, which is plain numbers.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(each) = header.as_ref() {
            let needed = libc::CMSG_LEN(size_of::<Auxdata>() as u32) as usize;
            let of_packet = each.cmsg_level == libc::SOL_PACKET;
            if of_packet && each.cmsg_type == PACKET_AUXDATA && each.cmsg_len as usize >= needed {
                return Some(libc::CMSG_DATA(each).cast::<Auxdata>().read_unaligned());
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}
