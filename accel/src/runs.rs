//! Runs (`chancel.daemon.run.Run`): packets of one size that lie one behind the other in a slot.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyTuple, PyType};

use crate::memory::Memory;

/// An address as runs carry it: IPv6 (IPv4 mapped into it), then the port, big-endian.
pub const SOURCE_BYTES: usize = 18;

/// Packets that a run has room for (`chancel.daemon.run`).
pub const MAX_RUN_PACKETS: usize = 4096;

static RUN: PyOnceLock<(Py<PyType>, Py<PyAny>)> = PyOnceLock::new();

/// What Python has as `Run.source`: an address, or nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Source {
    bytes: [u8; SOURCE_BYTES],
    len: usize,
}

impl Source {
    /// No source, as runs have it that were not received from the network.
    pub const NONE: Self = Self {
        bytes: [0; SOURCE_BYTES],
        len: 0,
    };

    /// A whole address.
    pub fn packed(bytes: [u8; SOURCE_BYTES]) -> Self {
        Self {
            bytes,
            len: SOURCE_BYTES,
        }
    }

    /// Python's bytes. Raises `ValueError` if they are longer than an address.
    pub fn of(source: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut found = Self::NONE;
        if let Ok(bytes) = source.cast::<PyBytes>() {
            found.take(bytes.as_bytes())?;
        } else {
            let memory = Memory::of(source)?;
            let mut bytes = vec![0; memory.len().min(SOURCE_BYTES + 1)];
            memory.copy_to(0, &mut bytes)?;
            found.take(&bytes)?;
        }
        Ok(found)
    }

    fn take(&mut self, bytes: &[u8]) -> PyResult<()> {
        let Some(room) = self.bytes.get_mut(..bytes.len()) else {
            return Err(PyValueError::new_err("no source is longer than an address"));
        };
        room.copy_from_slice(bytes);
        self.len = bytes.len();
        Ok(())
    }

    /// The bytes that Python has.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Whether it names nothing.
    pub fn is_zero(&self) -> bool {
        self.bytes == [0; SOURCE_BYTES]
    }

    /// The same, filled up with zeros, as a token carries it.
    pub fn filled(&self) -> &[u8; SOURCE_BYTES] {
        &self.bytes
    }
}

/// A run, its numbers taken out of Python's tuple.
#[derive(Clone, Copy)]
pub struct Run {
    pub tunnel: u16,
    pub next: u8,
    pub packets: usize,
    pub size: usize,
    pub last: usize,
    pub offset: usize,
    pub source: Source,
}

impl Run {
    /// Take a `Run` apart. Raises `ValueError` for a run without packets or without bytes, and
    /// `OverflowError` for a number that no token can carry: so no sum of them overflows either.
    pub fn of(run: &Bound<'_, PyAny>) -> PyResult<Self> {
        type Fields<'py> = (u16, u8, u16, u16, u16, u32, Bound<'py, PyAny>);
        let (tunnel, next, packets, size, last, offset, source) = run.extract::<Fields<'_>>()?;
        let (packets, size) = (usize::from(packets), usize::from(size));
        let (last, offset) = (usize::from(last), offset as usize);
        if packets == 0 || last == 0 || last > size {
            return Err(PyValueError::new_err("a run without packets"));
        }
        Ok(Self {
            tunnel,
            next,
            packets,
            size,
            last,
            offset,
            source: Source::of(&source)?,
        })
    }

    /// Offset of the first byte behind the run.
    pub fn end(&self) -> usize {
        self.offset + (self.packets - 1) * self.size + self.last
    }

    /// Take another run in, if it goes on where this one ends and all stays one run.
    pub fn extend(&mut self, next: &Self) -> bool {
        let packets = self.packets + next.packets;
        let fits = next.size == self.size || (next.packets == 1 && next.size < self.size);
        let joins = self.tunnel == next.tunnel
            && self.next == next.next
            && self.source == next.source
            && self.end() == next.offset
            && self.last == self.size
            && fits
            && packets <= MAX_RUN_PACKETS;
        if joins {
            self.packets = packets;
            self.last = next.last;
        }
        joins
    }

    /// Where packet `i` begins, and how long it is.
    pub fn packet(&self, i: usize) -> (usize, usize) {
        let size = if i + 1 == self.packets {
            self.last
        } else {
            self.size
        };
        (self.offset + i * self.size, size)
    }

    /// The `Run` of Python's.
    pub fn to_python<'py>(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (kind, new) = RUN.get_or_try_init(py, || {
            let kind = py.import("chancel.daemon.run")?.getattr("Run")?;
            let new = py.get_type::<PyTuple>().getattr("__new__")?;
            PyResult::Ok((kind.cast_into::<PyType>()?.unbind(), new.unbind()))
        })?;
        let fields = (
            self.tunnel,
            self.next,
            self.packets,
            self.size,
            self.last,
            self.offset,
            PyBytes::new(py, self.source.as_bytes()),
        );
        new.bind(py).call1((kind.bind(py), fields))
    }
}
