//! Why an untrusted packet is refused: members of `chancel.wire.drop.Drop`, and their counters.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The reasons that opening knows, in the order in which they are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    TooShort,
    ZeroSpi,
    OfferTooShort,
    SequenceMismatch,
    FlockMismatch,
    UnknownSpi,
    TooOld,
    Duplicate,
    BadTag,
    ReservedNotZero,
    UnknownNext,
}

const NAMES: [(Reason, &str); 11] = [
    (Reason::TooShort, "TOO_SHORT"),
    (Reason::ZeroSpi, "ZERO_SPI"),
    (Reason::OfferTooShort, "OFFER_TOO_SHORT"),
    (Reason::SequenceMismatch, "SEQUENCE_MISMATCH"),
    (Reason::FlockMismatch, "FLOCK_MISMATCH"),
    (Reason::UnknownSpi, "UNKNOWN_SPI"),
    (Reason::TooOld, "TOO_OLD"),
    (Reason::Duplicate, "DUPLICATE"),
    (Reason::BadTag, "BAD_TAG"),
    (Reason::ReservedNotZero, "RESERVED_NOT_ZERO"),
    (Reason::UnknownNext, "UNKNOWN_NEXT"),
];

static DROP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// The member of Python's enum.
pub fn reason_of<'py>(py: Python<'py>, reason: Reason) -> PyResult<Bound<'py, PyAny>> {
    let drop = DROP.get_or_try_init(py, || {
        PyResult::Ok(py.import("chancel.wire.drop")?.getattr("Drop")?.unbind())
    })?;
    drop.bind(py).getattr(NAMES[reason as usize].1)
}

/// How often each was met during one call; added to Python's counters when it ends.
#[derive(Default)]
pub struct Refusals {
    counts: [u32; NAMES.len()],
    any: bool,
}

impl Refusals {
    pub fn count(&mut self, reason: Reason) {
        self.counts[reason as usize] += 1;
        self.any = true;
    }

    /// Add these to the opener's `drops`, a `Counter`.
    pub fn tell(&self, opener: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.any {
            return Ok(());
        }
        let drops = opener.getattr(intern!(opener.py(), "drops"))?;
        for ((reason, _), &count) in NAMES.into_iter().zip(&self.counts) {
            if count != 0 {
                let member = reason_of(opener.py(), reason)?;
                let sum = drops.get_item(&member)?.add(count)?;
                drops.set_item(member, sum)?;
            }
        }
        Ok(())
    }
}
