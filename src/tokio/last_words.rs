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
/// Boxed: a connection moves through the futures of a task, each of which has room for it.
pub(super) type Guarded<S, R> = Box<ScopeGuard<Link<S, R>, fn(Link<S, R>), OnUnwind>>;

pub(super) fn guard<S: AsyncRead + AsyncWrite + Unpin, R: Role>(link: Link<S, R>) -> Guarded<S, R> {
    Box::new(ScopeGuard::with_strategy(link, |mut link| {
        // The stream's code runs while a panic unwinds: another one must not get out.
        let _ = catch_unwind(AssertUnwindSafe(|| close(&mut link)));
    }))
}

/// Writes a Close with 1011, as far as the stream takes it without a wait.
fn close<S: AsyncRead + AsyncWrite + Unpin, R: Role>(link: &mut Link<S, R>) {
    let write = poll_fn(|cx| {
        loop {
            let _ = link.put_close(Some(CloseCode::INTERNAL_ERROR), "");
            if !link.write_on(cx) {
                return Poll::Ready(());
            }
        }
    });
    // Also if the task has used up its budget.
    let _ = pin!(unconstrained(write)).poll(&mut Context::from_waker(Waker::noop()));
}
