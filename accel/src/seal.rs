//! Sealing runs (protocol section 3.2): the twin of `chancel.daemon.hot.seal`.
//!
//! Each packet is copied to where it goes and sealed there: so its writer, who may still change the
//! slot it came from, can't change it between two looks of the cipher.

use std::ops::Range;

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::aead::{Aead, SALT_BYTES, packet_nonce, salt_of};
use crate::header::{Header, Layout, NEXT_INNER, TAIL_BYTES};
use crate::memory::Memory;
use crate::runs::{Run, Source};

/// What seals under one key: everything but packet numbers.
pub struct Sealing<'a> {
    pub aead: &'a Aead,
    pub salt: [u8; SALT_BYTES],
    pub header: Header,
    pub layout: Layout,
}

/// A `Reservation`: packet numbers that are ours, to be used once or never.
struct Keys<'py> {
    aead: Bound<'py, Aead>,
    salt: [u8; SALT_BYTES],
    next: u64,
    left: u64,
    header: Header,
    layout: Layout,
}

impl<'py> Keys<'py> {
    fn of(keys: &Bound<'py, PyAny>) -> PyResult<Self> {
        type Fields<'py> = (
            Bound<'py, Aead>,
            Bound<'py, PyAny>,
            u64,
            Bound<'py, PyBytes>,
            Bound<'py, PyAny>,
            u64,
        );
        let (aead, salt, next, blank, layout, left) = keys.extract::<Fields<'py>>()?;
        let layout = Layout::of(&layout)?;
        if blank.as_bytes().len() != layout.header_bytes || next.checked_add(left).is_none() {
            return Err(PyValueError::new_err("not a reservation"));
        }
        let mut header = Header::new(layout);
        header.bytes_mut().copy_from_slice(blank.as_bytes());
        Ok(Self {
            aead,
            salt: salt_of(&salt)?,
            next,
            left,
            header,
            layout,
        })
    }

    fn sealing<'a>(&self, aead: &'a Bound<'_, Aead>) -> Sealing<'a> {
        Sealing {
            aead: aead.get(),
            salt: self.salt,
            header: self.header,
            layout: self.layout,
        }
    }

    /// Take as many packet numbers. Raises `ValueError` if more are wanted than were reserved.
    fn numbers(&mut self, count: usize) -> PyResult<u64> {
        let left = self.left.checked_sub(count as u64);
        self.left = left.ok_or_else(|| PyValueError::new_err("too few numbers were reserved"))?;
        self.next += count as u64;
        Ok(self.next - count as u64)
    }
}

/// Seal runs of one tunnel from `source` to offset `at` of `target`; return the sealed runs.
///
/// `keys` is a `Reservation` of as many packet numbers as the runs have packets. Nothing of a run but
/// tunnel and sizes is handed on. Raises `IndexError` where they don't lie in `source`, or don't fit into `target`.
#[pyfunction]
pub fn seal_runs<'py>(
    keys: &Bound<'py, PyAny>,
    source: &Bound<'py, PyAny>,
    runs: &Bound<'py, PyList>,
    target: &Bound<'py, PyAny>,
    at: u32,
) -> PyResult<Bound<'py, PyList>> {
    let py = keys.py();
    let mut keys = Keys::of(keys)?;
    let aead = keys.aead.clone();
    let mut sealing = keys.sealing(&aead);
    let (source, mut target) = (Memory::of_view(source)?, Memory::of_view(target)?);
    let sealed = PyList::empty(py);
    let mut at = at as usize;
    for run in runs {
        let run = Run::of(&run)?;
        let first = keys.numbers(run.packets)?;
        let out = sealing.run(first, &source, &run, &mut target, at)?;
        at = out.end().next_multiple_of(16);
        sealed.append(out.to_python(py)?)?;
    }
    Ok(sealed)
}

impl Sealing<'_> {
    /// Seal a run with the packet numbers from `first` on; the sealed run, without a source.
    pub fn run(
        &mut self,
        first: u64,
        source: &Memory,
        run: &Run,
        target: &mut Memory,
        at: usize,
    ) -> PyResult<Run> {
        let growth = self.layout.growth();
        if run.last < TAIL_BYTES {
            return Err(PyValueError::new_err("a packet is shorter than its tail"));
        }
        for i in 0..run.packets {
            let (from, size) = run.packet(i);
            let to = at + i * (run.size + growth);
            let (number, next) = (first + i as u64, run.next);
            self.packet(number, source, from..from + size, next, target, to)?;
        }
        Ok(Run {
            next: 0,
            size: run.size + growth,
            last: run.last + growth,
            offset: at,
            source: Source::NONE,
            ..*run
        })
    }

    fn packet(
        &mut self,
        number: u64,
        source: &Memory,
        from: Range<usize>,
        next: u8,
        target: &mut Memory,
        at: usize,
    ) -> PyResult<()> {
        let (head, size) = (self.layout.header_bytes, from.len());
        self.header.number(number);
        source.copy_into(from.start, target, at + head, size)?;
        let whole = target.own()?.get_mut(at..at + size + self.layout.growth());
        let whole = whole.ok_or_else(|| PyIndexError::new_err("no room for a sealed packet"))?;
        let (header, sealed) = whole.split_at_mut(head);
        header.copy_from_slice(self.header.bytes());
        if next != NEXT_INNER {
            sealed[size - TAIL_BYTES] = 0;
            sealed[size - 1] = next;
        }
        let nonce = packet_nonce(self.salt, number);
        self.header
            .bound(|bound| self.aead.seal(nonce, bound, sealed))
    }
}
