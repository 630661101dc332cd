//! The ends of a lane: the twins of `chancel.daemon.lane`. They are the one place where is kept who
//! has which slot, whether Python or a compiled turn works with the lane.

use std::os::fd::RawFd;

use libc::{EAGAIN, ECONNRESET, EINTR, EPIPE, POLLIN, POLLOUT, c_short, c_void};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::memory::Memory;
use crate::runs::Run;
use crate::token::{MAX_TOKEN_BYTES, decode, encode};

pyo3::import_exception!(chancel.daemon.lies, NeighbourLied);
pyo3::import_exception!(chancel.errors, LinkClosed);

const MAX_SLOTS: usize = 255;

/// What both ends have: one socket of the pair, and the slots.
struct End {
    fd: RawFd,
    memory: Memory,
    slots: usize,
    slot_bytes: usize,
    /// How many lone packets may pass before their slots are given back, all at once.
    patience: usize,
}

impl End {
    fn new(fd: RawFd, memory: &Bound<'_, PyAny>, slots: usize) -> PyResult<Self> {
        let memory = Memory::of(memory)?;
        if !(1..=MAX_SLOTS).contains(&slots) || memory.len() % slots != 0 {
            return Err(PyValueError::new_err("no memory of so many slots"));
        }
        Ok(Self {
            fd,
            slots,
            slot_bytes: memory.len() / slots,
            memory,
            patience: (slots / 2).max(1),
        })
    }

    /// One message; `None` when there is none, nothing at all when the other end is gone.
    fn receive(&self, buffer: &mut [u8]) -> PyResult<Option<usize>> {
        loop {
            // SAFETY: the buffer is exclusively ours and of the length given.
            let got = unsafe {
                let start = buffer.as_mut_ptr().cast::<c_void>();
                libc::recv(self.fd, start, buffer.len(), libc::MSG_DONTWAIT)
            };
            match usize::try_from(got) {
                Ok(size) => return Ok(Some(size)),
                Err(_) => match last_error() {
                    EAGAIN => return Ok(None),
                    EINTR => {}
                    ECONNRESET => return Ok(Some(0)),
                    error => return Err(std::io::Error::from_raw_os_error(error).into()),
                },
            }
        }
    }

    /// Send one message: whether it went, or has to wait. `gone` says who isn't there any more.
    fn send(&self, token: &[u8], gone: &'static str) -> PyResult<bool> {
        loop {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the token is borrowed for the call, and only read.
            let sent = unsafe { libc::send(self.fd, token.as_ptr().cast(), token.len(), flags) };
            if sent >= 0 {
                return Ok(true);
            }
            match last_error() {
                EAGAIN => return Ok(false),
                EINTR => {}
                EPIPE | ECONNRESET => return Err(LinkClosed::new_err(gone)),
                error => return Err(std::io::Error::from_raw_os_error(error).into()),
            }
        }
    }

    /// Sleep until the socket is readable or writable, or the other end is gone.
    fn wait(&self, py: Python<'_>, events: c_short) -> PyResult<()> {
        let mut each = libc::pollfd {
            fd: self.fd,
            events,
            revents: 0,
        };
        // SAFETY: one structure, and it outlives the call.
        if py.detach(|| unsafe { libc::poll(&raw mut each, 1, -1) }) < 0 {
            py.check_signals()?;
        }
        Ok(())
    }
}

const WRITER_GONE: &str = "the writer of a lane is gone";
const READER_GONE: &str = "the reader of a lane is gone";

/// The reading end; see the class of the same name in Python.
#[pyclass(module = "chancel_accel")]
pub struct LaneReader {
    end: End,
    kept: Vec<u8>,
    token: Vec<u8>,
    /// The slot of a batch that was looked at, and nobody has taken yet.
    waiting: Option<u8>,
    runs: Vec<Run>,
}

impl LaneReader {
    /// Look at the next batch: its slot. It stays the next one until it is [`Self::taken`].
    pub fn look(&mut self) -> PyResult<Option<u8>> {
        if self.waiting.is_none() {
            let Some(size) = self.end.receive(&mut self.token)? else {
                return Ok(None);
            };
            if size == 0 {
                return Err(LinkClosed::new_err(WRITER_GONE));
            }
            let slot = decode(&self.token[..size], self.end.slot_bytes, &mut self.runs)?;
            if usize::from(slot) >= self.end.slots {
                let lie = "a lane's token names a slot that does not exist";
                return Err(NeighbourLied::new_err(lie));
            }
            self.waiting = Some(slot);
        }
        Ok(self.waiting)
    }

    /// Readable when a batch waits.
    pub fn fd(&self) -> RawFd {
        self.end.fd
    }

    /// The runs of the batch that was looked at last, within its slot.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The memory of all slots, and where this one begins.
    pub fn slot(&self, slot: u8) -> (&Memory, usize) {
        (&self.end.memory, usize::from(slot) * self.end.slot_bytes)
    }

    /// Take the batch that was looked at last: it is the caller's until it is given back.
    pub fn taken(&mut self) {
        self.waiting = None;
    }

    /// The batch that was looked at last is dealt with: take it, and give its slot back.
    pub fn done(&mut self, slot: u8) -> PyResult<()> {
        self.taken();
        self.give_back(slot, is_lone(&self.runs))
    }

    /// Give a slot back to the writer: at once, or after some lone packets all of theirs.
    pub fn give_back(&mut self, slot: u8, lone: bool) -> PyResult<()> {
        self.kept.push(slot);
        if self.kept.len() < self.end.patience && lone {
            return Ok(());
        }
        if !self.end.send(&self.kept, WRITER_GONE)? {
            return Err(std::io::Error::from_raw_os_error(EAGAIN).into());
        }
        self.kept.clear();
        Ok(())
    }
}

#[pymethods]
impl LaneReader {
    /// The end of a lane with so many slots in `memory`, which stays mapped as long as this lives.
    #[new]
    fn new(fd: i32, memory: &Bound<'_, PyAny>, slots: usize) -> PyResult<Self> {
        Ok(Self {
            end: End::new(fd, memory, slots)?,
            kept: Vec::with_capacity(slots),
            token: vec![0; MAX_TOKEN_BYTES],
            waiting: None,
            runs: Vec::new(),
        })
    }

    /// Take the next batch: its slot and its runs, or `None`.
    fn receive<'py>(&mut self, py: Python<'py>) -> PyResult<Option<(u8, Bound<'py, PyList>)>> {
        let Some(slot) = self.look()? else {
            return Ok(None);
        };
        self.taken();
        let runs = PyList::empty(py);
        for run in &self.runs {
            runs.append(run.to_python(py)?)?;
        }
        Ok(Some((slot, runs)))
    }

    /// Give the slot of a batch back; `lone` says whether it was a single packet.
    fn release(&mut self, slot: u8, lone: bool) -> PyResult<()> {
        self.give_back(slot, lone)
    }
}

/// The writing end; see the class of the same name in Python.
#[pyclass(module = "chancel_accel")]
pub struct LaneWriter {
    end: End,
    free: Vec<u8>,
    out: [bool; MAX_SLOTS],
    owed: usize,
    current: Option<u8>,
    token: Vec<u8>,
}

impl LaneWriter {
    /// How many bytes a slot has.
    pub fn slot_bytes(&self) -> usize {
        self.end.slot_bytes
    }

    /// The memory of all slots, and where this one begins.
    pub fn slot_mut(&mut self, slot: u8) -> (&mut Memory, usize) {
        (
            &mut self.end.memory,
            usize::from(slot) * self.end.slot_bytes,
        )
    }

    /// The bytes of one slot.
    pub fn bytes_mut(&mut self, slot: u8) -> PyResult<&mut [u8]> {
        let (begin, size) = (usize::from(slot) * self.end.slot_bytes, self.end.slot_bytes);
        Ok(&mut self.end.memory.own()?[begin..begin + size])
    }

    /// The slot to fill next; `None` while the reader holds them all.
    pub fn next(&mut self) -> PyResult<Option<u8>> {
        if self.current.is_none() {
            if self.owed >= self.end.patience || self.free.is_empty() {
                self.reclaim()?;
            }
            self.current = self.free.pop();
        }
        Ok(self.current)
    }

    /// Hand the current slot over. Raises `LinkClosed` when the reader is gone.
    pub fn hand_over(&mut self, py: Python<'_>, runs: &[Run]) -> PyResult<()> {
        let Some(slot) = self.current else {
            return Err(PyValueError::new_err("no slot was taken"));
        };
        encode(slot, runs, &mut self.token)?;
        while !self.end.send(&self.token, READER_GONE)? {
            self.end.wait(py, POLLOUT)?; // the reader has yet to take tokens of many runs
        }
        self.out[usize::from(slot)] = true;
        self.owed += if is_lone(runs) { 1 } else { self.end.patience };
        self.current = None;
        Ok(())
    }

    /// Take slots back, if a token has come: the last one back is used next, still in cache.
    fn reclaim(&mut self) -> PyResult<()> {
        self.owed = 0;
        let mut token = [0; MAX_SLOTS];
        let Some(size) = self.end.receive(&mut token)? else {
            return Ok(());
        };
        if size == 0 {
            return Err(LinkClosed::new_err(READER_GONE));
        }
        for &slot in &token[..size] {
            match self.out.get_mut(usize::from(slot)) {
                Some(out) if *out => *out = false,
                _ => {
                    let lie = "a slot of a lane was given back that was not out";
                    return Err(NeighbourLied::new_err(lie));
                }
            }
            self.free.push(slot);
        }
        Ok(())
    }
}

#[pymethods]
impl LaneWriter {
    /// The end of a lane with so many slots in `memory`, which stays mapped as long as this lives.
    #[new]
    fn new(fd: i32, memory: &Bound<'_, PyAny>, slots: usize) -> PyResult<Self> {
        Ok(Self {
            end: End::new(fd, memory, slots)?,
            free: (0..slots as u8).collect(),
            out: [false; MAX_SLOTS],
            owed: 0,
            current: None,
            token: Vec::with_capacity(MAX_TOKEN_BYTES),
        })
    }

    /// Number of the slot to fill next; `None` while the reader holds them all.
    fn slot(&mut self) -> PyResult<Option<u8>> {
        self.next()
    }

    /// Like `slot`, but wait for the reader.
    fn wait_slot(&mut self, py: Python<'_>) -> PyResult<u8> {
        loop {
            if let Some(slot) = self.next()? {
                return Ok(slot);
            }
            self.end.wait(py, POLLIN)?;
        }
    }

    /// The slots that are free, and those that the reader has.
    fn slots(&self) -> (Vec<u16>, Vec<u16>) {
        let out = (0..).zip(&self.out).filter(|(_, out)| **out);
        let free = self.free.iter().map(|&slot| u16::from(slot));
        (free.collect(), out.map(|(slot, _)| slot).collect())
    }

    /// Hand the current slot over.
    fn send(&mut self, py: Python<'_>, runs: &Bound<'_, PyList>) -> PyResult<()> {
        let runs = runs
            .iter()
            .map(|run| Run::of(&run))
            .collect::<PyResult<Vec<_>>>()?;
        self.hand_over(py, &runs)
    }
}

fn is_lone(runs: &[Run]) -> bool {
    matches!(runs, [run] if run.packets == 1)
}

fn last_error() -> i32 {
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}
