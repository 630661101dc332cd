//! Opening runs (protocol section 3.3): the twin of `chancel.daemon.hot.open`.
//!
//! Each packet is copied out of its slot, header first, before anything of it is judged, and opened
//! where it is to stay. Keys belong to Python's `Opener`: it says which to try, and is told what was
//! authentic before the next packet that could be judged otherwise for it.

use pyo3::exceptions::PyIndexError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::aead::{Aead, SALT_BYTES, TAG_BYTES, packet_nonce, salt_of};
use crate::header::{Header, Layout, NEXT_GRACE, NEXT_INNER, TAIL_BYTES};
use crate::memory::Memory;
use crate::reasons::{Reason, Refusals};
use crate::runs::Run;
use crate::window::ReplayWindow;

/// One receive key, a `Slot` of the opener. Its window is ours until this is dropped.
struct Key<'py> {
    slot: Bound<'py, PyAny>,
    spi: u32,
    salt: [u8; SALT_BYTES],
    aead: Bound<'py, Aead>,
    window: PyRefMut<'py, ReplayWindow>,
}

impl<'py> Key<'py> {
    fn of(slot: Bound<'py, PyAny>) -> PyResult<Self> {
        let py = slot.py();
        let aead = slot.getattr(intern!(py, "aead"))?.cast_into::<Aead>()?;
        let window = slot
            .getattr(intern!(py, "window"))?
            .cast_into::<ReplayWindow>()?;
        Ok(Self {
            spi: slot.getattr(intern!(py, "spi"))?.extract()?,
            salt: salt_of(&slot.getattr(intern!(py, "salt"))?)?,
            aead,
            window: window.try_borrow_mut()?,
            slot,
        })
    }
}

/// What opening knows during one call.
struct Opening<'py> {
    opener: Bound<'py, PyAny>,
    now: Bound<'py, PyAny>,
    layout: Layout,
    flocks: Bound<'py, PyBytes>,
    keys: Vec<Key<'py>>,
    /// The key that opened the last packets, and how many of which the opener hasn't heard.
    current: usize,
    untold: u32,
    refusals: Refusals,
}

/// Where one packet lies in its slot, and where its text goes.
struct Place {
    from: usize,
    size: usize,
    to: usize,
}

impl<'py> Opening<'py> {
    fn of(opener: &Bound<'py, PyAny>, now: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = opener.py();
        let mut opening = Self {
            layout: Layout::of(&opener.getattr(intern!(py, "layout"))?)?,
            flocks: opener
                .getattr(intern!(py, "expected_flocks"))?
                .cast_into()?,
            opener: opener.clone(),
            now: now.clone(),
            keys: Vec::new(),
            current: 0,
            untold: 0,
            refusals: Refusals::default(),
        };
        opening.take_keys()?;
        Ok(opening)
    }

    /// Ask the opener for its keys, in the order in which to try them; the active one comes first.
    fn take_keys(&mut self) -> PyResult<()> {
        let slots = self
            .opener
            .call_method0(intern!(self.opener.py(), "slots"))?;
        for slot in slots.cast::<PyList>()? {
            self.keys.push(Key::of(slot)?);
        }
        Ok(())
    }

    /// Open one packet: what follows its text (`NEXT_…`), or `None` if it was refused.
    fn packet(
        &mut self,
        source: &Memory,
        place: &Place,
        target: &mut Memory,
    ) -> PyResult<Option<u8>> {
        match self.judge(source, place, target)? {
            Ok(next) => Ok(Some(next)),
            Err(reason) => {
                self.refusals.count(reason);
                Ok(None)
            }
        }
    }

    fn judge(
        &mut self,
        source: &Memory,
        place: &Place,
        target: &mut Memory,
    ) -> PyResult<Result<u8, Reason>> {
        if place.size < self.layout.overhead_bytes {
            return Ok(Err(Reason::TooShort));
        }
        let mut header = Header::new(self.layout);
        source.copy_to(place.from, header.bytes_mut())?;
        let (spi, number) = match header.read_untrusted(self.flocks.as_bytes()) {
            Ok(read) => read,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut reason = Reason::UnknownSpi;
        for i in 0..self.keys.len() {
            let key = &mut self.keys[i];
            if key.spi != spi {
                continue;
            }
            if let Some(refusal) = key.window.judge(number) {
                reason = refusal;
                continue;
            }
            let text = open_text(key, &header, number, source, place, target)?;
            if let Some(tail) = text {
                key.window.accept(number);
                self.authentic(i)?;
                return Ok(next_of(tail));
            }
            reason = Reason::BadTag;
        }
        Ok(Err(reason))
    }

    /// A packet under this key was authentic. If the last one was under another, the opener must
    /// know at once: which keys there are, and which is the active one, may change by that.
    fn authentic(&mut self, i: usize) -> PyResult<()> {
        if i == self.current {
            self.untold += 1;
            return Ok(());
        }
        let slot = self.keys[i].slot.clone();
        self.tell()?;
        self.tell_of(&slot, 1)?;
        self.take_keys()?;
        self.current = self
            .keys
            .iter()
            .position(|key| key.slot.is(&slot))
            .unwrap_or(0);
        Ok(())
    }

    /// Tell the opener what it hasn't heard, and give its windows back.
    fn tell(&mut self) -> PyResult<()> {
        let slot = self.keys.get(self.current).map(|key| key.slot.clone());
        self.keys.clear();
        let count = std::mem::take(&mut self.untold);
        match slot {
            Some(slot) if count != 0 => self.tell_of(&slot, count),
            _ => Ok(()),
        }
    }

    fn tell_of(&self, slot: &Bound<'py, PyAny>, count: u32) -> PyResult<()> {
        let method = intern!(self.opener.py(), "authenticated");
        self.opener
            .call_method1(method, (slot, &self.now, count))
            .map(drop)
    }
}

/// Copy a packet's text to where it goes and open it there: its tail, if it is authentic.
fn open_text(
    key: &Key<'_>,
    header: &Header,
    number: u64,
    source: &Memory,
    place: &Place,
    target: &mut Memory,
) -> PyResult<Option<[u8; TAIL_BYTES]>> {
    let (head, size) = (
        header.bytes().len(),
        place.size - header.bytes().len() - TAG_BYTES,
    );
    let mut tag = [0; TAG_BYTES];
    source.copy_into(place.from + head, target, place.to, size)?;
    source.copy_to(place.from + head + size, &mut tag)?;
    let text = within(target, place.to, size)?;
    let nonce = packet_nonce(key.salt, number);
    if !header.bound(|bound| key.aead.get().open(nonce, bound, text, &tag)) {
        return Ok(None);
    }
    Ok(text.last_chunk::<TAIL_BYTES>().copied())
}

fn next_of(tail: [u8; TAIL_BYTES]) -> Result<u8, Reason> {
    match tail {
        [0, next @ (NEXT_INNER | NEXT_GRACE)] => Ok(next),
        [0, _] => Err(Reason::UnknownNext),
        _ => Err(Reason::ReservedNotZero),
    }
}

/// Open runs of one tunnel's untrusted datagrams from `source` to offset `at` of `target`.
///
/// Each becomes at most two runs, of inner packets and of graces, their tails behind them; what is
/// refused is counted in the drops of `opener`. Raises `IndexError` where they don't lie in
/// `source`, or don't fit into `target`.
#[pyfunction]
pub fn open_runs<'py>(
    opener: &Bound<'py, PyAny>,
    source: &Bound<'py, PyAny>,
    runs: &Bound<'py, PyList>,
    target: &Bound<'py, PyAny>,
    at: u32,
    now: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let py = opener.py();
    let (source, mut target) = (Memory::of_view(source)?, Memory::of_view(target)?);
    let mut opening = Opening::of(opener, now)?;
    let opened = PyList::empty(py);
    let mut graces = Vec::new();
    let mut at = at as usize;
    for run in runs {
        for out in open_run(
            &mut opening,
            &source,
            &Run::of(&run)?,
            &mut target,
            at,
            &mut graces,
        )? {
            if out.packets != 0 {
                at = out.end().next_multiple_of(16);
                opened.append(out.to_python(py)?)?;
            }
        }
    }
    opening.tell()?;
    opening.refusals.tell(opener)?;
    Ok(opened)
}

/// Inner packets stay where they were opened; graces, which are few, are laid behind them.
fn open_run(
    opening: &mut Opening<'_>,
    source: &Memory,
    run: &Run,
    target: &mut Memory,
    at: usize,
    graces: &mut Vec<u8>,
) -> PyResult<[Run; 2]> {
    let mut inner = empty(run, NEXT_INNER, at);
    let mut aside = empty(run, NEXT_GRACE, 0);
    let mut end = at;
    graces.clear();
    for i in 0..run.packets {
        let (from, size) = run.packet(i);
        let Some(next) = opening.packet(
            source,
            &Place {
                from,
                size,
                to: end,
            },
            target,
        )?
        else {
            continue;
        };
        let size = size - opening.layout.growth();
        if next == NEXT_INNER {
            append(&mut inner, size);
            end += size;
        } else {
            append(&mut aside, size);
            graces.extend_from_slice(within(target, end, size)?);
        }
    }
    aside.offset = end;
    if !graces.is_empty() {
        within(target, end, graces.len())?.copy_from_slice(graces);
    }
    Ok([inner, aside])
}

fn within(target: &mut Memory, at: usize, size: usize) -> PyResult<&mut [u8]> {
    let own = target.own()?.get_mut(at..at + size);
    own.ok_or_else(|| PyIndexError::new_err("no room for an opened packet"))
}

fn empty(run: &Run, next: u8, offset: usize) -> Run {
    Run {
        next,
        packets: 0,
        size: 0,
        last: 0,
        offset,
        ..*run
    }
}

/// All packets of a run have one size but its last, which stays the last of its kind.
fn append(run: &mut Run, size: usize) {
    if run.packets == 0 {
        run.size = size;
    }
    run.packets += 1;
    run.last = size;
}
