//! Receiving runs: the twin of `chancel.daemon.hot.receive`.
//!
//! One system call a train, until the socket is empty. `recvmmsg` would need 64 KiB of a slot for
//! each message, whatever comes, and leave what comes apart; so a slot would have room for four.

use libc::{iovec, msghdr};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::memory::Memory;
use crate::net_address::{Packed, SocketAddress};
use crate::net_send::last_error;
use crate::runs::{Run, Source};

const SOL_UDP: i32 = 17;
const UDP_GRO: i32 = 104;
/// What one call may bring.
pub const READ_BYTES: usize = 65_536;
/// Opening may part each run in two: inner packets and graces.
const MOST_RUNS: usize = 256 / 2;
/// Calls for one batch, so that a flood of what is dropped at once can't hold up the rest.
const MOST_CALLS: usize = 512;
/// The longest datagram that is one (`chancel.wire.datagram`).
pub const MAX_DATAGRAM_BYTES: usize = 1522;
/// What an ICMP error about something we sent becomes; taken off, and nothing is lost.
pub const PENDING: [i32; 11] = [
    libc::EACCES,
    libc::ECONNREFUSED,
    libc::EHOSTDOWN,
    libc::EHOSTUNREACH,
    libc::EMSGSIZE,
    libc::ENETDOWN,
    libc::ENETUNREACH,
    libc::ENONET,
    libc::ENOPROTOOPT,
    libc::EOPNOTSUPP,
    libc::EPROTO,
];

/// Receive into the slot from `at` on until the socket `fd` is empty or the slot is full.
///
/// Appends to `runs`. `source` is the packed source that was found last, if any. Returns: the
/// offset reached, whether the socket is empty, how many datagrams and bytes came with how many
/// calls, how many were too short and too long, the source found last, and the error that was none
/// of the network's (or 0).
#[pyfunction]
#[expect(clippy::type_complexity)]
pub fn receive_runs<'py>(
    fd: i32,
    slot: &Bound<'py, PyAny>,
    runs: &Bound<'py, PyList>,
    at: usize,
    tunnel: u16,
    min_bytes: usize,
    source: &Bound<'py, PyBytes>,
) -> PyResult<(
    usize,
    bool,
    usize,
    usize,
    usize,
    usize,
    usize,
    Bound<'py, PyBytes>,
    i32,
)> {
    let py = slot.py();
    let mut memory = Memory::of_view(slot)?;
    let mut receiving = Receiving::after(runs, tunnel, min_bytes, source)?;
    let (at, is_empty, fatal) = receiving.drain(fd, memory.own()?, at);
    let came = receiving.came;
    let source = PyBytes::new(py, receiving.source.as_bytes());
    receiving.finish(runs)?;
    Ok((
        at,
        is_empty,
        came.datagrams,
        came.bytes,
        came.calls,
        came.too_short,
        came.too_long,
        source,
        fatal,
    ))
}

/// What one call brought: datagrams of `segment` bytes, of which the last may be shorter.
pub struct Train {
    pub size: usize,
    pub segment: usize,
    pub source: Packed,
}

/// Room for control messages: 64 bytes of them, and one with the size of segments.
#[derive(Default)]
#[repr(C, align(8))]
struct Control([u64; 14]);

/// Receive one train into `free`; the `errno` where nothing came.
pub fn receive(fd: i32, free: &mut [u8]) -> Result<Train, i32> {
    let mut name = SocketAddress::empty();
    let mut control = Control::default();
    let mut vector = iovec {
        iov_base: free.as_mut_ptr().cast(),
        iov_len: free.len(),
    };
    // SAFETY: all zeros are a valid `msghdr`; padding is private in some C libraries.
    let mut header: msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of::<SocketAddress>() as libc::socklen_t;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the header's pointers are to locals, and to `free`, which is ours alone, each with
    // its true size.
    let size = unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_DONTWAIT) };
    let size = usize::try_from(size).map_err(|_| last_error())?;
    let segment = segment(&header)
        .filter(|segment| *segment <= size)
        .unwrap_or(size)
        .max(1);
    Ok(Train {
        size,
        segment,
        source: name.packed(),
    })
}

/// What the kernel says of the size of segments, if it says anything that can be one.
fn segment(header: &msghdr) -> Option<usize> {
    let mut found = None;
    // SAFETY: the header is as the kernel left it: its control messages lie within the buffer that
    // it names, which is still there, and the macros go from one to the next within that.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(head) = message.as_ref() {
            if head.cmsg_level == SOL_UDP && head.cmsg_type == UDP_GRO {
                found = Some(libc::CMSG_DATA(message).cast::<i32>().read_unaligned());
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    found
        .and_then(|size| usize::try_from(size).ok())
        .filter(|size| *size > 0)
}

/// What was counted while receiving.
#[derive(Clone, Copy, Default)]
pub struct Came {
    pub datagrams: usize,
    pub bytes: usize,
    pub calls: usize,
    pub too_short: usize,
    pub too_long: usize,
}

impl Came {
    /// Count more.
    pub fn add(&mut self, more: &Self) {
        self.datagrams += more.datagrams;
        self.bytes += more.bytes;
        self.calls += more.calls;
        self.too_short += more.too_short;
        self.too_long += more.too_long;
    }
}

/// The runs of a batch in the making, and what was counted.
pub struct Receiving {
    tunnel: u16,
    min_bytes: usize,
    /// Of the runs, also those that were there before.
    total: usize,
    /// The runs that Python's list lacks, or has in an older form: the last of those before.
    pub runs: Vec<Run>,
    known: usize,
    source: Source,
    pub came: Came,
}

impl Receiving {
    /// Runs of an empty slot.
    pub fn new(tunnel: u16, min_bytes: usize) -> Self {
        Self {
            tunnel,
            min_bytes,
            total: 0,
            runs: Vec::with_capacity(8),
            known: 0,
            source: Source::NONE,
            came: Came::default(),
        }
    }

    fn after(
        found: &Bound<'_, PyList>,
        tunnel: u16,
        min_bytes: usize,
        source: &Bound<'_, PyBytes>,
    ) -> PyResult<Self> {
        let mut receiving = Self::new(tunnel, min_bytes);
        receiving.total = found.len();
        if let Some(last) = receiving.total.checked_sub(1) {
            receiving.runs.push(Run::of(&found.get_item(last)?)?);
            receiving.known = 1;
        }
        receiving.source = Source::of(source)?;
        Ok(receiving)
    }

    /// Receive until the socket is empty or the slot is full: the offset reached, whether the
    /// socket is empty, and the error that was none of the network's (or 0).
    pub fn drain(&mut self, fd: i32, room: &mut [u8], mut at: usize) -> (usize, bool, i32) {
        for _ in 0..MOST_CALLS {
            let Some(free) = room.get_mut(at..at.saturating_add(READ_BYTES)) else {
                break;
            };
            if self.total >= MOST_RUNS {
                break;
            }
            match receive(fd, free) {
                Ok(train) => at += self.take(at, &train),
                Err(libc::EAGAIN) => return (at, true, 0),
                Err(error) if PENDING.contains(&error) || error == libc::EINTR => {}
                Err(error) => return (at, false, error),
            }
        }
        (at, false, 0)
    }

    /// Describe what was received at `at` as a run; returns how far the slot is used by it.
    fn take(&mut self, at: usize, train: &Train) -> usize {
        let (mut at, mut size, mut segment) = (at, train.size, train.segment);
        let mut count = size.div_ceil(segment).max(1);
        let mut last = size - (count - 1) * segment;
        self.came.calls += 1;
        self.came.datagrams += count;
        self.came.bytes += size;
        if segment > MAX_DATAGRAM_BYTES {
            if last > MAX_DATAGRAM_BYTES {
                self.came.too_long += count;
                return 0;
            }
            self.came.too_long += count - 1;
            (at, count, segment) = (at + size - last, 1, last);
        }
        if segment < self.min_bytes {
            self.came.too_short += count;
            return 0;
        }
        if last < self.min_bytes {
            self.came.too_short += 1;
            (count, last, size) = (count - 1, segment, size - last);
        }
        self.source = Source::packed(train.source);
        let run = Run {
            tunnel: self.tunnel,
            next: 0,
            packets: count,
            size: segment,
            last,
            offset: at,
            source: self.source,
        };
        let before = self.runs.last_mut();
        if !before.is_some_and(|before| before.extend(&run)) {
            self.runs.push(run);
            self.total += 1;
        }
        size
    }

    fn finish(&self, found: &Bound<'_, PyList>) -> PyResult<()> {
        let py = found.py();
        for (i, run) in self.runs.iter().enumerate() {
            if i < self.known {
                found.set_item(found.len() - 1, run.to_python(py)?)?;
            } else {
                found.append(run.to_python(py)?)?;
            }
        }
        Ok(())
    }
}
