//! Turns of heaven-rx (`chancel.daemon.duties.heaven_rx`): from the device to the lane of bless.

use std::collections::HashMap;

use pyo3::prelude::*;

use crate::device_filling::Filling;
use crate::device_read::DeviceReader;
use crate::lane::LaneWriter;
use crate::runs::Run;
use crate::turn::{Books, Outcome, Woken, run};

/// The device of one tunnel, and whether it was read since Python asked.
struct Tunnel {
    tunnel: u16,
    reader: Py<DeviceReader>,
    carried: bool,
}

/// The turns of heaven-rx.
#[pyclass(module = "chancel_accel")]
pub struct ReadTurns {
    output: Py<LaneWriter>,
    devices: HashMap<i32, Tunnel>,
    runs: Vec<Run>,
}

#[pymethods]
impl ReadTurns {
    #[new]
    fn new(output: Py<LaneWriter>) -> Self {
        Self {
            output,
            devices: HashMap::new(),
            runs: Vec::new(),
        }
    }

    /// Read a tunnel's device from now on.
    fn serve(&mut self, py: Python<'_>, tunnel: u16, reader: Py<DeviceReader>) {
        let fd = reader.borrow(py).fd();
        let carried = false;
        let made = Tunnel {
            tunnel,
            reader,
            carried,
        };
        self.devices.insert(fd, made);
    }

    /// Carry nothing for a tunnel any more.
    fn forget(&mut self, tunnel: u16) {
        self.devices.retain(|_, each| each.tunnel != tunnel);
    }

    /// Wait on `epoll` until there is something for Python to do: see `turn::run`.
    fn run(&mut self, py: Python<'_>, epoll: i32, deadline: f64, books: Books) -> PyResult<Woken> {
        run(py, epoll, deadline, books, |fd, _now| self.carry(py, fd))
    }

    /// The tunnels that were read since this was asked last.
    fn carried(&mut self) -> Vec<u16> {
        let some = self.devices.values_mut().filter(|each| each.carried);
        some.map(|each| {
            each.carried = false;
            each.tunnel
        })
        .collect()
    }
}

impl ReadTurns {
    fn carry(&mut self, py: Python<'_>, fd: i32) -> PyResult<Outcome> {
        let Some(device) = self.devices.get_mut(&fd) else {
            return Ok(Outcome::Python);
        };
        let mut reader = device.reader.try_borrow_mut(py)?;
        let mut output = self.output.try_borrow_mut(py)?;
        let Some(slot) = output.next()? else {
            return Ok(Outcome::Python);
        };
        if reader.rest() {
            return Ok(Outcome::Python);
        }
        let mut filling = Filling::new(output.bytes_mut(slot)?);
        let ended = reader.drain(&mut filling);
        self.runs.clear();
        self.runs.extend(filling.runs(device.tunnel));
        device.carried = true;
        if !self.runs.is_empty() {
            output.hand_over(py, &self.runs)?;
        }
        if ended.is_err() || reader.rest() {
            return Ok(Outcome::Python); // who meets the error again, or goes on with the train
        }
        Ok(Outcome::Carried)
    }
}
