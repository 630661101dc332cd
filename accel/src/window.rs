//! The replay window (protocol section 9): the twin of `chancel.protocol.window.ReplayWindow`.
//!
//! Packet numbers are bits in a ring of words (RFC 6479): to go on means to clear the words that
//! are entered, whatever the width. A set bit says that its number was seen; what lies above the
//! highest number in its word is clear.

use std::fmt::Write;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::reasons::{Reason, reason_of};

const WORD_BITS: u64 = u64::BITS as u64;
const MAX_WIDTH: u64 = 1 << 16;

/// Which packet numbers of one key have been seen.
#[pyclass(module = "chancel_accel")]
pub struct ReplayWindow {
    #[pyo3(get)]
    width: u64,
    #[pyo3(get, name = "highest")]
    highest: u64,
    words: Vec<u64>,
}

impl ReplayWindow {
    /// The highest number that was seen.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Why a number isn't acceptable now, if it isn't.
    pub fn judge(&self, number: u64) -> Option<Reason> {
        if number > self.highest {
            return None;
        }
        if number == 0 || self.highest - number >= self.width {
            return Some(Reason::TooOld);
        }
        let (word, bit) = self.place(number);
        (self.words[word] & bit != 0).then_some(Reason::Duplicate)
    }

    /// Remember an acceptable number whose packet is authentic.
    pub fn accept(&mut self, number: u64) {
        if number > self.highest {
            self.advance(number);
        } else if self.highest - number >= self.width {
            return;
        }
        let (word, bit) = self.place(number);
        self.words[word] |= bit;
    }

    fn advance(&mut self, number: u64) {
        let (old, new) = (self.highest / WORD_BITS, number / WORD_BITS);
        let count = self.words.len() as u64;
        for entered in 0..(new - old).min(count) {
            let word = ((new - entered) % count) as usize;
            self.words[word] = 0;
        }
        self.highest = number;
    }

    fn place(&self, number: u64) -> (usize, u64) {
        let word = number / WORD_BITS % self.words.len() as u64;
        (word as usize, 1 << (number % WORD_BITS))
    }

    /// Whether a number from 0 to `width - 1` below the highest was seen.
    fn seen(&self, below: u64) -> bool {
        let Some(number) = self.highest.checked_sub(below) else {
            return false;
        };
        let (word, bit) = self.place(number);
        self.words[word] & bit != 0
    }
}

#[pymethods]
impl ReplayWindow {
    /// A window of so many numbers; raises `ValueError` for none, or more than 65,536.
    #[new]
    fn new(width: u64) -> PyResult<Self> {
        if !(1..=MAX_WIDTH).contains(&width) {
            return Err(PyValueError::new_err("no width for a replay window"));
        }
        // One word more than the width fills: the oldest number may lie anywhere in its word.
        let words = width.div_ceil(WORD_BITS) as usize + 1;
        Ok(Self {
            width,
            highest: 1,
            words: vec![0; words],
        })
    }

    /// The numbers seen: bit `width - 1` is the highest, each lower bit the number one less.
    #[getter]
    fn bitmap<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut digits = String::from("0b");
        for below in 0..self.width {
            let _ = write!(digits, "{}", u8::from(self.seen(below)));
        }
        py.get_type::<pyo3::types::PyInt>()
            .call1((PyString::new(py, &digits), 0))
    }

    /// Whether the number is acceptable now.
    fn check(&self, number: u64) -> bool {
        self.judge(number).is_none()
    }

    /// Why the number isn't acceptable: `DUPLICATE`, `TOO_OLD`, or `None` if it is.
    fn refusal<'py>(&self, py: Python<'py>, number: u64) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.judge(number)
            .map(|reason| reason_of(py, reason))
            .transpose()
    }

    /// Remember an acceptable number whose packet turned out to be authentic.
    fn mark(&mut self, number: u64) {
        self.accept(number);
    }

    /// Whether a non-empty batch only goes up, beyond what was seen.
    fn check_all(&self, numbers: Vec<u64>) -> bool {
        let first = numbers
            .first()
            .is_some_and(|&it| it >= self.highest && self.check(it));
        first && numbers.windows(2).all(|pair| pair[0] < pair[1])
    }

    /// Remember a batch for which `check_all` said yes and that is all authentic.
    fn mark_all(&mut self, numbers: Vec<u64>) {
        for number in numbers {
            self.accept(number);
        }
    }

    /// Forget which numbers up to the highest were seen, as the reference does at promotion.
    fn forget(&mut self) {
        self.words.fill(0);
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let bitmap = self.bitmap(py)?.call_method1("__format__", ("#x",))?;
        Ok(format!(
            "<ReplayWindow highest={} bitmap={bitmap}>",
            self.highest
        ))
    }
}
