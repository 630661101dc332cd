//! Turns of heaven-tx (`chancel.daemon.duties.heaven_tx`): from the lane of confess to the device.

use std::collections::HashMap;

use pyo3::prelude::*;

use crate::device_write::DeviceWriter;
use crate::header::NEXT_INNER;
use crate::lane::LaneReader;
use crate::memory::Memory;
use crate::runs::Run;
use crate::turn::{Books, Outcome, Woken, run};

/// The device of one tunnel, and whether it was written to since Python asked.
struct Tunnel {
    writer: Py<DeviceWriter>,
    carried: bool,
}

/// The turns of heaven-tx. Batches are copied to memory of its own before they are judged: their
/// writer may go on changing the slot.
#[pyclass(module = "chancel_accel")]
pub struct WriteTurns {
    input: Py<LaneReader>,
    source: i32,
    copy: Memory,
    tunnels: HashMap<u16, Tunnel>,
    runs: Vec<Run>,
}

#[pymethods]
impl WriteTurns {
    #[new]
    fn new(py: Python<'_>, input: Py<LaneReader>, copy: &Bound<'_, PyAny>) -> PyResult<Self> {
        let source = input.borrow(py).fd();
        Ok(Self {
            source,
            input,
            copy: Memory::of(copy)?,
            tunnels: HashMap::new(),
            runs: Vec::new(),
        })
    }

    /// Write a tunnel's packets to its device from now on.
    fn serve(&mut self, tunnel: u16, writer: Py<DeviceWriter>) {
        let carried = false;
        self.tunnels.insert(tunnel, Tunnel { writer, carried });
    }

    /// Carry nothing for a tunnel any more.
    fn forget(&mut self, tunnel: u16) {
        self.tunnels.remove(&tunnel);
    }

    /// Wait on `epoll` until there is something for Python to do: see `turn::run`.
    fn run(&mut self, py: Python<'_>, epoll: i32, deadline: f64, books: Books) -> PyResult<Woken> {
        run(py, epoll, deadline, books, |fd, _now| {
            if fd == self.source {
                self.carry(py)
            } else {
                Ok(Outcome::Python)
            }
        })
    }

    /// The tunnels that were written to since this was asked last.
    fn carried(&mut self) -> Vec<u16> {
        let some = self.tunnels.iter_mut().filter(|(_, each)| each.carried);
        some.map(|(&tunnel, each)| {
            each.carried = false;
            tunnel
        })
        .collect()
    }
}

impl WriteTurns {
    fn carry(&mut self, py: Python<'_>) -> PyResult<Outcome> {
        let mut input = self.input.try_borrow_mut(py)?;
        let Some(slot) = input.look()? else {
            return Ok(Outcome::Nothing);
        };
        let Some((number, from, to)) = ordinary(input.runs()) else {
            return Ok(Outcome::Python);
        };
        let Some(tunnel) = self.tunnels.get_mut(&number) else {
            return Ok(Outcome::Python);
        };
        let (memory, begin) = input.slot(slot);
        memory.copy_into(begin + from, &mut self.copy, from, to - from)?;
        self.runs.clear();
        self.runs.extend_from_slice(input.runs());
        input.done(slot)?;
        let mut writer = tunnel.writer.try_borrow_mut(py)?;
        let copy = self.copy.own()?;
        for run in &self.runs {
            writer.write_one(py, copy, run)?;
        }
        tunnel.carried = true;
        Ok(Outcome::Carried)
    }
}

/// Of runs that are inner packets of one tunnel: the tunnel, and from where to where they lie.
fn ordinary(runs: &[Run]) -> Option<(u16, usize, usize)> {
    let (first, last) = (runs.first()?, runs.last()?);
    let all = runs
        .iter()
        .all(|run| run.tunnel == first.tunnel && run.next == NEXT_INNER);
    all.then_some((first.tunnel, first.offset, last.end()))
}
