//! The packets of one run, as they lie in memory of our own, each with its tail.

use crate::device_vnet::TAIL_BYTES;
use crate::runs::Run;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;

/// A run within its slot.
pub struct Packets<'slot> {
    bytes: &'slot [u8],
    size: usize,
    pub count: usize,
}

impl<'slot> Packets<'slot> {
    /// Raises `IndexError` for a run that lies outside of its slot.
    pub fn of(slot: &'slot [u8], run: &Run) -> PyResult<Self> {
        let end = run
            .size
            .checked_mul(run.packets - 1)
            .and_then(|whole| whole.checked_add(run.offset)?.checked_add(run.last));
        let bytes = end.and_then(|end| slot.get(run.offset..end));
        match bytes {
            Some(bytes) => Ok(Self {
                bytes,
                size: run.size,
                count: run.packets,
            }),
            None => Err(PyIndexError::new_err("a run lies outside of its slot")),
        }
    }

    /// The bytes of packet `i` and of its tail.
    fn tailed(&self, i: usize) -> &'slot [u8] {
        let at = i * self.size;
        &self.bytes[at..self.bytes.len().min(at + self.size)]
    }

    /// Packet `i`, without its tail.
    pub fn packet(&self, i: usize) -> &'slot [u8] {
        let tailed = self.tailed(i);
        &tailed[..tailed.len().saturating_sub(TAIL_BYTES)]
    }

    /// Packet `i`, and the first byte of its tail, a zero, if what it has from `start` on is odd.
    pub fn even(&self, i: usize, start: usize) -> &'slot [u8] {
        let size = self.packet(i).len();
        &self.tailed(i)[..size + size.saturating_sub(start) % 2]
    }
}
