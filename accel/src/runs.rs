//! Runs (`chancel.daemon.run.Run`): packets of one size that lie one behind the other in a slot.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

static RUN: PyOnceLock<(Py<PyType>, Py<PyAny>)> = PyOnceLock::new();

/// A run, its numbers taken out of Python's tuple. `source` stays what it was.
pub struct Run<'py> {
    pub tunnel: u16,
    pub next: u8,
    pub packets: usize,
    pub size: usize,
    pub last: usize,
    pub offset: usize,
    pub source: Bound<'py, PyAny>,
}

impl<'py> Run<'py> {
    /// Take a `Run` apart. Raises `ValueError` for a run without packets or without bytes, and
    /// `OverflowError` for a number that no token can carry: so no sum of them overflows either.
    pub fn of(run: &Bound<'py, PyAny>) -> PyResult<Self> {
        type Fields<'py> = (u16, u8, u16, u16, u16, u32, Bound<'py, PyAny>);
        let (tunnel, next, packets, size, last, offset, source) = run.extract::<Fields<'py>>()?;
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
            source,
        })
    }

    /// Offset of the first byte behind the run.
    pub fn end(&self) -> usize {
        self.offset + (self.packets - 1) * self.size + self.last
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
    pub fn to_python(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
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
            &self.source,
        );
        new.bind(py).call1((kind.bind(py), fields))
    }
}
