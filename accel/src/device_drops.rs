//! Packets that go no further, counted by reason (`chancel.wire.drop.Drop`).

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The reasons for which this stage drops, by the names of Python's enum.
#[derive(Clone, Copy)]
pub enum Reason {
    ReadShort,
    ReadLong,
    WriteFailed,
    TooShort,
    Version,
    Protocol,
    Address,
    Ethertype,
}

const NAMES: [&str; 8] = [
    "DEVICE_READ_SHORT",
    "DEVICE_READ_LONG",
    "DEVICE_WRITE_FAILED",
    "INNER_TOO_SHORT",
    "INNER_VERSION",
    "INNER_PROTOCOL",
    "INNER_ADDRESS",
    "INNER_ETHERTYPE",
];

#[derive(Default)]
pub struct Drops([u64; NAMES.len()]);

impl Drops {
    pub fn count(&mut self, reason: Reason, packets: usize) {
        self.0[reason as usize] += packets as u64;
    }

    /// What Python keeps: a dict of the reasons that there were.
    pub fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let reasons = py.import("chancel.wire.drop")?.getattr("Drop")?;
        let drops = PyDict::new(py);
        for (name, count) in NAMES.iter().zip(self.0).filter(|(_, count)| *count != 0) {
            drops.set_item(reasons.getattr(*name)?, count)?;
        }
        Ok(drops)
    }
}
