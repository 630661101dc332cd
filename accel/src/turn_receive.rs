//! Turns of purgatory-rx (`chancel.daemon.duties.purgatory_rx`): from the network to the lane of
//! confess, where nothing is masked.

use std::collections::HashMap;
use std::mem::take;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::lane::LaneWriter;
use crate::net_offers::has_offer;
use crate::net_receive::{Came, Receiving};
use crate::runs::Run;
use crate::turn::{Books, Outcome, Woken, run};

/// The socket of one tunnel, and what came since Python asked.
struct Tunnel {
    tunnel: u16,
    min_bytes: usize,
    offer_bytes: usize,
    magics: Vec<u8>,
    came: Came,
    fatal: i32,
}

/// What came with an offer, and lies in the slot at hand.
struct Mixed {
    tunnel: u16,
    runs: Vec<Run>,
}

/// The turns of purgatory-rx.
#[pyclass(module = "chancel_accel")]
pub struct ReceiveTurns {
    output: Py<LaneWriter>,
    sockets: HashMap<i32, Tunnel>,
    mixed: Option<Mixed>,
}

#[pymethods]
impl ReceiveTurns {
    #[new]
    fn new(output: Py<LaneWriter>) -> Self {
        Self {
            output,
            sockets: HashMap::new(),
            mixed: None,
        }
    }

    /// Receive for a tunnel from now on. `min_bytes` is the shortest datagram that is one, an offer
    /// has `offer_bytes` at least and begins with one of the `magics`.
    fn serve(
        &mut self,
        tunnel: u16,
        fd: i32,
        min_bytes: usize,
        offer_bytes: usize,
        magics: Vec<u8>,
    ) {
        let made = Tunnel {
            tunnel,
            min_bytes,
            offer_bytes,
            magics,
            came: Came::default(),
            fatal: 0,
        };
        self.sockets.insert(fd, made);
    }

    /// Carry nothing for a tunnel any more.
    fn forget(&mut self, tunnel: u16) {
        self.sockets.retain(|_, each| each.tunnel != tunnel);
    }

    /// Wait on `epoll` until there is something for Python to do: see `turn::run`.
    fn run(&mut self, py: Python<'_>, epoll: i32, deadline: f64, books: Books) -> PyResult<Woken> {
        run(py, epoll, deadline, books, |fd, _now| self.carry(py, fd))
    }

    /// What came since this was asked last: tunnels; how many datagrams and bytes, with how many
    /// calls; how many were too short and too long; and an error that is none of the network's.
    #[expect(clippy::type_complexity)]
    fn carried(&mut self) -> Vec<(u16, (usize, usize, usize, usize, usize, i32))> {
        let all = self.sockets.values_mut();
        all.filter(|each| each.came.calls != 0 || each.fatal != 0)
            .map(|each| {
                let came = take(&mut each.came);
                let (counts, sizes) = (
                    (came.datagrams, came.bytes),
                    (came.too_short, came.too_long),
                );
                let told = (
                    counts.0,
                    counts.1,
                    came.calls,
                    sizes.0,
                    sizes.1,
                    take(&mut each.fatal),
                );
                (each.tunnel, told)
            })
            .collect()
    }

    /// The tunnel and the runs of a batch with an offer in it, which lies in the slot at hand: to be
    /// sorted by Python before anything else.
    fn mixed<'py>(&mut self, py: Python<'py>) -> PyResult<Option<(u16, Bound<'py, PyList>)>> {
        let Some(Mixed { tunnel, runs }) = self.mixed.take() else {
            return Ok(None);
        };
        let list = PyList::empty(py);
        for run in &runs {
            list.append(run.to_python(py)?)?;
        }
        Ok(Some((tunnel, list)))
    }
}

impl ReceiveTurns {
    fn carry(&mut self, py: Python<'_>, fd: i32) -> PyResult<Outcome> {
        let Some(socket) = self.sockets.get_mut(&fd) else {
            return Ok(Outcome::Python);
        };
        let mut output = self.output.try_borrow_mut(py)?;
        let Some(slot) = output.next()? else {
            return Ok(Outcome::Python);
        };
        let room = output.bytes_mut(slot)?;
        let mut receiving = Receiving::new(socket.tunnel, socket.min_bytes);
        let (_, _, fatal) = receiving.drain(fd, room, 0);
        socket.came.add(&receiving.came);
        if fatal != 0 {
            socket.fatal = fatal;
            return Ok(Outcome::Settle);
        }
        let runs = receiving.runs;
        let has_offers = runs.iter().any(|run| {
            let bytes = &room[run.offset..run.end()];
            has_offer(run, bytes, socket.offer_bytes, &socket.magics)
        });
        if has_offers {
            let tunnel = socket.tunnel;
            self.mixed = Some(Mixed { tunnel, runs });
            return Ok(Outcome::Settle);
        }
        if !runs.is_empty() {
            output.hand_over(py, &runs)?;
        }
        Ok(Outcome::Carried)
    }
}
