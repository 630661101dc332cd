//! Tokens of lanes: a slot's number and the runs in it (`chancel.daemon.run`).

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::lane::NeighbourLied;
use crate::runs::{MAX_RUN_PACKETS, Run, SOURCE_BYTES, Source};

const MAX_RUNS: usize = 256;
const MAX_PACKET_BYTES: usize = 2048;
const RUN_BYTES: usize = 36;
pub const MAX_TOKEN_BYTES: usize = 1 + MAX_RUNS * RUN_BYTES;

/// Write the token that hands a slot over. Raises `ValueError` for runs that none can carry.
pub fn encode(slot: u8, runs: &[Run], token: &mut Vec<u8>) -> PyResult<()> {
    if runs.len() > MAX_RUNS {
        return Err(PyValueError::new_err(format!(
            "{} runs in one batch",
            runs.len()
        )));
    }
    token.clear();
    token.push(slot);
    for run in runs {
        let Some(numbers) = numbers(run) else {
            return Err(PyValueError::new_err("a run that no token can carry"));
        };
        token.extend_from_slice(&numbers);
        token.extend_from_slice(run.source.filled());
        token.extend_from_slice(&[0; 2]);
    }
    Ok(())
}

fn numbers(run: &Run) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&run.tunnel.to_ne_bytes());
    bytes[2] = run.next;
    for (at, number) in [(4, run.packets), (6, run.size), (8, run.last)] {
        bytes[at..at + 2].copy_from_slice(&u16::try_from(number).ok()?.to_ne_bytes());
    }
    bytes[12..].copy_from_slice(&u32::try_from(run.offset).ok()?.to_ne_bytes());
    Some(bytes)
}

/// Take a neighbour's token apart: the slot, which is not judged, and in `runs` those that lie one
/// behind the other in a slot of so many bytes. Raises `NeighbourLied` for anything else.
pub fn decode(token: &[u8], slot_bytes: usize, runs: &mut Vec<Run>) -> PyResult<u8> {
    runs.clear();
    let Some((&slot, data)) = token.split_first() else {
        return Err(NeighbourLied::new_err("a lane's token is empty"));
    };
    let (chunks, rest) = data.as_chunks::<RUN_BYTES>();
    if !rest.is_empty() || chunks.len() > MAX_RUNS {
        return Err(NeighbourLied::new_err("a lane's token has an odd length"));
    }
    let mut end = 0;
    for bytes in chunks {
        let run = bounded(bytes, end, slot_bytes).ok_or_else(|| {
            NeighbourLied::new_err("a lane's token names a run outside of its slot")
        })?;
        end = run.end();
        runs.push(run);
    }
    Ok(slot)
}

fn bounded(bytes: &[u8; RUN_BYTES], begin: usize, slot_bytes: usize) -> Option<Run> {
    let number = |at: usize| usize::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
    let offset = u32::from_ne_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
    let mut source = [0; SOURCE_BYTES];
    source.copy_from_slice(&bytes[16..16 + SOURCE_BYTES]);
    let run = Run {
        tunnel: u16::from_ne_bytes([bytes[0], bytes[1]]),
        next: bytes[2],
        packets: number(4),
        size: number(6),
        last: number(8),
        offset,
        source: Source::packed(source),
    };
    let whole = (1..=MAX_RUN_PACKETS).contains(&run.packets)
        && 0 < run.last
        && run.last <= run.size
        && run.size <= MAX_PACKET_BYTES
        && offset >= begin;
    (whole && run.end() <= slot_bytes).then_some(run)
}
