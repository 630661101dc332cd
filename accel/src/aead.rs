//! AES-256-GCM under one key (NIST SP 800-38D), with the methods of `cryptography`'s `AESGCM`.
//!
//! The key passes in once. The expanded key lies in one block of AWS-LC's heap that is never moved
//! or copied, and is overwritten when it is freed; so is our copy of the key itself. What can't be
//! erased: the Python object that the key came in, and what the cipher leaves in registers and on
//! the stack.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use crate::memory::Memory;

pyo3::import_exception!(cryptography.exceptions, InvalidTag);

pub const KEY_BYTES: usize = 32;
pub const NONCE_BYTES: usize = 12;
pub const SALT_BYTES: usize = 4;
pub const TAG_BYTES: usize = 16;

/// The cipher under one key.
///
/// It can't be copied, pickled or printed. Nonces are the caller's affair: each is used once.
#[pyclass(frozen, module = "chancel_accel")]
pub struct Aead {
    key: LessSafeKey,
}

impl Aead {
    /// Seal `text` in place and write its tag.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], bound: &[u8], sealed: &mut [u8]) -> PyResult<()> {
        let Some((text, tag)) = sealed.split_last_chunk_mut::<TAG_BYTES>() else {
            return Err(PyValueError::new_err("no room for a tag"));
        };
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_scatter(nonce, Aad::from(bound), text, &[], tag)
            .map_err(|_| PyValueError::new_err("too long to be sealed"))
    }

    /// Open `text` in place; `false`, and zeros in `text`, if it isn't authentic.
    pub fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        bound: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> bool {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .open_in_place_separate_tag(nonce, Aad::from(bound), tag, text)
            .is_ok()
    }

    fn open_into(
        &self,
        nonce: &Bound<'_, PyAny>,
        data: &Memory,
        associated_data: Option<&Bound<'_, PyAny>>,
        out: &mut [u8],
    ) -> PyResult<()> {
        let mut tag = [0; TAG_BYTES];
        data.copy_to(out.len(), &mut tag)?;
        if self.open(nonce_of(nonce)?, &bytes_of(associated_data)?, out, &tag) {
            Ok(())
        } else {
            Err(InvalidTag::new_err(()))
        }
    }
}

#[pymethods]
impl Aead {
    /// Take a key of 32 bytes; raises `ValueError` for any other.
    #[new]
    fn new(key: &Bound<'_, PyAny>) -> PyResult<Self> {
        let memory = Memory::of(key)?;
        if memory.len() != KEY_BYTES {
            return Err(PyValueError::new_err("an AES-256-GCM key has 32 bytes"));
        }
        let mut copy = Zeroizing::new([0; KEY_BYTES]);
        memory.copy_to(0, copy.as_mut())?;
        let key = UnboundKey::new(&AES_256_GCM, copy.as_ref())
            .map_err(|_| PyValueError::new_err("not a key of AES-256-GCM"))?;
        Ok(Self {
            key: LessSafeKey::new(key),
        })
    }

    /// Return ciphertext followed by the tag.
    #[pyo3(signature = (nonce, data, associated_data))]
    fn encrypt<'py>(
        &self,
        nonce: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
        associated_data: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let data = Memory::of(data)?;
        let (nonce_bytes, bound) = (nonce_of(nonce)?, bytes_of(associated_data)?);
        PyBytes::new_with(nonce.py(), data.len() + TAG_BYTES, |out| {
            data.copy_to(0, &mut out[..data.len()])?;
            self.seal(nonce_bytes, &bound, out)
        })
    }

    /// Write ciphertext and tag into `buf`, which has exactly that size; return the size.
    ///
    /// `buf` may begin with the plaintext itself.
    #[pyo3(signature = (nonce, data, associated_data, buf))]
    fn encrypt_into(
        &self,
        nonce: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
        associated_data: Option<&Bound<'_, PyAny>>,
        buf: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
        let data = Memory::of(data)?;
        let (size, mut out) = (data.len() + TAG_BYTES, Memory::of(buf)?);
        expect_size(&out, size)?;
        let (nonce, bound) = (nonce_of(nonce)?, bytes_of(associated_data)?);
        data.copy_into(0, &mut out, 0, data.len())?;
        self.seal(nonce, &bound, out.own()?)?;
        Ok(size)
    }

    /// Return the plaintext; raises `InvalidTag`.
    #[pyo3(signature = (nonce, data, associated_data))]
    fn decrypt<'py>(
        &self,
        nonce: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
        associated_data: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let data = Memory::of(data)?;
        let size = text_size(&data)?;
        PyBytes::new_with(nonce.py(), size, |out| {
            data.copy_to(0, out)?;
            self.open_into(nonce, &data, associated_data, out)
        })
    }

    /// Write the plaintext into `buf`, which has exactly its size; return the size.
    ///
    /// Raises `InvalidTag`; `buf` then has zeros in it.
    #[pyo3(signature = (nonce, data, associated_data, buf))]
    fn decrypt_into(
        &self,
        nonce: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
        associated_data: Option<&Bound<'_, PyAny>>,
        buf: &Bound<'_, PyAny>,
    ) -> PyResult<usize> {
        let data = Memory::of(data)?;
        let (size, mut out) = (text_size(&data)?, Memory::of(buf)?);
        expect_size(&out, size)?;
        data.copy_into(0, &mut out, 0, size)?;
        self.open_into(nonce, &data, associated_data, out.own()?)?;
        Ok(size)
    }
}

/// The nonce of a packet: salt, then its number (protocol section 3.2).
pub fn packet_nonce(salt: [u8; SALT_BYTES], number: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[..SALT_BYTES].copy_from_slice(&salt);
    nonce[SALT_BYTES..].copy_from_slice(&number.to_be_bytes());
    nonce
}

/// A salt that Python holds. Raises `ValueError` unless it has four bytes.
pub fn salt_of(salt: &Bound<'_, PyAny>) -> PyResult<[u8; SALT_BYTES]> {
    exactly(salt, "a salt has 4 bytes")
}

fn nonce_of(nonce: &Bound<'_, PyAny>) -> PyResult<[u8; NONCE_BYTES]> {
    exactly(nonce, "a nonce has 12 bytes")
}

fn exactly<const N: usize>(object: &Bound<'_, PyAny>, else_: &'static str) -> PyResult<[u8; N]> {
    let memory = Memory::of(object)?;
    if memory.len() != N {
        return Err(PyValueError::new_err(else_));
    }
    let mut bytes = [0; N];
    memory.copy_to(0, &mut bytes)?;
    Ok(bytes)
}

fn bytes_of(object: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<u8>> {
    let Some(object) = object else {
        return Ok(Vec::new());
    };
    let memory = Memory::of(object)?;
    let mut bytes = vec![0; memory.len()];
    memory.copy_to(0, &mut bytes)?;
    Ok(bytes)
}

fn text_size(data: &Memory) -> PyResult<usize> {
    data.len()
        .checked_sub(TAG_BYTES)
        .ok_or_else(|| InvalidTag::new_err(()))
}

fn expect_size(out: &Memory, size: usize) -> PyResult<()> {
    if out.len() == size {
        return Ok(());
    }
    Err(PyValueError::new_err(format!(
        "buffer must be {size} bytes"
    )))
}
