//! Datagrams of runs, and those whose masks are taken off side by side, in memory of our own.
//!
//! Where they came from may change meanwhile, and what has no room in a slot is unwrapped again.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::mask_kmac::{Kmac256, Place, WIDTH};
use crate::mask_packing::{Lent, Packer};
use crate::memory::Memory;
use crate::runs::Run;

/// No packet of a run is longer (`chancel.daemon.run`).
const MAX_PACKET_BYTES: usize = 2048;

/// How a mask lies in a datagram.
#[derive(Clone, Copy)]
pub struct Layout {
    /// What stands before that which is masked, and makes the mask.
    pub header: usize,
    /// The shortest datagram that has a mask.
    pub least: usize,
    /// How much is masked at most.
    pub masked: usize,
}

impl Layout {
    /// Where the mask of a datagram goes.
    pub fn place(&self, at: usize, size: usize) -> Place {
        Place {
            at,
            masked: (size - self.header).min(self.masked),
        }
    }
}

/// Unwrap the untrusted datagrams of `runs` in `memory`, from the one with number `done` on (counted
/// over all runs), into the slot that was lent, as long as there is room. `shown` says what a
/// datagram is that was unmasked, or that it is none.
///
/// Returns how far the slot is used, how many datagrams are done, how many of these were too short
/// for a mask, and how many were none.
pub fn unwrap_runs<'py>(
    kmac: &Kmac256,
    layout: Layout,
    memory: &Bound<'py, PyAny>,
    runs: &[Bound<'py, PyAny>],
    done: usize,
    lent: Lent<'py>,
    shown: fn(&[u8]) -> Option<&[u8]>,
) -> PyResult<(usize, usize, usize, usize)> {
    let (runs, memory) = (taken(runs)?, Memory::of(memory)?);
    let (mut slot, mut packer) = Packer::begin(lent)?;
    let out = slot.own()?;
    let mut group = Group::new(&runs, layout);
    let (mut number, mut short, mut bad) = (done, 0, 0);
    let mut waiting = datagrams(&runs, done).peekable();
    'full: while waiting.peek().is_some() {
        group.fill(&memory, &mut waiting)?;
        kmac.mask(&mut group.bytes, layout.header, &group.places);
        for (like, body) in group.unmasked() {
            match body.map(shown) {
                Some(Some(datagram)) => {
                    let at = packer.at;
                    if !packer.add(&runs, like, datagram.len())? {
                        break 'full;
                    }
                    out[at..at + datagram.len()].copy_from_slice(datagram);
                }
                Some(None) => bad += 1,
                None => short += 1,
            }
            number += 1;
        }
    }
    Ok((packer.finish(&runs)?, number, short, bad))
}

/// A datagram of a group: the run that it is of, and where it lies, unless it is too short.
struct Member {
    like: usize,
    place: Option<(usize, usize)>,
}

/// Untrusted datagrams, each at its place.
struct Group {
    bytes: Vec<u8>,
    places: Vec<Place>,
    layout: Layout,
    stride: usize,
    members: Vec<Member>,
}

impl Group {
    /// Room for datagrams of these runs.
    fn new(runs: &[Run], layout: Layout) -> Self {
        let stride = runs.iter().map(|run| run.size).max().unwrap_or(0);
        let packets = runs.iter().map(|run| run.packets).sum::<usize>().min(WIDTH);
        Self {
            bytes: vec![0; stride * packets],
            places: Vec::with_capacity(packets),
            layout,
            stride,
            members: Vec::with_capacity(packets),
        }
    }

    /// Take the next ones, as they are.
    fn fill(
        &mut self,
        memory: &Memory,
        waiting: &mut impl Iterator<Item = (usize, usize, usize)>,
    ) -> PyResult<()> {
        self.places.clear();
        self.members.clear();
        while self.places.len() < WIDTH {
            let Some((like, from, size)) = waiting.next() else {
                break;
            };
            let mut place = None;
            if size >= self.layout.least {
                let at = self.places.len() * self.stride;
                memory.copy_to(from, &mut self.bytes[at..at + size])?;
                self.places.push(self.layout.place(at, size));
                place = Some((at, size));
            }
            self.members.push(Member { like, place });
        }
        Ok(())
    }

    /// What is behind each header, once the masks are off; nothing for those that are too short.
    fn unmasked(&self) -> impl Iterator<Item = (usize, Option<&[u8]>)> {
        self.members.iter().map(|member| {
            let body = |(at, size): (usize, usize)| &self.bytes[at + self.layout.header..at + size];
            (member.like, member.place.map(body))
        })
    }
}

/// Runs as Python has them. Raises `ValueError` for packets that are larger than any.
pub fn taken(runs: &[Bound<'_, PyAny>]) -> PyResult<Vec<Run>> {
    let runs = runs.iter().map(Run::of).collect::<PyResult<Vec<_>>>()?;
    if runs.iter().any(|run| run.size > MAX_PACKET_BYTES) {
        return Err(PyValueError::new_err("a packet is larger than any"));
    }
    Ok(runs)
}

/// The datagrams of runs from number `done` on: the run, where it begins, and its size.
pub fn datagrams(runs: &[Run], done: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let each = |(like, run): (usize, &Run)| {
        let (packets, size, last, offset) = (run.packets, run.size, run.last, run.offset);
        (0..packets).map(move |i| {
            let bytes = if i + 1 == packets { last } else { size };
            (like, offset + i * size, bytes)
        })
    };
    runs.iter().enumerate().flat_map(each).skip(done)
}
