//! Filling a slot with packets: equal ones become one run (`chancel.daemon.hot.filling`).

use crate::device_checksum::{finish_nonzero, sum};
use crate::device_vnet::TAIL_BYTES;
use crate::runs::{MAX_RUN_PACKETS, Run, Source};
use pyo3::prelude::*;
use pyo3::types::PyList;

const MAX_RUNS: usize = 256;
const GROWTH_BYTES: usize = 48;
const ALIGN: usize = 16;

/// Where summing starts, and where from there the checksum goes.
pub type Checksum = (usize, usize);

#[derive(Clone, Copy)]
struct Open {
    packets: usize,
    size: usize,
    last: usize,
    offset: usize,
    needs: Option<Checksum>,
}

impl Open {
    fn end(&self) -> usize {
        self.offset + (self.packets - 1) * self.size + self.last
    }

    /// Whether so many packets of this size may follow.
    fn takes(&self, size: usize, count: usize) -> bool {
        self.last == self.size && size <= self.size && self.packets + count <= MAX_RUN_PACKETS
    }
}

/// The runs of one batch in the making, all of one tunnel.
pub struct Filling<'slot> {
    pub slot: &'slot mut [u8],
    runs: Vec<Open>,
    open: Option<Open>,
    room: usize,
    end: usize,
}

impl<'slot> Filling<'slot> {
    pub fn new(slot: &'slot mut [u8]) -> Self {
        let room = slot.len();
        Self {
            slot,
            runs: Vec::new(),
            open: None,
            room,
            end: 0,
        }
    }

    /// Whether so many packets of that size surely fit, now.
    pub fn fits(&self, count: usize, packet_bytes: usize) -> bool {
        self.room >= count * (packet_bytes + TAIL_BYTES + GROWTH_BYTES) + 2 * ALIGN
            && self.runs.len() < MAX_RUNS - 1
    }

    /// How many packets of that size fit at most, now, as one train.
    pub fn room(&self, packet_bytes: usize) -> usize {
        let free = self.room.saturating_sub(2 * ALIGN);
        (free / (packet_bytes + TAIL_BYTES + GROWTH_BYTES)).min(MAX_RUN_PACKETS)
    }

    /// Append one packet, and complete its checksum where that was left to the device. The caller
    /// has seen that it fits.
    pub fn packet(&mut self, packet: &[u8], needs: Option<Checksum>) {
        let size = packet.len() + TAIL_BYTES;
        let at = match &mut self.open {
            Some(run) if run.needs == needs && run.takes(size, 1) => {
                let at = run.end();
                run.packets += 1;
                run.last = size;
                at
            }
            _ => self.begin(1, size, size, needs),
        };
        self.take(at + size, size, 1);
        let place = &mut self.slot[at..at + size];
        let (body, tail) = place.split_at_mut(packet.len());
        body.copy_from_slice(packet);
        tail.fill(0);
        if let Some((start, field)) = needs {
            let value = finish_nonzero(sum(&body[start..]));
            body[start + field..start + field + 2].copy_from_slice(&value);
        }
    }

    /// Make room for `count` packets (sizes with tails), and say where they begin.
    pub fn train(&mut self, count: usize, size: usize, last: usize) -> usize {
        let at = match &mut self.open {
            Some(run) if run.needs.is_none() && size == run.size && run.takes(size, count) => {
                let at = run.end();
                run.packets += count;
                run.last = last;
                at
            }
            _ => self.begin(count, size, last, None),
        };
        self.take(at + (count - 1) * size + last, size, count);
        at
    }

    fn begin(
        &mut self,
        packets: usize,
        size: usize,
        last: usize,
        needs: Option<Checksum>,
    ) -> usize {
        self.runs.extend(self.open.take());
        let offset = self.end.next_multiple_of(ALIGN);
        self.room = self.room.saturating_sub(ALIGN);
        self.open = Some(Open {
            packets,
            size,
            last,
            offset,
            needs,
        });
        offset
    }

    fn take(&mut self, end: usize, size: usize, count: usize) {
        self.end = end;
        self.room = self.room.saturating_sub(count * (size + GROWTH_BYTES));
    }

    /// All runs of the batch, as Python has them.
    pub fn finish<'py>(self, py: Python<'py>, tunnel: u16) -> PyResult<Bound<'py, PyList>> {
        let runs = PyList::empty(py);
        for run in self.runs(tunnel) {
            runs.append(run.to_python(py)?)?;
        }
        Ok(runs)
    }

    /// All runs of the batch.
    pub fn runs(mut self, tunnel: u16) -> impl Iterator<Item = Run> {
        self.runs.extend(self.open.take());
        self.runs.into_iter().map(move |open| Run {
            tunnel,
            next: 0,
            packets: open.packets,
            size: open.size,
            last: open.last,
            offset: open.offset,
            source: Source::NONE,
        })
    }
}
