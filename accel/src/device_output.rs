//! The descriptor to which frames of a network device are written.

use crate::device_vnet::VNET_BYTES;
use libc::iovec;
use std::io::{Error, IoSlice};
use std::os::fd::RawFd;

/// What a write came to: 0, or an error that passes (the device is full, down, or doesn't like it).
pub type Passing = i32;

const PASSING: [i32; 7] = [
    libc::EAGAIN,
    libc::EINVAL,
    libc::EIO,
    libc::EMSGSIZE,
    libc::ENETDOWN,
    libc::ENOBUFS,
    libc::ENOMEM,
];

/// A device, and what it wants before each packet.
pub struct Output {
    pub fd: RawFd,
    plain: Vec<u8>,
    plain6: Vec<u8>,
    vnet_bytes: usize,
}

impl Output {
    /// `frame_header` goes before IPv4, and with another type before IPv6.
    pub fn new(fd: RawFd, vnet: bool, frame_header: &[u8]) -> Self {
        let vnet_bytes = if vnet { VNET_BYTES } else { 0 };
        let mut plain = vec![0; vnet_bytes];
        plain.extend_from_slice(frame_header);
        let mut plain6 = plain.clone();
        if let [.., high, low] = &mut plain6[vnet_bytes..] {
            [*high, *low] = crate::device_vnet::TYPE_IP6;
        }
        Self {
            fd,
            plain,
            plain6,
            vnet_bytes,
        }
    }

    /// What stands before a plain packet: an empty virtio header, and the frame header.
    pub fn plain(&self, version: u8) -> &[u8] {
        if version == 6 {
            &self.plain6
        } else {
            &self.plain
        }
    }

    /// The frame header alone.
    pub fn frame_header(&self, version: u8) -> &[u8] {
        &self.plain(version)[self.vnet_bytes..]
    }

    /// Write one frame. Errors that don't pass are returned as such.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> Result<Passing, Error> {
        loop {
            // SAFETY: an IoSlice is laid out as an iovec (the standard library promises it) and
            // borrows what it names; the kernel only reads.
            let written = unsafe {
                libc::writev(self.fd, parts.as_ptr().cast::<iovec>(), parts.len() as i32)
            };
            if written >= 0 {
                return Ok(0);
            }
            let error = Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(number) if PASSING.contains(&number) => return Ok(number),
                _ => return Err(error),
            }
        }
    }
}
