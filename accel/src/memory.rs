//! Memory that Python lends for the time of one call: slots of lanes, and buffers.
//!
//! A slot is mapped by two processes: its writer, and a reader that has it read-only. So what is
//! *writable* here is changed by nobody else, and may be a slice. What is *read-only* may change at
//! any moment under the hands of whoever reads it: it is never a slice, only copied from, or named
//! to the kernel.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

/// A buffer of bytes, held for one call.
pub struct Memory {
    buffer: PyBuffer<u8>,
}

impl Memory {
    /// The memory of a Python object with a contiguous buffer of bytes.
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = PyBuffer::<u8>::get(object)?;
        if !buffer.is_c_contiguous() {
            return Err(PyValueError::new_err("memory is not contiguous"));
        }
        Ok(Self { buffer })
    }

    /// The memory behind a `SlotView`.
    pub fn of_view(view: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::of(&view.getattr(pyo3::intern!(view.py(), "memory"))?)
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.buffer.len_bytes()
    }

    /// All of it, to be written. Raises `ValueError` if it is read-only: then it is somebody else's.
    pub fn own(&mut self) -> PyResult<&mut [u8]> {
        if self.buffer.readonly() {
            return Err(PyValueError::new_err(
                "memory of another process is not ours to write",
            ));
        }
        let (start, len) = (self.buffer.buf_ptr().cast::<u8>(), self.len());
        // SAFETY: the buffer is contiguous and held by `self`, so `start` is valid for `len` bytes
        // as long as the slice, which borrows `self`. It is writable: its only other mapping, in
        // the lane's reader, is read-only (sealed), and this thread holds the interpreter's lock
        // for the whole call, so nothing else in this process touches it.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, len) })
    }

    /// Copy the bytes from `at` on to `out`; raises `IndexError` outside.
    pub fn copy_to(&self, at: usize, out: &mut [u8]) -> PyResult<()> {
        let start = self.address(at, out.len())?;
        // SAFETY: `address` has checked that `out.len()` bytes lie there, and `out` can't overlap
        // them, being an exclusive borrow. Another process may write them meanwhile: then what is
        // copied is torn, which the reader treats as any other hostile input; no reference to the
        // memory is ever made.
        unsafe { std::ptr::copy_nonoverlapping(start, out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    /// Copy `len` bytes from `at` on to offset `to` of memory that is ours; raises `IndexError`
    /// outside of either, `ValueError` where `target` isn't ours. The two may overlap.
    pub fn copy_into(&self, at: usize, target: &mut Self, to: usize, len: usize) -> PyResult<()> {
        let start = self.address(at, len)?;
        let own = target.own()?;
        let Some(out) = to.checked_add(len).and_then(|end| own.get_mut(to..end)) else {
            return Err(PyIndexError::new_err("a packet lies outside of its slot"));
        };
        // SAFETY: `len` bytes lie at `start`, as `address` has checked, and in `out`. `copy` allows
        // them to be the same. What another process writes meanwhile is torn, as in `copy_to`.
        unsafe { std::ptr::copy(start, out.as_mut_ptr(), len) };
        Ok(())
    }

    /// Where `len` bytes from `at` on lie, for a system call; raises `IndexError` outside.
    pub fn address(&self, at: usize, len: usize) -> PyResult<*const u8> {
        match at.checked_add(len) {
            Some(end) if end <= self.len() => {
                // SAFETY: `at` is within the buffer (or its end), as was just checked.
                Ok(unsafe { self.buffer.buf_ptr().cast::<u8>().add(at) })
            }
            _ => Err(PyIndexError::new_err("a run lies outside of its slot")),
        }
    }
}
