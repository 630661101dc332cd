//! Turns of a cathedral (`chancel.cathedrald.relay`): from the network to the network.
//!
//! Ordinary are trains of traffic whose ways Python has told, and which have no limit. A train with
//! anything else in it is left to Python as it came, when all that came before has been sent.

use std::collections::HashMap;
use std::io::Error;
use std::mem::take;

use pyo3::prelude::*;

use crate::memory::Memory;
use crate::net_address::{Packed, SocketAddress};
use crate::net_receive::{MAX_DATAGRAM_BYTES, PENDING, READ_BYTES, Train, receive};
use crate::net_send::{Sent, Socket, send_all};
use crate::runs::{Run, Source};
use crate::turn::{Books, Outcome, Woken, run};

/// By which traffic finds its way: SPI, and flocks, as its header has them.
type Key = [u8; 20];
/// Of the header, so much has the key in it.
const HEAD_BYTES: usize = 32;
/// The shortest datagram that is traffic (`chancel.wire.datagram`).
const MIN_BYTES: usize = 50;
/// Receiving calls in one round; then the timers have their turn.
const MOST_CALLS: usize = 256;

/// Where traffic goes; what came from there itself isn't ordinary if it would go `back`.
struct Way {
    to: Source,
    never_back: bool,
}

/// The sockets of a cathedral: all are received from, one sends.
struct Sockets {
    fds: Vec<i32>,
    main: i32,
    is_ipv6: bool,
    gso: bool,
}

/// What was relayed since Python asked.
#[derive(Default)]
struct Relayed {
    calls: usize,
    datagrams: usize,
    octets: usize,
    sent: Sent,
}

/// The turns of a cathedral.
#[pyclass(module = "chancel_accel")]
pub struct RelayTurns {
    memory: Py<PyAny>,
    sockets: Option<Sockets>,
    ways: HashMap<Key, Way>,
    leaving: Vec<Run>,
    relayed: Relayed,
    odd: Option<(usize, Train)>,
}

#[pymethods]
impl RelayTurns {
    /// Datagrams lie in `memory` until they are sent, and what isn't ordinary is left there.
    #[new]
    fn new(memory: Py<PyAny>) -> Self {
        Self {
            memory,
            sockets: None,
            ways: HashMap::new(),
            leaving: Vec::new(),
            relayed: Relayed::default(),
            odd: None,
        }
    }

    /// From now on receive on the sockets `fds` and send on `main`; no way is known yet.
    fn serve(&mut self, fds: Vec<i32>, main: i32, is_ipv6: bool, gso: bool) {
        self.ways.clear();
        self.sockets = Some(Sockets {
            fds,
            main,
            is_ipv6,
            gso,
        });
    }

    /// Relay nothing any more.
    fn forget(&mut self) {
        self.ways.clear();
        self.sockets = None;
    }

    /// Traffic with this key goes to this address (packed), without a limit; `never_back`: unless
    /// it came from there.
    fn lead(&mut self, key: Key, to: Packed, never_back: bool) {
        let to = Source::packed(to);
        self.ways.insert(key, Way { to, never_back });
    }

    /// Wait on `epoll` until there is something for Python to do: see `turn::run`.
    fn run(&mut self, py: Python<'_>, epoll: i32, deadline: f64, books: Books) -> PyResult<Woken> {
        run(py, epoll, deadline, books, |fd, _now| self.carry(py, fd))
    }

    /// What was relayed since this was asked last: receiving calls, also for what is left to Python,
    /// datagrams and bytes that found their way, and what `send_runs` would have said.
    fn carried<'py>(
        &mut self,
        py: Python<'py>,
    ) -> PyResult<(usize, usize, usize, Bound<'py, PyAny>)> {
        let Relayed {
            calls,
            datagrams,
            octets,
            sent,
        } = take(&mut self.relayed);
        Ok((calls, datagrams, octets, sent.into_python(py)?))
    }

    /// What is left to Python, before anything else: where in the memory, how many bytes in datagrams
    /// of which size, and who sent them (packed).
    fn odd(&mut self) -> Option<(usize, usize, usize, Packed)> {
        let (at, train) = self.odd.take()?;
        Some((at, train.size, train.segment, train.source))
    }
}

impl RelayTurns {
    fn carry(&mut self, py: Python<'_>, fd: i32) -> PyResult<Outcome> {
        let serves = |sockets: &Sockets| sockets.fds.contains(&fd);
        if !self.sockets.as_ref().is_some_and(serves) {
            return Ok(Outcome::Python);
        }
        let mut memory = Memory::of(self.memory.bind(py))?;
        let mut outcome = Outcome::Nothing;
        let mut at = 0;
        for _ in 0..MOST_CALLS {
            if at + READ_BYTES > memory.len() {
                self.leave(&memory)?;
                at = 0;
            }
            let own = memory.own()?;
            let train = match receive(fd, &mut own[at..at + READ_BYTES]) {
                Ok(train) => train,
                Err(libc::EAGAIN) => break,
                Err(error) if PENDING.contains(&error) || error == libc::EINTR => continue,
                Err(error) => return Err(Error::from_raw_os_error(error).into()),
            };
            self.relayed.calls += 1;
            outcome = Outcome::Carried;
            if !self.take(own, at, &train) {
                self.odd = Some((at, train));
                outcome = Outcome::Settle;
                break;
            }
            at += train.size;
        }
        self.leave(&memory)?;
        let sent = &self.relayed.sent;
        if sent.refusal != 0 || sent.fatal != 0 {
            return Ok(Outcome::Settle);
        }
        Ok(outcome)
    }

    /// Find the ways of a train that lies at `at`; `false`, and nothing done, if it isn't ordinary.
    fn take(&mut self, memory: &[u8], at: usize, train: &Train) -> bool {
        let Train { size, segment, .. } = *train;
        let count = size.div_ceil(segment).max(1);
        let last = size - (count - 1) * segment;
        if last < MIN_BYTES || segment > MAX_DATAGRAM_BYTES {
            return false;
        }
        let before = self.leaving.len();
        let mut known: Option<(Key, Source)> = None;
        for number in 0..count {
            let offset = at + number * segment;
            let key = key(&memory[offset..offset + HEAD_BYTES]);
            let way = known.filter(|(same, _)| *same == key);
            let Some(to) = way.map(|(_, to)| to).or_else(|| self.way(&key, train)) else {
                self.leaving.truncate(before);
                return false;
            };
            known = Some((key, to));
            let size = if number + 1 == count { last } else { segment };
            // A train that came before stays whole, if this one isn't ordinary.
            self.put(before, offset, size, to);
        }
        self.relayed.datagrams += count;
        self.relayed.octets += size;
        self.join(before);
        true
    }

    /// Where traffic with this key goes, if that is known, and isn't where it came from.
    fn way(&self, key: &Key, train: &Train) -> Option<Source> {
        let way = self.ways.get(key)?;
        let comes_back = way.never_back && way.to.filled() == &train.source;
        (!comes_back).then_some(way.to)
    }

    /// Add a packet to the last of the runs from `first` on, or as a run of its own.
    fn put(&mut self, first: usize, offset: usize, size: usize, to: Source) {
        let packet = Run {
            tunnel: 0,
            next: 0,
            packets: 1,
            size,
            last: size,
            offset,
            source: to,
        };
        let last = self.leaving[first..].last_mut();
        if !last.is_some_and(|run| run.extend(&packet)) {
            self.leaving.push(packet);
        }
    }

    /// Put the run at `number` into the one before, if it goes on where that ends.
    fn join(&mut self, number: usize) {
        if let Some(([.., last], [next, ..])) = self.leaving.split_at_mut_checked(number)
            && last.extend(next)
        {
            self.leaving.remove(number);
        }
    }

    /// Send what has found its way: in order, as far as it goes to one address.
    fn leave(&mut self, memory: &Memory) -> PyResult<()> {
        let Some(sockets) = &self.sockets else {
            return Ok(());
        };
        let mut leaving = take(&mut self.leaving);
        while let Some(first) = leaving.first() {
            let to = first.source;
            let (runs, others) = leaving.into_iter().partition(|run: &Run| run.source == to);
            leaving = others;
            let runs: Vec<Run> = runs;
            match SocketAddress::of(to.filled(), sockets.is_ipv6) {
                Some((to, to_bytes)) => {
                    let fd = sockets.main;
                    let socket = Socket { fd, to, to_bytes };
                    send_all(socket, &mut self.relayed.sent, memory, &runs, sockets.gso)?;
                }
                None => self.relayed.sent.no_address(&runs, sockets.gso),
            }
        }
        Ok(())
    }
}

fn key(head: &[u8]) -> Key {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&head[..4]);
    key[4..].copy_from_slice(&head[16..HEAD_BYTES]);
    key
}
