//! KMAC256 (NIST SP 800-185) as a stream that hides datagrams: short inputs, long outputs.
//!
//! The permutation is that of the crate `keccak`; what is done here is the standard's framing. The
//! blocks with names and key are the same for every input, so the state behind them is kept. Eight
//! inputs go through the permutation side by side where the processor has AVX-512: it is told by a
//! lane of eight words, and compiled for such processors, which is 4.5 times as fast.

use std::array::from_fn;
use std::ops::{BitAnd, BitAndAssign, BitXor, BitXorAssign, Not};

use keccak::{LaneSize, f1600, keccak_p};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::memory::Memory;

const KEY_BYTES: usize = 32;
const RATE: usize = 136;
const STATE_WORDS: usize = 25;
const NAME: &[u8] = b"KMAC";
/// The bits that part cSHAKE from SHAKE, with the first of the padding.
const SUFFIX: u8 = 0x04;
/// The last bit of the padding, which ends the block.
const LAST: u8 = 0x80;
/// Inputs that are masked side by side.
pub const WIDTH: usize = 8;

type Block = [u8; RATE];
type State = [u64; STATE_WORDS];

/// Where in a buffer a datagram lies: its header, and behind that what is masked.
#[derive(Clone, Copy)]
pub struct Place {
    pub at: usize,
    pub masked: usize,
}

/// KMAC256 under one key and customization.
pub struct Kmac256 {
    start: State,
    is_wide: bool,
}

impl Drop for Kmac256 {
    fn drop(&mut self) {
        self.start.zeroize();
    }
}

impl Kmac256 {
    /// Under a key of Python's. Raises `ValueError` for one of other than 32 bytes.
    pub fn of(key: &Bound<'_, PyAny>, custom: &[u8]) -> PyResult<Self> {
        let memory = Memory::of(key)?;
        if memory.len() != KEY_BYTES {
            return Err(PyValueError::new_err("a key of a mask has 32 bytes"));
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        memory.copy_to(0, key.as_mut_slice())?;
        Ok(Self::new(key.as_slice(), custom))
    }

    /// Under a key of at most 64 bytes and a customization of at most 64.
    fn new(key: &[u8], custom: &[u8]) -> Self {
        let mut start = [0; STATE_WORDS];
        absorb(&mut start, &padded(&[NAME, custom]));
        absorb(&mut start, &padded(&[key]));
        Self {
            start,
            is_wide: has_wide(),
        }
    }

    /// Mask (or unmask) datagrams in `memory`, each behind its header of `header` bytes (96 at most):
    /// XOR with `masked` bytes of output for the header as input. All lie within `memory`.
    pub fn mask(&self, memory: &mut [u8], header: usize, places: &[Place]) {
        for group in places.chunks(WIDTH) {
            if self.is_wide && group.len() > 1 {
                self.mask_wide(memory, header, group);
            } else {
                for place in group {
                    self.mask_one(memory, header, *place);
                }
            }
        }
    }

    fn mask_one(&self, memory: &mut [u8], header: usize, place: Place) {
        let (input, body) = parted(memory, header, place);
        let mut state = self.start;
        absorb(&mut state, &last_block(input, body.len()));
        for (i, part) in body.chunks_mut(RATE).enumerate() {
            if i > 0 {
                f1600(&mut state);
            }
            xor(part, |word| state[word]);
        }
        state.zeroize();
    }

    fn mask_wide(&self, memory: &mut [u8], header: usize, group: &[Place]) {
        let mut state: WideState = from_fn(|word| Lanes([self.start[word]; WIDTH]));
        for (lane, place) in group.iter().enumerate() {
            let (input, body) = parted(memory, header, *place);
            let block = last_block(input, body.len());
            for (word, bytes) in block.as_chunks().0.iter().enumerate() {
                state[word].0[lane] ^= u64::from_le_bytes(*bytes);
            }
        }
        let longest = group.iter().map(|place| place.masked).max().unwrap_or(0);
        for done in (0..longest).step_by(RATE) {
            permute_wide(&mut state);
            for (lane, place) in group.iter().enumerate() {
                let (_, body) = parted(memory, header, *place);
                if done < body.len() {
                    let end = body.len().min(done + RATE);
                    xor(&mut body[done..end], |word| state[word].0[lane]);
                }
            }
        }
        state.iter_mut().for_each(|lanes| lanes.0.zeroize());
    }
}

fn parted(memory: &mut [u8], header: usize, place: Place) -> (&[u8], &mut [u8]) {
    let (input, body) = memory[place.at..place.at + header + place.masked].split_at_mut(header);
    (input, body)
}

/// XOR at most one block with the words of a state.
fn xor(part: &mut [u8], word: impl Fn(usize) -> u64) {
    let (whole, rest) = part.as_chunks_mut::<8>();
    for (i, bytes) in whole.iter_mut().enumerate() {
        *bytes = (u64::from_le_bytes(*bytes) ^ word(i)).to_le_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(word(whole.len()).to_le_bytes()) {
        *byte ^= mask;
    }
}

fn absorb(state: &mut State, block: &Block) {
    for (lane, bytes) in state.iter_mut().zip(block.as_chunks().0) {
        *lane ^= u64::from_le_bytes(*bytes);
    }
    f1600(state);
}

/// `bytepad` of `encode_string` of each (section 2.3), which are short: one block.
fn padded(strings: &[&[u8]]) -> Zeroizing<Block> {
    let mut block = Zeroizing::new([0; RATE]);
    let mut at = put(&mut block, 0, &[1, RATE as u8]);
    for string in strings {
        let bits = (string.len() * 8) as u16;
        let [high, low] = bits.to_be_bytes();
        at = if high == 0 {
            put(&mut block, at, &[1, low])
        } else {
            put(&mut block, at, &[2, high, low])
        };
        at = put(&mut block, at, string);
    }
    block
}

/// An input, `right_encode` of the output's length in bits, and the padding.
fn last_block(input: &[u8], output: usize) -> Block {
    let mut block = [0; RATE];
    let bits = (output as u64 * 8).to_be_bytes();
    let encoded = &bits[bits.iter().take_while(|byte| **byte == 0).count().min(7)..];
    let mut at = put(&mut block, 0, input);
    at = put(&mut block, at, encoded);
    at = put(&mut block, at, &[encoded.len() as u8]);
    block[at] = SUFFIX;
    block[RATE - 1] |= LAST;
    block
}

fn put(block: &mut Block, at: usize, bytes: &[u8]) -> usize {
    block[at..at + bytes.len()].copy_from_slice(bytes);
    at + bytes.len()
}

/// One word of each of eight states.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[repr(align(64))]
struct Lanes([u64; WIDTH]);

type WideState = [Lanes; STATE_WORDS];

impl BitXor for Lanes {
    type Output = Self;
    #[inline(always)]
    fn bitxor(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] ^ other.0[i]))
    }
}

impl BitAnd for Lanes {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] & other.0[i]))
    }
}

impl Not for Lanes {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        Self(from_fn(|i| !self.0[i]))
    }
}

impl BitXorAssign for Lanes {
    #[inline(always)]
    fn bitxor_assign(&mut self, other: Self) {
        *self = *self ^ other;
    }
}

impl BitAndAssign for Lanes {
    #[inline(always)]
    fn bitand_assign(&mut self, other: Self) {
        *self = *self & other;
    }
}

impl LaneSize for Lanes {
    const KECCAK_F_ROUND_COUNT: usize = u64::KECCAK_F_ROUND_COUNT;

    #[inline(always)]
    fn truncate_rc(constant: u64) -> Self {
        Self([constant; WIDTH])
    }

    #[inline(always)]
    fn rotate_left(self, bits: u32) -> Self {
        Self(from_fn(|i| self.0[i].rotate_left(bits)))
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::{LaneSize, Lanes, WideState, keccak_p};

    pub fn has_wide() -> bool {
        std::arch::is_x86_feature_detected!("avx512f")
    }

    pub fn permute_wide(state: &mut WideState) {
        debug_assert!(has_wide());
        // SAFETY: `Kmac256::is_wide` says that the processor has AVX-512, or we would not be here.
        unsafe { permute(state) }
    }

    /// The only caller of this `keccak_p`, which so becomes a part of it and is compiled alike.
    #[target_feature(enable = "avx512f")]
    fn permute(state: &mut WideState) {
        keccak_p(state, Lanes::KECCAK_F_ROUND_COUNT);
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod wide {
    use super::{LaneSize, Lanes, WideState, keccak_p};

    pub fn has_wide() -> bool {
        false
    }

    pub fn permute_wide(state: &mut WideState) {
        keccak_p(state, Lanes::KECCAK_F_ROUND_COUNT);
    }
}

use wide::{has_wide, permute_wide};
