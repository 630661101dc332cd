//! The header of a traffic packet (protocol section 3.1): `chancel.wire.traffic.TrafficLayout`.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;

use crate::aead::TAG_BYTES;
use crate::reasons::Reason;

pub const TAIL_BYTES: usize = 2;
pub const NEXT_INNER: u8 = 0x00;
pub const NEXT_GRACE: u8 = 0xfc;

/// Bytes before the sender's flocks: SPI, sequence and packet number.
pub const NUMBERS_BYTES: usize = 16;
/// The header of the current version; that of the older one ends before the flocks.
pub const MAX_HEADER_BYTES: usize = 32;

const MAGIC: &[u8; 8] = b"SACRAMNT";

/// How one version of the protocol lays out a header, and what of it the tag covers.
#[derive(Clone, Copy)]
pub struct Layout {
    pub header_bytes: usize,
    pub overhead_bytes: usize,
    whole: bool,
}

impl Layout {
    /// Take Python's `TrafficLayout`.
    pub fn of(layout: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = layout.py();
        let header_bytes = layout.getattr(intern!(py, "header_bytes"))?.extract()?;
        let whole = layout
            .getattr(intern!(py, "sequence_authenticated"))?
            .extract()?;
        if !(NUMBERS_BYTES..=MAX_HEADER_BYTES).contains(&header_bytes) {
            return Err(PyValueError::new_err("no layout of a traffic header"));
        }
        let overhead_bytes = header_bytes + TAIL_BYTES + TAG_BYTES;
        Ok(Self {
            header_bytes,
            overhead_bytes,
            whole,
        })
    }

    /// By how much a sealed packet is longer than one that carries its tail already.
    pub fn growth(&self) -> usize {
        self.header_bytes + TAG_BYTES
    }
}

/// The header of one packet, in memory of our own.
#[derive(Clone, Copy)]
pub struct Header {
    bytes: [u8; MAX_HEADER_BYTES],
    layout: Layout,
}

impl Header {
    /// A header whose bytes are yet to come.
    pub fn new(layout: Layout) -> Self {
        Self {
            bytes: [0; MAX_HEADER_BYTES],
            layout,
        }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.layout.header_bytes]
    }

    /// All of it, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.layout.header_bytes]
    }

    /// Copy the bytes of a header. Raises `ValueError` if it has another layout.
    pub fn fill(&mut self, bytes: &[u8]) -> PyResult<()> {
        if bytes.len() != self.layout.header_bytes {
            return Err(PyValueError::new_err("a header of another layout"));
        }
        self.bytes_mut().copy_from_slice(bytes);
        Ok(())
    }

    /// Number the packet: the low 32 bits as its sequence, and all 64.
    pub fn number(&mut self, number: u64) {
        self.bytes[4..8].copy_from_slice(&(number as u32).to_be_bytes());
        self.bytes[8..16].copy_from_slice(&number.to_be_bytes());
    }

    /// SPI and packet number of a header that nobody has authenticated, or why it can't be one.
    pub fn read_untrusted(&self, flocks: &[u8]) -> Result<(u32, u64), Reason> {
        let [spi, sequence, high, low] = self.words();
        if spi == 0 {
            return Err(Reason::ZeroSpi);
        }
        if sequence != low {
            let marked = self.bytes.starts_with(MAGIC);
            return Err(if marked {
                Reason::OfferTooShort
            } else {
                Reason::SequenceMismatch
            });
        }
        if &self.bytes()[NUMBERS_BYTES..] != flocks {
            return Err(Reason::FlockMismatch);
        }
        Ok((spi, u64::from(high) << 32 | u64::from(low)))
    }

    /// Call `f` with what the tag covers beside the text.
    pub fn bound<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        if self.layout.whole {
            return f(self.bytes());
        }
        let mut bound = [0; 12];
        bound[..4].copy_from_slice(&self.bytes[..4]);
        bound[4..].copy_from_slice(&self.bytes[8..16]);
        f(&bound)
    }

    fn words(&self) -> [u32; 4] {
        std::array::from_fn(|i| {
            let mut word = [0; 4];
            word.copy_from_slice(&self.bytes[4 * i..4 * i + 4]);
            u32::from_be_bytes(word)
        })
    }
}
