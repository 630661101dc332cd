//! The compiled twins of Chancel's six hot functions (`chancel.daemon.hot`).
//!
//! Each does, byte for byte, what its twin in Python does, and knows no more than it is handed:
//! slots (shared memory), runs, descriptors. What lives here from one call to the next is cipher
//! contexts, replay windows, buffers of a descriptor, and counters.

mod memory;
mod runs;

use pyo3::prelude::*;

/// The module `chancel_accel`.
#[pymodule]
fn chancel_accel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}
