//! The mask of release 0.9.20 (`chancel.protocol.encapsulation`) for all datagrams of some runs.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::mask_group::{Layout, datagrams, taken, unwrap_runs};
use crate::mask_kmac::Kmac256;
use crate::mask_packing::{Lent, Packer};
use crate::memory::Memory;

const HEADER_BYTES: usize = 32;
/// What any datagram of that release has at least.
const OVERHEAD_BYTES: usize = 34;
const CUSTOM: &[u8] = b"SANCTUM.ENCAP.KDF";
const LAYOUT: Layout = Layout {
    header: HEADER_BYTES,
    least: HEADER_BYTES + OVERHEAD_BYTES,
    masked: 20,
};

/// Masks datagrams under one key, which is erased with this object.
#[pyclass(frozen)]
pub struct Encapsulation {
    kmac: Kmac256,
}

#[pymethods]
impl Encapsulation {
    /// Raises `ValueError` for a key of other than 32 bytes.
    #[new]
    fn new(key: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            kmac: Kmac256::of(key, CUSTOM)?,
        })
    }

    /// Wrap the datagrams of `runs` in `memory`, from the one with number `done` on (counted over
    /// all runs), into the slot that was lent, as long as there is room. `headers` are those of all
    /// datagrams.
    ///
    /// Returns how far the slot is used, and how many datagrams are done.
    fn wrap<'py>(
        &self,
        memory: &Bound<'py, PyAny>,
        runs: Vec<Bound<'py, PyAny>>,
        headers: &[u8],
        done: usize,
        lent: Lent<'py>,
    ) -> PyResult<(usize, usize)> {
        let (runs, memory) = (taken(&runs)?, Memory::of(memory)?);
        let (mut slot, mut packer) = Packer::begin(lent)?;
        let out = slot.own()?;
        let (headers, _) = headers.as_chunks::<HEADER_BYTES>();
        let (mut places, mut number) = (Vec::new(), done);
        for (like, from, size) in datagrams(&runs, done) {
            let Some(header) = headers.get(number) else {
                return Err(PyValueError::new_err("too few headers"));
            };
            let (at, total) = (packer.at, HEADER_BYTES + size);
            if !packer.add(&runs, like, total)? {
                break;
            }
            let (head, body) = out[at..at + total].split_at_mut(HEADER_BYTES);
            head.copy_from_slice(header);
            memory.copy_to(from, body)?;
            places.push(LAYOUT.place(at, total));
            number += 1;
        }
        self.kmac.mask(out, HEADER_BYTES, &places);
        Ok((packer.finish(&runs)?, number))
    }

    /// Unwrap the untrusted datagrams of `runs` in `memory`, as `wrap` wraps.
    ///
    /// Returns how far the slot is used, how many datagrams are done, how many of these were too
    /// short, and 0: any other comes out as something.
    fn unwrap<'py>(
        &self,
        memory: &Bound<'py, PyAny>,
        runs: Vec<Bound<'py, PyAny>>,
        done: usize,
        lent: Lent<'py>,
    ) -> PyResult<(usize, usize, usize, usize)> {
        unwrap_runs(&self.kmac, LAYOUT, memory, &runs, done, lent, anything)
    }
}

/// Nothing tells whether it was masked at all.
fn anything(body: &[u8]) -> Option<&[u8]> {
    Some(body)
}
