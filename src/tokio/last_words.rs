//! The Close that the peer of a panicking task receives.

#![forbid(unsafe_code)]

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::tokio::io::{AsyncRead, AsyncWrite};
use ::tokio::task::coop::unconstrained;
use scopeguard::{OnUnwind, ScopeGuard};

use super::link::Link;
use crate::close::CloseCode;
use crate::role::Role;

/// A link that closes with 1011 if the task that owns it panics: "it encountered an unexpected condition that prevented it from
/// fulfilling the request" (RFC 6455 §7.4.1).
///
/// Boxed, because a connection moves through several futures of a task, and each of them reserves room for it.
pub(super) type Guarded<S, R> = Box<ScopeGuard<Link<S, R>, fn(Link<S, R>), OnUnwind>>;

pub(super) fn guard<S: AsyncRead + AsyncWrite + Unpin, R: Role>(link: Link<S, R>) -> Guarded<S, R> {
    Box::new(ScopeGuard::with_strategy(link, |mut link| {
        // The stream's code runs while a panic unwinds: a second panic would abort the process.
        let _ = catch_unwind(AssertUnwindSafe(|| close(&mut link)));
    }))
}

/// Writes a Close with 1011, as much of it as the stream takes without waiting.
fn close<S: AsyncRead + AsyncWrite + Unpin, R: Role>(link: &mut Link<S, R>) {
    let write = poll_fn(|cx| {
        loop {
            let _ = link.put_close(Some(CloseCode::INTERNAL_ERROR), "");
            if !link.write_on(cx) {
                return Poll::Ready(());
            }
        }
    });
    // Writes even if the task has used up its budget.
    let _ = pin!(unconstrained(write)).poll(&mut Context::from_waker(Waker::noop()));
}
