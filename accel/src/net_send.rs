//! Sending runs: the twin of `chancel.daemon.hot.send`. One system call for many runs.

use std::ptr::null_mut;

use libc::{EINTR, EMSGSIZE, iovec, mmsghdr, msghdr};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::memory::Memory;
use crate::net_address::{Packed, SocketAddress};
use crate::runs::Run;

const SOL_UDP: i32 = 17;
const UDP_SEGMENT: i32 = 103;
/// Of a train: less than 64 KiB with all headers, or the kernel cuts it before it is sent.
const MAX_BYTES: usize = 65_408;
/// Segments of one train: 128 in new kernels, 64 in those before 6.9.
const MAX_SEGMENTS: usize = 64;
/// Messages of one system call: some 4 MB if all are trains, more than a socket's buffer takes.
const MAX_MESSAGES: usize = 64;
/// Either the device can't do it, or (`EINVAL`, in older kernels) the packets are too large.
const NO_TRAIN: [i32; 2] = [libc::EIO, libc::EINVAL];
const PASSING: [i32; 12] = [
    libc::EADDRNOTAVAIL,
    libc::ENETUNREACH,
    libc::EHOSTUNREACH,
    libc::ENETDOWN,
    libc::ENOBUFS,
    libc::EAGAIN,
    libc::EPERM,
    libc::ECONNREFUSED,
    libc::EINVAL,
    libc::EIO,
    libc::EACCES,
    libc::ENODEV,
];
/// What Python says of an address of a family that the socket hasn't.
const EAI_ADDRFAMILY: i32 = -9;

/// What became of the runs of one call; `error` is the last refusal, `refusal` the one that proved
/// trains broken, `fatal` one that is none of the network's. All are 0 where there was none.
#[derive(Default)]
pub struct Sent {
    pub datagrams: usize,
    bytes: usize,
    pub calls: usize,
    too_large: usize,
    failed: usize,
    error: i32,
    pub refusal: i32,
    pub fatal: i32,
}

/// Send runs, in order, to one peer (as runs carry addresses) on the socket `fd`. Never waits.
#[pyfunction]
pub fn send_runs<'py>(
    py: Python<'py>,
    fd: i32,
    is_ipv6: bool,
    memory: &Bound<'py, PyAny>,
    runs: Vec<Bound<'py, PyAny>>,
    peer: &[u8],
    gso: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let peer: &Packed = peer
        .try_into()
        .map_err(|_| PyValueError::new_err("no packed address"))?;
    let runs = runs.iter().map(Run::of).collect::<PyResult<Vec<_>>>()?;
    let memory = Memory::of(memory)?;
    let mut sent = Sent::default();
    match SocketAddress::of(peer, is_ipv6) {
        Some((to, to_bytes)) => {
            let socket = Socket { fd, to, to_bytes };
            send_all(socket, &mut sent, &memory, &runs, gso)?;
        }
        None => sent.no_address(&runs, gso),
    }
    sent.into_python(py)
}

impl Sent {
    /// Count runs for an address of a family that the socket hasn't.
    pub fn no_address(&mut self, runs: &[Run], gso: bool) {
        let calls = runs.iter().map(|run| run.packets.div_ceil(step(run, gso)));
        self.calls += calls.sum::<usize>();
        self.failed += runs.iter().map(|run| run.packets).sum::<usize>();
        self.error = EAI_ADDRFAMILY;
    }

    /// As Python's sender takes it.
    pub fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let Self {
            datagrams,
            bytes,
            calls,
            too_large,
            failed,
            error,
            refusal,
            fatal,
        } = self;
        let all = (
            datagrams, bytes, calls, too_large, failed, error, refusal, fatal,
        );
        Ok(all.into_pyobject(py)?.into_any())
    }
}

/// Send runs, in order, and count what becomes of them. Never waits.
pub fn send_all(
    socket: Socket,
    sent: &mut Sent,
    memory: &Memory,
    runs: &[Run],
    gso: bool,
) -> PyResult<()> {
    Sending {
        socket,
        sent,
        refusal: None,
        gso,
    }
    .all(memory, runs)
}

/// How many packets of a run one message takes.
fn step(run: &Run, gso: bool) -> usize {
    if gso {
        (MAX_BYTES / run.size).clamp(1, MAX_SEGMENTS)
    } else {
        1
    }
}

/// What one message carries: a datagram, or a train of them.
#[derive(Clone, Copy)]
struct Part {
    run: usize,
    start: *const u8,
    bytes: usize,
    size: usize,
    count: usize,
}

impl Part {
    /// The same packets one by one.
    fn singles(self) -> impl Iterator<Item = Self> {
        let last = self.bytes - (self.count - 1) * self.size;
        (0..self.count).map(move |i| Self {
            start: self.start.wrapping_add(i * self.size),
            bytes: if i + 1 == self.count { last } else { self.size },
            count: 1,
            ..self
        })
    }
}

struct Sending<'a> {
    socket: Socket,
    sent: &'a mut Sent,
    /// The run of which a train was refused, and why.
    refusal: Option<(usize, i32)>,
    gso: bool,
}

impl Sending<'_> {
    fn all(mut self, memory: &Memory, runs: &[Run]) -> PyResult<()> {
        let mut waiting = parts(memory, runs, self.gso)?;
        let mut next = 0;
        while next < waiting.len() && self.sent.fatal == 0 {
            self.sent.calls += 1;
            match self.socket.send(&waiting[next..]) {
                Ok(count) => {
                    for at in next..next + count {
                        if self.went_out(waiting[at]) {
                            one_by_one(&mut waiting, next + count, |_| true);
                        }
                    }
                    next += count;
                }
                Err(EINTR) => self.sent.calls -= 1,
                Err(error) => {
                    let part = waiting[next];
                    if part.count > 1 && NO_TRAIN.contains(&error) {
                        self.refusal = Some((part.run, error));
                        one_by_one(&mut waiting, next, |other| other.run == part.run);
                    } else {
                        self.refused(error, part.count);
                        next += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Count it; whether it shows that trains are broken: its size was not at fault.
    fn went_out(&mut self, part: Part) -> bool {
        self.sent.datagrams += part.count;
        self.sent.bytes += part.bytes;
        match self.refusal {
            Some((run, error)) if run == part.run && part.bytes == part.size => {
                self.sent.refusal = error;
                self.refusal = None;
                true
            }
            _ => false,
        }
    }

    fn refused(&mut self, error: i32, count: usize) {
        self.sent.error = error;
        if error == EMSGSIZE {
            self.sent.too_large += count;
        } else if PASSING.contains(&error) {
            self.sent.failed += count;
        } else {
            self.sent.fatal = error;
        }
    }
}

fn parts(memory: &Memory, runs: &[Run], gso: bool) -> PyResult<Vec<Part>> {
    let mut parts = Vec::with_capacity(runs.len());
    for (number, run) in runs.iter().enumerate() {
        let step = step(run, gso);
        let start = memory.address(run.offset, run.end() - run.offset)?;
        for done in (0..run.packets).step_by(step) {
            let count = step.min(run.packets - done);
            let is_last = done + count == run.packets;
            let last = if is_last { run.last } else { run.size };
            parts.push(Part {
                run: number,
                start: start.wrapping_add(done * run.size),
                bytes: (count - 1) * run.size + last,
                size: run.size,
                count,
            });
        }
    }
    Ok(parts)
}

/// Take trains from `next` on apart.
fn one_by_one(waiting: &mut Vec<Part>, next: usize, which: impl Fn(&Part) -> bool) {
    let rest = waiting.split_off(next);
    for part in rest {
        if part.count > 1 && which(&part) {
            waiting.extend(part.singles());
        } else {
            waiting.push(part);
        }
    }
}

/// Room for one control message with two bytes, aligned as the kernel wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control {
    len: usize,
    level: i32,
    kind: i32,
    size: u16,
    _padding: [u8; 6],
}

const CONTROL_BYTES: usize = size_of::<Control>();
/// `CMSG_LEN(2)`.
const CONTROL_LEN: usize = size_of::<usize>() + 2 * size_of::<i32>() + size_of::<u16>();

/// A socket, and the address to send to.
#[derive(Clone, Copy)]
pub struct Socket {
    pub fd: i32,
    pub to: SocketAddress,
    pub to_bytes: libc::socklen_t,
}

impl Socket {
    /// Send as many of these as go; how many did (one at least), or why the first was refused.
    fn send(&mut self, parts: &[Part]) -> Result<usize, i32> {
        let parts = &parts[..parts.len().min(MAX_MESSAGES)];
        let mut vectors: Vec<iovec> = parts
            .iter()
            .map(|part| iovec {
                iov_base: part.start.cast_mut().cast(),
                iov_len: part.bytes,
            })
            .collect();
        let mut controls: Vec<Control> = parts.iter().map(control).collect();
        let mut messages: Vec<mmsghdr> = Vec::with_capacity(parts.len());
        for ((part, vector), control) in parts.iter().zip(&mut vectors).zip(&mut controls) {
            let is_train = part.count > 1;
            // SAFETY: all zeros are a valid `msghdr`; padding is private in some C libraries.
            let mut header: msghdr = unsafe { std::mem::zeroed() };
            header.msg_name = (&raw mut self.to).cast();
            header.msg_namelen = self.to_bytes;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = if is_train {
                (&raw mut *control).cast()
            } else {
                null_mut()
            };
            header.msg_controllen = if is_train { CONTROL_BYTES as _ } else { 0 };
            messages.push(mmsghdr {
                msg_hdr: header,
                msg_len: 0,
            });
        }
        // SAFETY: every pointer in the messages is to `self.to`, to `vectors` and `controls`, which
        // live until the call is over, or to memory that the caller holds; the kernel only reads
        // what is sent.
        let sent = unsafe {
            let count = messages.len() as libc::c_uint;
            libc::sendmmsg(
                self.fd,
                messages.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| last_error())
    }
}

fn control(part: &Part) -> Control {
    Control {
        len: CONTROL_LEN,
        level: SOL_UDP,
        kind: UDP_SEGMENT,
        size: part.size as u16,
        _padding: [0; 6],
    }
}

/// The `errno` of the last call.
pub fn last_error() -> i32 {
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}
