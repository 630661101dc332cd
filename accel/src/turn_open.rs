//! Turns of confess (`chancel.daemon.duties.confess`): from the lane in, opened, to the lane out.
//!
//! Ordinary are inner packets under the key that the peer uses, from where it was, each with a
//! higher number than all before. They are opened all, and only then counted: whatever is wrong with
//! any of them, Python finds the batch as it came.

use std::collections::HashMap;
use std::mem::take;

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::aead::{Aead, SALT_BYTES, TAG_BYTES, packet_nonce, salt_of};
use crate::header::{Header, Layout, NEXT_INNER, TAIL_BYTES};
use crate::lane::{LaneReader, LaneWriter};
use crate::memory::Memory;
use crate::runs::{Run, Source};
use crate::turn::{Books, Outcome, Woken, run};
use crate::window::ReplayWindow;

/// One tunnel whose peer uses a key, and what was carried for it since Python asked.
struct Tunnel {
    spi: u32,
    salt: [u8; SALT_BYTES],
    aead: Py<Aead>,
    window: Py<ReplayWindow>,
    layout: Layout,
    flocks: Vec<u8>,
    source: Source,
    until: f64,
    packets: usize,
    bytes: usize,
    at: f64,
}

impl Tunnel {
    /// Open one packet to `to`, if it is ordinary; its number.
    fn open(
        &self,
        memory: &Memory,
        (from, size): (usize, usize),
        target: &mut Memory,
        to: usize,
        above: u64,
    ) -> PyResult<Option<u64>> {
        let mut header = Header::new(self.layout);
        memory.copy_to(from, header.bytes_mut())?;
        let number = match header.read_untrusted(&self.flocks) {
            Ok((spi, number)) if spi == self.spi && number > above => number,
            _ => return Ok(None),
        };
        let (head, text) = (self.layout.header_bytes, size - self.layout.growth());
        let mut tag = [0; TAG_BYTES];
        memory.copy_into(from + head, target, to, text)?;
        memory.copy_to(from + head + text, &mut tag)?;
        let opened = target.own()?.get_mut(to..to + text);
        let opened = opened.ok_or_else(|| PyIndexError::new_err("no room for a packet"))?;
        let nonce = packet_nonce(self.salt, number);
        let authentic = header.bound(|bound| self.aead.get().open(nonce, bound, opened, &tag));
        let inner = opened.last_chunk::<TAIL_BYTES>() == Some(&[0, NEXT_INNER]);
        Ok((authentic && inner).then_some(number))
    }
}

/// The turns of confess.
#[pyclass(module = "chancel_accel")]
pub struct OpenTurns {
    input: Py<LaneReader>,
    output: Py<LaneWriter>,
    source: i32,
    tunnels: HashMap<u16, Tunnel>,
    opened: Vec<Run>,
    numbers: Vec<u64>,
}

#[pymethods]
impl OpenTurns {
    #[new]
    fn new(py: Python<'_>, input: Py<LaneReader>, output: Py<LaneWriter>) -> Self {
        let source = input.borrow(py).fd();
        Self {
            source,
            input,
            output,
            tunnels: HashMap::new(),
            opened: Vec::new(),
            numbers: Vec::new(),
        }
    }

    /// Open a tunnel's packets from now on and `until` then: those under the key of `slot` (a
    /// `Slot` of the opener) between these `flocks` from this packed `source`.
    fn serve(
        &mut self,
        tunnel: u16,
        slot: &Bound<'_, PyAny>,
        layout: &Bound<'_, PyAny>,
        flocks: &Bound<'_, PyBytes>,
        source: &Bound<'_, PyAny>,
        until: f64,
    ) -> PyResult<()> {
        let made = Tunnel {
            spi: slot.getattr("spi")?.extract()?,
            salt: salt_of(&slot.getattr("salt")?)?,
            aead: slot.getattr("aead")?.cast_into::<Aead>()?.unbind(),
            window: slot
                .getattr("window")?
                .cast_into::<ReplayWindow>()?
                .unbind(),
            layout: Layout::of(layout)?,
            flocks: flocks.as_bytes().to_vec(),
            source: Source::of(source)?,
            until,
            packets: 0,
            bytes: 0,
            at: 0.0,
        };
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

    /// What was carried since this was asked last: tunnels; how many packets, the bytes in them,
    /// and when the last came.
    fn carried(&mut self) -> Vec<(u16, usize, usize, f64)> {
        let some = self
            .tunnels
            .iter_mut()
            .filter(|(_, each)| each.packets != 0);
        some.map(|(&tunnel, each)| {
            let (packets, bytes) = (take(&mut each.packets), take(&mut each.bytes));
            (tunnel, packets, bytes, each.at)
        })
        .collect()
    }
}

impl OpenTurns {
    fn carry(&mut self, py: Python<'_>, now: f64) -> PyResult<Outcome> {
        let mut output = self.output.try_borrow_mut(py)?;
        let mut input = self.input.try_borrow_mut(py)?;
        let Some(to) = output.next()? else {
            return Ok(Outcome::Python);
        };
        let Some(from) = input.look()? else {
            return Ok(Outcome::Nothing);
        };
        let Some(first) = input.runs().first() else {
            return Ok(Outcome::Python);
        };
        let number = first.tunnel;
        let Some(tunnel) = self.tunnels.get_mut(&number) else {
            return Ok(Outcome::Python);
        };
        let runs = input.runs();
        if now >= tunnel.until || !ordinary(runs, number, tunnel) {
            return Ok(Outcome::Python);
        }
        let mut window = tunnel.window.try_borrow_mut(py)?;
        let mut above = window.highest();
        self.opened.clear();
        self.numbers.clear();
        let (source, begin) = input.slot(from);
        let room = output.slot_bytes();
        let (target, base) = output.slot_mut(to);
        let growth = tunnel.layout.growth();
        let mut at = 0;
        let mut bytes = 0;
        for run in runs {
            let opened = Run {
                next: NEXT_INNER,
                size: run.size - growth,
                last: run.last - growth,
                offset: at,
                ..*run
            };
            if opened.end() > room {
                return Ok(Outcome::Python);
            }
            for i in 0..run.packets {
                let (offset, size) = run.packet(i);
                let place = (begin + offset, size);
                let goes = base + opened.packet(i).0;
                let Some(number) = tunnel.open(source, place, target, goes, above)? else {
                    return Ok(Outcome::Python);
                };
                self.numbers.push(number);
                above = number;
            }
            bytes += opened.end() - opened.offset - opened.packets * TAIL_BYTES;
            at = opened.end().next_multiple_of(16);
            self.opened.push(opened);
        }
        for &number in &self.numbers {
            window.accept(number);
        }
        tunnel.packets += self.numbers.len();
        tunnel.bytes += bytes;
        tunnel.at = now;
        output.hand_over(py, &self.opened)?;
        input.done(from)?;
        Ok(Outcome::Carried)
    }
}

/// Whether all runs are of this tunnel and from its peer, and no packet is too short to be one.
fn ordinary(runs: &[Run], number: u16, tunnel: &Tunnel) -> bool {
    runs.iter().all(|run| {
        run.tunnel == number
            && run.source == tunnel.source
            && run.last >= tunnel.layout.overhead_bytes
    })
}
