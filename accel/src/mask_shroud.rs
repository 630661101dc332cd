//! The shroud (`chancel.protocol.shroud`), put on and taken off for all datagrams of some runs.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::mask_group::{Layout, datagrams, taken, unwrap_runs};
use crate::mask_kmac::{Kmac256, Place};
use crate::mask_packing::{Lent, Packer};
use crate::memory::Memory;

const HEADER_BYTES: usize = 48;
const SHROUD_BYTES: usize = HEADER_BYTES + 1;
/// What any datagram has at least: header, tail and tag of traffic.
const OVERHEAD_BYTES: usize = 50;
const DRAW_BYTES: usize = 4;
const END: u8 = 0xff;
const CUSTOM: &[u8] = b"SANCTUM.SHROUD.KDF";
const LAYOUT: Layout = Layout {
    header: HEADER_BYTES,
    least: HEADER_BYTES + OVERHEAD_BYTES,
    masked: usize::MAX,
};

/// Masks datagrams under one key, which is erased with this object.
#[pyclass(frozen)]
pub struct Shroud {
    kmac: Kmac256,
}

#[pymethods]
impl Shroud {
    /// Raises `ValueError` for a key of other than 32 bytes.
    #[new]
    fn new(key: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            kmac: Kmac256::of(key, CUSTOM)?,
        })
    }

    /// Wrap the datagrams of `runs` in `memory`, from the one with number `done` on (counted over
    /// all runs), into the slot that was lent, as long as there is room.
    ///
    /// `mark` and `random` are what there is of randomness: each header begins with the one, and
    /// takes its rest, and four bytes to grow by, from the other. `limit` is that of `Mask.wrap`.
    /// Returns how far the slot is used, and how many datagrams are done.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one thing, and none has a default"
    )]
    fn wrap<'py>(
        &self,
        memory: &Bound<'py, PyAny>,
        runs: Vec<Bound<'py, PyAny>>,
        limit: usize,
        mark: &[u8],
        random: &[u8],
        done: usize,
        lent: Lent<'py>,
    ) -> PyResult<(usize, usize)> {
        let (runs, memory) = (taken(&runs)?, Memory::of(memory)?);
        let (mut slot, mut packer) = Packer::begin(lent)?;
        let out = slot.own()?;
        let drawn = Drawn::new(mark, random)?;
        let (mut places, mut number) = (Vec::new(), done);
        for (like, from, size) in datagrams(&runs, done) {
            let total = SHROUD_BYTES + size;
            let total = total + growth(drawn.draw(number)?, limit, total);
            let at = packer.at;
            if !packer.add(&runs, like, total)? {
                break;
            }
            let (header, body) = out[at..at + total].split_at_mut(HEADER_BYTES);
            drawn.head(number, header);
            memory.copy_to(from, &mut body[..size])?;
            body[size] = END;
            body[size + 1..].fill(0);
            places.push(Place {
                at,
                masked: total - HEADER_BYTES,
            });
            number += 1;
        }
        self.kmac.mask(out, HEADER_BYTES, &places);
        Ok((packer.finish(&runs)?, number))
    }

    /// Unwrap the untrusted datagrams of `runs` in `memory`, as `wrap` wraps.
    ///
    /// Returns how far the slot is used, how many datagrams are done, and how many of these were
    /// too short, and had no end mark or too little before it.
    fn unwrap<'py>(
        &self,
        memory: &Bound<'py, PyAny>,
        runs: Vec<Bound<'py, PyAny>>,
        done: usize,
        lent: Lent<'py>,
    ) -> PyResult<(usize, usize, usize, usize)> {
        unwrap_runs(&self.kmac, LAYOUT, memory, &runs, done, lent, shown)
    }
}

/// What was drawn for the datagrams of a call, as the headers take it.
struct Drawn<'a> {
    mark: &'a [u8],
    random: &'a [u8],
    each: usize,
}

impl<'a> Drawn<'a> {
    fn new(mark: &'a [u8], random: &'a [u8]) -> PyResult<Self> {
        let Some(rest) = HEADER_BYTES.checked_sub(mark.len()) else {
            return Err(PyValueError::new_err("a mark is longer than a header"));
        };
        Ok(Self {
            mark,
            random,
            each: rest + DRAW_BYTES,
        })
    }

    /// What decides how far a datagram grows. Raises `ValueError` where too little was drawn.
    fn draw(&self, number: usize) -> PyResult<&'a [u8]> {
        let end = number
            .checked_add(1)
            .and_then(|next| next.checked_mul(self.each));
        let drawn = end.and_then(|end| self.random.get(end - DRAW_BYTES..end));
        drawn.ok_or_else(|| PyValueError::new_err("too few random bytes"))
    }

    /// Write the header of a datagram of which `draw` was asked before.
    fn head(&self, number: usize, header: &mut [u8]) {
        let (mark, rest) = header.split_at_mut(self.mark.len());
        mark.copy_from_slice(self.mark);
        let from = number * self.each;
        rest.copy_from_slice(&self.random[from..from + rest.len()]);
    }
}

/// What stands before the end mark, if that is a datagram.
fn shown(body: &[u8]) -> Option<&[u8]> {
    let end = body.iter().rposition(|byte| *byte != 0)?;
    (body[end] == END && end >= OVERHEAD_BYTES).then(|| &body[..end])
}

/// By how many zeros a datagram grows that would have `total` bytes.
fn growth(draw: &[u8], limit: usize, total: usize) -> usize {
    let room = limit.saturating_sub(total);
    if room < 2 {
        return 0;
    }
    let draw = draw
        .iter()
        .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    (draw % room as u64) as usize
}
