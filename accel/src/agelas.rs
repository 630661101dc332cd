//! The key stream of vicar files (`chancel.crypto.agelas`): its turns, which are millions for one
//! passphrase.

use keccak::f1600;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::memory::Memory;

const STATE_BYTES: usize = 200;
const RATE: usize = 136;
const TURN_BYTES: usize = 128;
const TURN: u8 = 0x07;

/// Encrypt (or decrypt) `data` in place, and bring `state` (200 bytes) and `stream` (136 bytes) on.
///
/// `offset` is how much of `stream` was used, `counter` the number of turns so far; both are
/// returned. Raises `ValueError` for other sizes.
#[pyfunction]
pub fn agelas_crypt(
    state: &Bound<'_, PyAny>,
    stream: &Bound<'_, PyAny>,
    offset: usize,
    counter: u64,
    data: &Bound<'_, PyAny>,
    decrypt: bool,
) -> PyResult<(usize, u64)> {
    let (mut state, mut stream) = (Memory::of(state)?, Memory::of(stream)?);
    let mut data = Memory::of(data)?;
    let (state, stream) = (state.own()?, stream.own()?);
    if state.len() != STATE_BYTES || stream.len() != RATE || offset > TURN_BYTES {
        return Err(PyValueError::new_err(
            "a state of 200 bytes and a stream of 136 are needed",
        ));
    }
    let mut lanes = to_lanes(state);
    let (mut offset, mut counter) = (offset, counter);
    for byte in data.own()? {
        if offset == TURN_BYTES {
            turn(&mut lanes, stream, counter);
            counter = counter.wrapping_add(1);
            offset = 0;
        }
        let out = *byte ^ stream[offset];
        stream[offset] = if decrypt { out } else { *byte };
        *byte = out;
        offset += 1;
    }
    from_lanes(&lanes, state);
    Ok((offset, counter))
}

/// Absorb what the stream has become, with the counter (56 bit, big-endian), and take the next one.
fn turn(lanes: &mut [u64; STATE_BYTES / 8], stream: &mut [u8], counter: u64) {
    stream[TURN_BYTES..RATE - 1].copy_from_slice(&counter.to_be_bytes()[1..]);
    stream[RATE - 1] = TURN;
    for (lane, bytes) in lanes.iter_mut().zip(stream.chunks_exact(8)) {
        *lane ^= lane_of(bytes);
    }
    f1600(lanes);
    for (lane, bytes) in lanes.iter().zip(stream.chunks_exact_mut(8)) {
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
}

fn lane_of(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |lane, byte| (lane << 8) | u64::from(*byte))
}

fn to_lanes(state: &[u8]) -> [u64; STATE_BYTES / 8] {
    let mut lanes = [0; STATE_BYTES / 8];
    for (lane, bytes) in lanes.iter_mut().zip(state.chunks_exact(8)) {
        *lane = lane_of(bytes);
    }
    lanes
}

fn from_lanes(lanes: &[u64; STATE_BYTES / 8], state: &mut [u8]) {
    for (lane, bytes) in lanes.iter().zip(state.chunks_exact_mut(8)) {
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
}
