//! Turns of bless (`chancel.daemon.duties.bless`): from the lane in, sealed, to the lane out.

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::aead::{Aead, SALT_BYTES, TAG_BYTES, salt_of};
use crate::header::{Header, Layout, NEXT_INNER, TAIL_BYTES};
use crate::lane::{LaneReader, LaneWriter};
use crate::runs::Run;
use crate::seal::Sealing;
use crate::turn::{Books, Outcome, Woken, run};

const FIRST_PACKET_NUMBER: u64 = 1;
/// What sealing adds at most, in the largest of layouts, and the packet that a run may hold.
const GROWTH_BYTES: usize = 48;
const MAX_PACKET_BYTES: usize = 2048;

/// The key that is sent with: the twin of `chancel.protocol.traffic.SendKey`. Packet numbers are
/// counted here alone, whether Python or a turn takes them.
#[pyclass(module = "chancel_accel")]
pub struct SendKey {
    #[pyo3(get)]
    spi: u32,
    #[pyo3(get)]
    salt: Py<PyBytes>,
    #[pyo3(get)]
    aead: Py<Aead>,
    #[pyo3(get)]
    header: Py<PyBytes>,
    #[pyo3(get, set)]
    installed_at: f64,
    #[pyo3(get, set)]
    next_number: u64,
    #[pyo3(get, set)]
    last_at: Option<f64>,
}

#[pymethods]
impl SendKey {
    #[new]
    fn new(
        spi: u32,
        salt: Py<PyBytes>,
        aead: Py<Aead>,
        header: Py<PyBytes>,
        installed_at: f64,
    ) -> Self {
        Self {
            spi,
            salt,
            aead,
            header,
            installed_at,
            next_number: FIRST_PACKET_NUMBER,
            last_at: None,
        }
    }
}

/// One tunnel that has a key, and what was carried for it since Python asked.
struct Tunnel {
    key: Py<SendKey>,
    aead: Py<Aead>,
    salt: [u8; SALT_BYTES],
    header: Header,
    layout: Layout,
    /// What the next number never exceeds, and how many seconds the key is good for.
    most: u64,
    age_s: f64,
    bytes: u64,
}

impl Tunnel {
    /// Take packet numbers, if the key still has so many.
    fn numbers(&self, py: Python<'_>, count: usize, now: f64) -> Option<u64> {
        let mut key = self.key.try_borrow_mut(py).ok()?;
        let first = key.next_number;
        let next = first.checked_add(count as u64)?;
        if next > self.most || now >= key.installed_at + self.age_s {
            return None;
        }
        key.next_number = next;
        key.last_at = Some(now);
        Some(first)
    }
}

/// The turns of bless.
#[pyclass(module = "chancel_accel")]
pub struct SealTurns {
    input: Py<LaneReader>,
    output: Py<LaneWriter>,
    source: i32,
    tunnels: HashMap<u16, Tunnel>,
    sealed: Vec<Run>,
}

#[pymethods]
impl SealTurns {
    #[new]
    fn new(py: Python<'_>, input: Py<LaneReader>, output: Py<LaneWriter>) -> Self {
        let source = input.borrow(py).fd();
        Self {
            source,
            input,
            output,
            tunnels: HashMap::new(),
            sealed: Vec::new(),
        }
    }

    /// Seal a tunnel's packets under this key from now on: as long as the key's next number doesn't
    /// exceed `most`, and it is younger than `age_s`.
    fn serve(
        &mut self,
        py: Python<'_>,
        tunnel: u16,
        key: Py<SendKey>,
        layout: &Bound<'_, PyAny>,
        most: u64,
        age_s: f64,
    ) -> PyResult<()> {
        let layout = Layout::of(layout)?;
        let found = key.borrow(py);
        let mut header = Header::new(layout);
        header.fill(found.header.bind(py).as_bytes())?;
        let made = Tunnel {
            aead: found.aead.clone_ref(py),
            salt: salt_of(found.salt.bind(py).as_any())?,
            header,
            layout,
            most,
            age_s,
            bytes: 0,
            key: key.clone_ref(py),
        };
        drop(found);
        self.tunnels.insert(tunnel, made);
        Ok(())
    }

    /// Carry nothing for a tunnel any more, and forget its key.
    fn forget(&mut self, tunnel: u16) {
        self.tunnels.remove(&tunnel);
    }

    /// Wait on `epoll` until there is something for Python to do: see `turn::run`.
    fn run(&mut self, py: Python<'_>, epoll: i32, deadline: f64, books: Books) -> PyResult<Woken> {
        run(py, epoll, deadline, books, |fd, now| {
            if fd == self.source {
                self.carry(py, now)
            } else {
                Ok(Outcome::Python)
            }
        })
    }

    /// What was carried since this was asked last: tunnels, and the bytes of their datagrams.
    fn carried(&mut self) -> Vec<(u16, u64)> {
        let some = self.tunnels.iter_mut().filter(|(_, each)| each.bytes != 0);
        some.map(|(&tunnel, each)| (tunnel, std::mem::take(&mut each.bytes)))
            .collect()
    }
}

impl SealTurns {
    fn carry(&mut self, py: Python<'_>, now: f64) -> PyResult<Outcome> {
        let mut output = self.output.try_borrow_mut(py)?;
        let mut input = self.input.try_borrow_mut(py)?;
        let Some(to) = output.next()? else {
            return Ok(Outcome::Python);
        };
        let Some(from) = input.look()? else {
            return Ok(Outcome::Nothing);
        };
        let Some((tunnel, packets, bytes)) = ordinary(input.runs(), output.slot_bytes()) else {
            return Ok(Outcome::Python);
        };
        let Some(tunnel) = self.tunnels.get_mut(&tunnel) else {
            return Ok(Outcome::Python);
        };
        let Some(mut first) = tunnel.numbers(py, packets, now) else {
            return Ok(Outcome::Python);
        };
        let mut sealing = Sealing {
            aead: tunnel.aead.get(),
            salt: tunnel.salt,
            header: tunnel.header,
            layout: tunnel.layout,
        };
        self.sealed.clear();
        let (source, begin) = input.slot(from);
        let (target, base) = output.slot_mut(to);
        let mut at = 0;
        for run in input.runs() {
            let there = Run {
                offset: begin + run.offset,
                ..*run
            };
            let mut sealed = sealing.run(first, source, &there, target, base + at)?;
            sealed.offset = at;
            at = sealed.end().next_multiple_of(16);
            first += run.packets as u64;
            self.sealed.push(sealed);
        }
        tunnel.bytes += (bytes + packets * (tunnel.layout.header_bytes + TAG_BYTES)) as u64;
        output.hand_over(py, &self.sealed)?;
        input.done(from)?;
        Ok(Outcome::Carried)
    }
}

/// Of runs that are inner packets of one tunnel and fit, sealed, into one slot: the tunnel, how
/// many packets, and how many bytes.
fn ordinary(runs: &[Run], slot_bytes: usize) -> Option<(u16, usize, usize)> {
    let tunnel = runs.first()?.tunnel;
    let (mut packets, mut bytes, mut room) = (0, 0, 0_usize);
    for run in runs {
        if run.tunnel != tunnel
            || run.next != NEXT_INNER
            || !run.source.is_zero()
            || run.last < TAIL_BYTES
            || run.size + GROWTH_BYTES > MAX_PACKET_BYTES
        {
            return None;
        }
        let length = run.end() - run.offset;
        packets += run.packets;
        bytes += length;
        room = room.next_multiple_of(16) + length + run.packets * GROWTH_BYTES;
    }
    (room <= slot_bytes).then_some((tunnel, packets, bytes))
}
