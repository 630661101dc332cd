//! Reading the device, and cutting trains: the twin of `chancel.daemon.hot.cut`.

use crate::device_drops::{Drops, Reason};
use crate::device_errors::os_error;
use crate::device_filling::Filling;
use crate::device_input::Input;
use crate::device_train::{MAX_INNER_BYTES, Train};
use crate::device_vnet::{GSO_ECN, GSO_NONE, NEEDS_CHECKSUM, Vnet};
use crate::memory::Memory;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::io::ErrorKind;

/// Reads of 12 bytes or less are discarded (protocol section 3.4).
const MIN_INNER_BYTES: usize = 13;
const MAX_FRAME_HEADER_BYTES: usize = 64;

/// Reads one device descriptor; see the class of the same name in Python.
#[pyclass(module = "chancel_accel")]
pub struct DeviceReader {
    input: Input,
    skipped: usize,
    ethernet: bool,
    train: Option<(Train, usize)>,
    packets: u64,
    bytes: u64,
    trains: u64,
    drops: Drops,
}

#[pymethods]
impl DeviceReader {
    #[new]
    #[pyo3(signature = (fd, *, vnet, frame_header_bytes, ethernet=false, tags_aside=false))]
    fn new(
        fd: i32,
        vnet: bool,
        frame_header_bytes: usize,
        ethernet: bool,
        tags_aside: bool,
    ) -> PyResult<Self> {
        if frame_header_bytes > MAX_FRAME_HEADER_BYTES {
            return Err(PyValueError::new_err("no frame header is so long"));
        }
        Ok(Self {
            input: Input::new(fd, vnet, frame_header_bytes, tags_aside),
            skipped: frame_header_bytes,
            ethernet,
            train: None,
            packets: 0,
            bytes: 0,
            trains: 0,
            drops: Drops::default(),
        })
    }

    /// Drain the device into an empty slot, until there is nothing more or the slot is full.
    fn fill<'py>(
        &mut self,
        py: Python<'py>,
        slot: &Bound<'py, PyAny>,
        tunnel: u16,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut memory = Memory::of_view(slot)?;
        let mut filling = Filling::new(memory.own()?);
        while let Err(error) = self.drain(&mut filling) {
            if error.kind() != ErrorKind::Interrupted {
                return Err(os_error(py, &error));
            }
            py.check_signals()?;
        }
        filling.finish(py, tunnel)
    }

    /// Whether a train goes on in another slot: nothing else tells of it.
    #[getter]
    pub fn rest(&self) -> bool {
        self.train.is_some()
    }

    #[getter]
    pub fn fd(&self) -> i32 {
        self.input.fd
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
    fn trains(&self) -> u64 {
        self.trains
    }

    #[getter]
    fn drops<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.drops.to_python(py)
    }
}

impl DeviceReader {
    /// Drain the device, until there is nothing more or the slot is full. After an error what was
    /// read before it is there, and reading may go on.
    pub fn drain(&mut self, filling: &mut Filling<'_>) -> std::io::Result<()> {
        self.cut(filling);
        while self.train.is_none() && filling.fits(64, 1_024) {
            match self.input.read()? {
                None => break,
                Some(size) => self.take(size, filling),
            }
        }
        Ok(())
    }

    /// Pass on what was read last: `size` bytes behind the prefix.
    fn take(&mut self, size: usize, filling: &mut Filling<'_>) {
        if size < MIN_INNER_BYTES {
            self.drops.count(Reason::ReadShort, 1);
            return;
        }
        let vnet = self.input.vnet().map(Vnet::decode);
        match vnet {
            Some(vnet) if vnet.kind & !GSO_ECN != GSO_NONE => {
                let packet = &self.input.packet[..size];
                match Train::of(packet, &vnet, self.skipped, self.ethernet) {
                    Some(train) => {
                        self.train = Some((train, size));
                        self.cut(filling);
                    }
                    None => self.drops.count(Reason::ReadLong, 1),
                }
            }
            vnet => self.take_one(size, vnet.as_ref(), filling),
        }
    }

    fn take_one(&mut self, size: usize, vnet: Option<&Vnet>, filling: &mut Filling<'_>) {
        let needs = match vnet.filter(|vnet| vnet.flags & NEEDS_CHECKSUM != 0) {
            None => None,
            Some(vnet) => {
                let (start, field) = (usize::from(vnet.start), usize::from(vnet.field));
                match start.checked_sub(self.skipped) {
                    Some(start) if start + field + 2 <= size => Some((start, field)),
                    _ => return self.drops.count(Reason::ReadLong, 1),
                }
            }
        };
        if size > MAX_INNER_BYTES {
            return self.drops.count(Reason::ReadLong, 1);
        }
        filling.packet(&self.input.packet[..size], needs);
        self.packets += 1;
        self.bytes += size as u64;
    }

    /// Cut what is left of the train that was read last, as far as the slot has room.
    fn cut(&mut self, filling: &mut Filling<'_>) {
        let Some((train, size)) = &mut self.train else {
            return;
        };
        let (packets, bytes, whole) = train.cut(&self.input.packet[..*size], filling);
        self.packets += packets as u64;
        self.bytes += bytes as u64;
        if whole {
            self.train = None;
            self.trains += 1;
        }
    }
}
