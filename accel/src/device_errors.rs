//! Errors of system calls as Python has them: an `OSError` with its number and its words.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::io::Error;

/// The exception of a failed system call.
pub fn os_error(py: Python<'_>, error: &Error) -> PyErr {
    let number = error.raw_os_error().unwrap_or(0);
    match py
        .import("os")
        .and_then(|os| os.call_method1("strerror", (number,)))
    {
        Ok(words) => PyOSError::new_err((number, words.unbind())),
        Err(raised) => raised,
    }
}
