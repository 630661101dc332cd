//! Laying datagrams side by side in a slot: the twin of `chancel.daemon.hot.packing.Packing`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::memory::Memory;
use crate::runs::{MAX_RUN_PACKETS, Run};

/// A run in the making: how many packets, of which size, and how long the last one is.
struct Open {
    /// Which of the runs that are wrapped (or unwrapped) it is like.
    like: usize,
    packets: usize,
    size: usize,
    last: usize,
}

impl Open {
    fn bytes(&self) -> usize {
        (self.packets - 1) * self.size + self.last
    }
}

/// What Python's packing lends: a slot, how far it is used, its runs, and the most that it may have.
pub type Lent<'py> = (Bound<'py, PyAny>, usize, Bound<'py, PyList>, usize);

/// The runs of one slot, from what a call found there on.
pub struct Packer<'py> {
    /// Where in the slot the next datagram goes.
    pub at: usize,
    room: usize,
    most_runs: usize,
    found: Bound<'py, PyList>,
    before: usize,
    first: Option<Run>,
    runs: Vec<Open>,
}

impl<'py> Packer<'py> {
    /// Go on where Python's packing is; with the memory of its slot.
    pub fn begin((slot, at, found, most_runs): Lent<'py>) -> PyResult<(Memory, Self)> {
        let memory = Memory::of_view(&slot)?;
        let before = found.len();
        let first = match before.checked_sub(1) {
            Some(last) => Some(Run::of(&found.get_item(last)?)?),
            None => None,
        };
        let (room, runs) = (memory.len(), Vec::new());
        Ok((
            memory,
            Self {
                at,
                room,
                most_runs,
                found,
                before,
                first,
                runs,
            },
        ))
    }

    /// Whether another datagram of `size` bytes, like run `like`, has room here: then it is a part
    /// of the runs, and belongs at `at` as it was before.
    ///
    /// Raises `ValueError` where no slot would do.
    pub fn add(&mut self, likes: &[Run], like: usize, size: usize) -> PyResult<bool> {
        if self.at.saturating_add(size) > self.room {
            if self.at == 0 {
                return Err(PyValueError::new_err("a datagram is larger than a slot"));
            }
            return Ok(false);
        }
        if !self.extend(likes, like, size) {
            if self.before + self.runs.len() >= self.most_runs {
                return Ok(false);
            }
            self.runs.push(Open {
                like,
                packets: 1,
                size,
                last: size,
            });
        }
        self.at += size;
        Ok(true)
    }

    /// Put the datagram into the run before, if it can be a part of that.
    fn extend(&mut self, likes: &[Run], like: usize, size: usize) -> bool {
        let other = &likes[like];
        if let Some(open) = self.runs.last_mut() {
            let fits = takes(open.packets, open.size, open.last, size)
                && (open.like == like || alike(&likes[open.like], other));
            if fits {
                open.packets += 1;
                open.last = size;
            }
            return fits;
        }
        match self.first.as_mut() {
            Some(run) if takes(run.packets, run.size, run.last, size) && alike(run, other) => {
                run.packets += 1;
                run.last = size;
                true
            }
            _ => false,
        }
    }

    /// Tell Python's list of what has changed; how far the slot is used.
    pub fn finish(self, likes: &[Run]) -> PyResult<usize> {
        let py = self.found.py();
        if let Some(run) = self.first {
            self.found.set_item(self.before - 1, run.to_python(py)?)?;
        }
        let mut offset = self.at - self.runs.iter().map(Open::bytes).sum::<usize>();
        for open in &self.runs {
            let like = &likes[open.like];
            let run = Run {
                tunnel: like.tunnel,
                next: like.next,
                packets: open.packets,
                size: open.size,
                last: open.last,
                offset,
                source: like.source,
            };
            offset += open.bytes();
            self.found.append(run.to_python(py)?)?;
        }
        Ok(self.at)
    }
}

/// Whether a run of that shape can have one more packet of `more` bytes.
fn takes(packets: usize, size: usize, last: usize, more: usize) -> bool {
    last == size && more <= size && packets < MAX_RUN_PACKETS
}

fn alike(run: &Run, other: &Run) -> bool {
    run.tunnel == other.tunnel && run.next == other.next && run.source == other.source
}
