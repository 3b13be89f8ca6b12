//! tokio's clock, and a timer on it.

#![forbid(unsafe_code)]

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::boxed::Box;

use tokio::time::{Instant as Moment, Sleep, sleep_until};

use crate::time::Instant;

/// A clock that begins when it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Moment);

/// A timer that is made when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<Set>);

#[derive(Debug)]
struct Set {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Moment::now())
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::START.saturating_add(self.0.elapsed())
    }

    /// `None` if the system's clock cannot represent it.
    fn moment(&self, at: Instant) -> Option<Moment> {
        self.0.checked_add(Duration::from_micros(at.as_micros()))
    }
}

impl Timer {
    /// Ready when this moment of the clock has passed. A timer that is set for an earlier moment stays set until it fires, because
    /// most deadlines only move to a later moment.
    pub(crate) fn poll_deadline(
        &mut self,
        cx: &mut Context<'_>,
        clock: Clock,
        deadline: Option<Instant>,
    ) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        loop {
            let timer = match &mut self.0 {
                Some(timer) if timer.at == deadline || timer.at < deadline && !timer.sleep.is_elapsed() => {
                    timer
                }
                timer => {
                    let Some(moment) = clock.moment(deadline) else { return Poll::Pending };
                    let sleep = match timer.take() {
                        Some(Set { mut sleep, .. }) => {
                            sleep.as_mut().reset(moment);
                            sleep
                        }
                        None => Box::pin(sleep_until(moment)),
                    };
                    timer.insert(Set { sleep, at: deadline })
                }
            };
            ready!(timer.sleep.as_mut().poll(cx));
            if timer.at >= deadline {
                return Poll::Ready(());
            }
        }
    }
}
