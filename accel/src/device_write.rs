//! Judging, joining and writing packets: the twin of `chancel.daemon.hot.coalesce`.

use crate::device_drops::{Drops, Reason};
use crate::device_errors::os_error;
use crate::device_filter::Rules;
use crate::device_joined::Joined;
use crate::device_joints::Layout;
use crate::device_output::{Output, Passing};
use crate::device_packets::Packets;
use crate::device_vnet::ETHERNET_BYTES;
use crate::memory::Memory;
use crate::runs::Run;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use std::collections::BTreeSet;
use std::io::{Error, IoSlice};
use std::ops::Range;

const MAX_JOINED_BYTES: usize = 65_535;
/// Packets of UDP in one train: 128 in new kernels, 64 in those before 6.9.
const MAX_JOINED_UDP: usize = 64;
const MAX_FRAME_HEADER_BYTES: usize = 64;

/// Writes one device descriptor; see the class of the same name in Python.
#[pyclass(module = "chancel_accel")]
pub struct DeviceWriter {
    output: Output,
    rules: Rules,
    joins: BTreeSet<u8>,
    ip: usize,
    packets: u64,
    bytes: u64,
    writes: u64,
    drops: Drops,
    gathered: Vec<u8>,
}

#[pymethods]
impl DeviceWriter {
    #[new]
    #[pyo3(signature = (fd, networks, *, frame_header, ethernet, vnet, joins))]
    fn new(
        fd: i32,
        networks: Vec<(u8, u128, u32)>,
        frame_header: &[u8],
        ethernet: bool,
        vnet: bool,
        joins: BTreeSet<u8>,
    ) -> PyResult<Self> {
        if frame_header.len() > MAX_FRAME_HEADER_BYTES {
            return Err(PyValueError::new_err("no frame header is so long"));
        }
        Ok(Self {
            output: Output::new(fd, vnet, frame_header),
            rules: Rules::new(ethernet, &networks),
            joins: if vnet { joins } else { BTreeSet::new() },
            ip: if ethernet { ETHERNET_BYTES } else { 0 },
            packets: 0,
            bytes: 0,
            writes: 0,
            drops: Drops::default(),
            gathered: Vec::new(),
        })
    }

    /// Write what may pass of some runs of one tunnel, in order.
    fn write(&mut self, slot: &Bound<'_, PyAny>, runs: &Bound<'_, PyList>) -> PyResult<()> {
        let mut memory = Memory::of_view(slot)?;
        let slice = memory.own()?;
        for run in runs {
            self.write_one(runs.py(), slice, &Run::of(&run)?)?;
        }
        Ok(())
    }

    /// Write a run that was judged already.
    fn write_run(&mut self, slot: &Bound<'_, PyAny>, run: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut memory = Memory::of_view(slot)?;
        let found = Run::of(run)?;
        let packets = Packets::of(memory.own()?, &found)?;
        self.write_part(&packets, 0..packets.count)
            .map_err(|error| os_error(run.py(), &error))
    }

    /// Source and target of the last packet refused for its addresses; IPv4 mapped into IPv6.
    #[getter]
    fn refused<'py>(&self, py: Python<'py>) -> (Bound<'py, PyBytes>, Bound<'py, PyBytes>) {
        let (source, target) = self.rules.refused();
        (PyBytes::new(py, &source), PyBytes::new(py, &target))
    }

    /// The kinds of train that the device takes.
    #[getter]
    fn joins(&self) -> BTreeSet<u8> {
        self.joins.clone()
    }

    #[getter]
    fn fd(&self) -> i32 {
        self.output.fd
    }

    #[getter]
    fn packets(&self) -> u64 {
        self.packets
    }

    #[getter]
    fn bytes(&self) -> u64 {
        self.bytes
    }

    #[getter]
    fn writes(&self) -> u64 {
        self.writes
    }

    #[getter]
    fn drops<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.drops.to_python(py)
    }
}

impl DeviceWriter {
    /// Write what may pass of one run.
    pub fn write_one(&mut self, py: Python<'_>, slot: &[u8], run: &Run) -> PyResult<()> {
        let packets = Packets::of(slot, run)?;
        self.write_allowed(&packets)
            .map_err(|error| os_error(py, &error))
    }

    /// Write what the filter lets pass of a run; what lies side by side goes together.
    fn write_allowed(&mut self, packets: &Packets<'_>) -> Result<(), Error> {
        let mut passed = 0..0;
        for i in 0..packets.count {
            match self.rules.judge(packets.packet(i)) {
                None => passed.end = i + 1,
                Some(reason) => {
                    self.drops.count(reason, 1);
                    self.write_part(packets, passed)?;
                    passed = i + 1..i + 1;
                }
            }
        }
        self.write_part(packets, passed)
    }

    /// Write some packets of a run, joined where possible.
    fn write_part(&mut self, packets: &Packets<'_>, part: Range<usize>) -> Result<(), Error> {
        if part.len() < 2 {
            return self.write_each(packets, part);
        }
        let first = packets.packet(part.start);
        match Layout::of(first, self.ip) {
            Some(layout) if self.joins.contains(&layout.kind) => {
                self.write_trains(packets, part, &layout)
            }
            _ => self.write_each(packets, part),
        }
    }

    fn write_trains(
        &mut self,
        packets: &Packets<'_>,
        part: Range<usize>,
        layout: &Layout,
    ) -> Result<(), Error> {
        let first = packets.packet(part.start);
        let segment = first.len() - layout.head;
        let fitting = (MAX_JOINED_BYTES - layout.head) / segment;
        let most = if layout.tcp {
            fitting
        } else {
            fitting.min(MAX_JOINED_UDP)
        };
        let mut train = part.start..part.start;
        let mut sound_before = false;
        for i in part.clone() {
            let (packet, size) = (packets.even(i, layout.start), packets.packet(i).len());
            let sound = size > layout.head && layout.sound(packet, size);
            let joined = sound
                && sound_before
                && train.len() < most
                && layout.follows(first, packets.packet(i - 1), packet, segment);
            if !joined {
                self.write_train(packets, train, layout)?;
                train = i..i;
            }
            train.end = i + 1;
            sound_before = sound;
        }
        self.write_train(packets, train, layout)
    }

    /// Write a train as one packet, or packet by packet, if the device takes none such.
    fn write_train(
        &mut self,
        packets: &Packets<'_>,
        train: Range<usize>,
        layout: &Layout,
    ) -> Result<(), Error> {
        if train.len() < 2 {
            return self.write_each(packets, train);
        }
        let joined = Joined::of(packets, train.clone(), layout);
        let start = joined.start(layout, self.output.frame_header(layout.version));
        let mut parts = vec![IoSlice::new(&start)];
        parts.extend(joined.payloads(&mut self.gathered));
        let passing = self.output.write(&parts);
        if self.done(passing, train.len(), joined.size())? != libc::EINVAL {
            return Ok(());
        }
        self.joins.remove(&layout.kind);
        self.write_each(packets, train)
    }

    /// Write packets as they are; the kernel verifies their checksums.
    fn write_each(&mut self, packets: &Packets<'_>, part: Range<usize>) -> Result<(), Error> {
        for i in part {
            let packet = packets.packet(i);
            let version = packet.first().map_or(0, |byte| byte >> 4);
            let parts = [
                IoSlice::new(self.output.plain(version)),
                IoSlice::new(packet),
            ];
            let passing = self.output.write(&parts);
            if self.done(passing, 1, packet.len())? == libc::EINVAL {
                self.drops.count(Reason::WriteFailed, 1);
            }
        }
        Ok(())
    }

    /// Count a write of some packets. `EINVAL` is the caller's to count, other errors are counted.
    fn done(
        &mut self,
        passing: Result<Passing, Error>,
        packets: usize,
        bytes: usize,
    ) -> Result<Passing, Error> {
        self.writes += 1;
        let passing = passing?;
        if passing == 0 {
            self.packets += packets as u64;
            self.bytes += bytes as u64;
        } else if passing != libc::EINVAL {
            self.drops.count(Reason::WriteFailed, packets);
        }
        Ok(passing)
    }
}
