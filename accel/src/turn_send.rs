//! Turns of purgatory-tx (`chancel.daemon.duties.purgatory_tx`): from the lane of bless to the
//! network, where nothing is masked.

use std::collections::HashMap;
use std::mem::take;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::lane::LaneReader;
use crate::net_address::{Packed, SocketAddress};
use crate::net_send::{Sent, Socket, send_all};
use crate::runs::Run;
use crate::turn::{Books, Outcome, Woken, run};

/// Where the packets of one tunnel go, and what became of those that went since Python asked.
struct Tunnel {
    socket: Socket,
    gso: bool,
    sent: Sent,
}

/// The turns of purgatory-tx.
#[pyclass(module = "chancel_accel")]
pub struct SendTurns {
    input: Py<LaneReader>,
    source: i32,
    tunnels: HashMap<u16, Tunnel>,
    runs: Vec<Run>,
}

#[pymethods]
impl SendTurns {
    #[new]
    fn new(py: Python<'_>, input: Py<LaneReader>) -> Self {
        let source = input.borrow(py).fd();
        Self {
            source,
            input,
            tunnels: HashMap::new(),
            runs: Vec::new(),
        }
    }

    /// Send a tunnel's packets from this socket to this peer (packed) from now on. If the socket
    /// can't reach such an address, that is left to Python, which counts it.
    fn serve(
        &mut self,
        tunnel: u16,
        fd: i32,
        is_ipv6: bool,
        peer: &[u8],
        gso: bool,
    ) -> PyResult<()> {
        let no_address = |_| PyValueError::new_err("no packed address");
        let peer: &Packed = peer.try_into().map_err(no_address)?;
        self.tunnels.remove(&tunnel);
        if let Some((to, to_bytes)) = SocketAddress::of(peer, is_ipv6) {
            let (socket, sent) = (Socket { fd, to, to_bytes }, Sent::default());
            self.tunnels.insert(tunnel, Tunnel { socket, gso, sent });
        }
        Ok(())
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

    /// What was carried since this was asked last: tunnels, and what `send_runs` would have said.
    fn carried<'py>(&mut self, py: Python<'py>) -> PyResult<Vec<(u16, Bound<'py, PyAny>)>> {
        let some = self
            .tunnels
            .iter_mut()
            .filter(|(_, each)| each.sent.calls != 0);
        some.map(|(&tunnel, each)| Ok((tunnel, take(&mut each.sent).into_python(py)?)))
            .collect()
    }
}

impl SendTurns {
    fn carry(&mut self, py: Python<'_>) -> PyResult<Outcome> {
        let mut input = self.input.try_borrow_mut(py)?;
        let Some(slot) = input.look()? else {
            return Ok(Outcome::Nothing);
        };
        let Some(number) = ordinary(input.runs()) else {
            return Ok(Outcome::Python);
        };
        let Some(tunnel) = self.tunnels.get_mut(&number) else {
            return Ok(Outcome::Python);
        };
        let (memory, begin) = input.slot(slot);
        self.runs.clear();
        self.runs.extend(input.runs().iter().map(|run| Run {
            offset: begin + run.offset,
            ..*run
        }));
        send_all(
            tunnel.socket,
            &mut tunnel.sent,
            memory,
            &self.runs,
            tunnel.gso,
        )?;
        input.done(slot)?;
        if tunnel.sent.refusal != 0 || tunnel.sent.fatal != 0 {
            return Ok(Outcome::Settle);
        }
        Ok(Outcome::Carried)
    }
}

/// The tunnel of runs that all go to where its peer surely is.
fn ordinary(runs: &[Run]) -> Option<u16> {
    let tunnel = runs.first()?.tunnel;
    let all = runs
        .iter()
        .all(|run| run.tunnel == tunnel && run.source.is_zero());
    all.then_some(tunnel)
}
