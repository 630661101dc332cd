//! Turns of a process's loop that never enter the interpreter.
//!
//! After a pause a turn costs what it touches: code and data that have left the caches, most of
//! them the interpreter's. So a process waits in here while what comes is ordinary traffic. All
//! else, a key, a bell, a deadline, a batch of another kind, is handed to Python untouched.

use std::os::fd::RawFd;
use std::time::Duration;

use libc::{EPOLLIN, epoll_event};
use pyo3::prelude::*;

/// Sources heard in one turn, as in `chancel.daemon.loop`.
const MOST_READY: usize = 32;

/// What became of a source that was ready.
pub enum Outcome {
    /// What it had was carried on; there may be more.
    Carried,
    /// Carried, and Python must hear of it before anything else.
    Settle,
    /// It had nothing after all.
    Nothing,
    /// It isn't ours, or has what isn't ordinary: that is as it was.
    Python,
}

/// The descriptors that are ready, as epoll tells, and how often the process woke up.
pub type Woken = (Vec<(RawFd, u32)>, u64);

/// When the owner of a turn is to write his books, monotonic seconds, and how many seconds after
/// the first packet that it carried at least.
pub type Books = (f64, f64);

/// Who wasn't to write for so many seconds carries a packet that nothing follows.
const PAUSE: f64 = 2.0;

/// As in `chancel.daemon.loop`.
fn books_at((due, rest): Books, now: f64) -> f64 {
    if now >= due + PAUSE {
        due
    } else {
        due.max(now + rest)
    }
}

/// Monotonic seconds, as `time.monotonic()`.
pub fn monotonic() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is a local; this clock exists everywhere.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32).as_secs_f64()
}

/// Wait on `epoll`, and let `carry` serve the one source that is ready, as long as it can.
///
/// Returns at `deadline`; once something was carried, when its owner is to write his books; and with
/// what is ready, if that is several sources, or one for Python.
pub fn run(
    py: Python<'_>,
    epoll: RawFd,
    deadline: f64,
    books: Books,
    mut carry: impl FnMut(RawFd, f64) -> PyResult<Outcome>,
) -> PyResult<Woken> {
    let mut deadline = deadline;
    let mut wakeups = 0;
    let mut events = [epoll_event { events: 0, u64: 0 }; MOST_READY];
    loop {
        let Some(ready) = wait(epoll, &mut events, deadline) else {
            py.check_signals()?;
            continue;
        };
        wakeups += 1;
        let ready = &events[..ready];
        let [
            epoll_event {
                events: what,
                u64: fd,
            },
        ] = *ready
        else {
            return Ok((ready.iter().map(told).collect(), wakeups));
        };
        let now = monotonic();
        let outcome = if what == EPOLLIN as u32 {
            carry(fd as RawFd, now)?
        } else {
            Outcome::Python
        };
        match outcome {
            Outcome::Carried => deadline = deadline.min(books_at(books, now)),
            Outcome::Settle => return Ok((Vec::new(), wakeups)),
            Outcome::Nothing => {}
            Outcome::Python => return Ok((vec![(fd as RawFd, what)], wakeups)),
        }
        if now >= deadline {
            return Ok((Vec::new(), wakeups));
        }
    }
}

fn told(event: &epoll_event) -> (RawFd, u32) {
    (event.u64 as RawFd, event.events)
}

/// How many sources are ready by then; `None` if a signal came instead.
fn wait(epoll: RawFd, events: &mut [epoll_event; MOST_READY], deadline: f64) -> Option<usize> {
    let patience = if deadline == f64::INFINITY {
        -1
    } else {
        ((deadline - monotonic()) * 1e3).ceil().clamp(0.0, 1e9) as i32
    };
    // SAFETY: the events are a local array of the length given.
    let ready =
        unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), MOST_READY as i32, patience) };
    usize::try_from(ready).ok()
}
