//! Telling offers from traffic: the twin of `chancel.daemon.hot.receive.split_offers`.

use pyo3::prelude::*;

use crate::memory::Memory;
use crate::runs::Run;

const MAGIC_BYTES: usize = 8;

type Parted<'py> = (Vec<Bound<'py, PyAny>>, Vec<Bound<'py, PyAny>>);

/// Part runs into (traffic, offers); `None` where all is traffic. An offer has `offer_bytes` at
/// least and begins with one of the `magics`, of eight bytes each.
#[pyfunction]
pub fn split_offers<'py>(
    py: Python<'py>,
    slot: &Bound<'py, PyAny>,
    runs: Vec<Bound<'py, PyAny>>,
    offer_bytes: usize,
    magics: &[u8],
) -> PyResult<Option<Parted<'py>>> {
    let mut memory = Memory::of_view(slot)?;
    let room = memory.own()?;
    let (mut traffic, mut offers) = (Vec::with_capacity(runs.len()), Vec::new());
    for given in runs {
        let run = Run::of(&given)?;
        let Some(bytes) = room.get_mut(run.offset..run.end()) else {
            return Err(pyo3::exceptions::PyIndexError::new_err(
                "a run lies outside of its slot",
            ));
        };
        if !has_offer(&run, bytes, offer_bytes, magics) {
            traffic.push(given);
            continue;
        }
        part(
            py,
            &run,
            bytes,
            |each| is_offer(each, offer_bytes, magics),
            &mut traffic,
            &mut offers,
        )?;
    }
    Ok((!offers.is_empty()).then_some((traffic, offers)))
}

/// Whether any datagram of a run, whose bytes these are, is an offer.
pub fn has_offer(run: &Run, bytes: &[u8], offer_bytes: usize, magics: &[u8]) -> bool {
    run.size >= offer_bytes && packets(run, bytes).any(|each| is_offer(each, offer_bytes, magics))
}

fn packets<'a>(run: &Run, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    bytes.chunks(run.size)
}

fn is_offer(packet: &[u8], offer_bytes: usize, magics: &[u8]) -> bool {
    let Some(head) = packet.get(..MAGIC_BYTES) else {
        return false;
    };
    packet.len() >= offer_bytes && magics.chunks_exact(MAGIC_BYTES).any(|magic| magic == head)
}

/// Move the offers of a run behind its traffic, each a run of its own.
fn part<'py>(
    py: Python<'py>,
    run: &Run,
    bytes: &mut [u8],
    is_offer: impl Fn(&[u8]) -> bool,
    traffic: &mut Vec<Bound<'py, PyAny>>,
    offers: &mut Vec<Bound<'py, PyAny>>,
) -> PyResult<()> {
    let before = bytes.to_vec();
    let (found, others): (Vec<_>, Vec<_>) = packets(run, &before).partition(|each| is_offer(each));
    let mut at = 0;
    for packet in others.iter().chain(&found) {
        bytes[at..at + packet.len()].copy_from_slice(packet);
        at += packet.len();
    }
    let like = |packets: usize, size: usize, last: usize, offset: usize| Run {
        tunnel: run.tunnel,
        next: run.next,
        packets,
        size,
        last,
        offset,
        source: run.source,
    };
    if let (Some(first), Some(last)) = (others.first(), others.last()) {
        traffic.push(like(others.len(), first.len(), last.len(), run.offset).to_python(py)?);
    }
    let mut offset = run.offset + others.iter().map(|each| each.len()).sum::<usize>();
    for offer in found {
        offers.push(like(1, offer.len(), offer.len(), offset).to_python(py)?);
        offset += offer.len();
    }
    Ok(())
}
