//! The task of a connection that was split.

#![forbid(unsafe_code)]

use core::fmt;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::boxed::Box;
use std::sync::Arc;

use ::tokio::io::{AsyncRead, AsyncWrite};

use super::queue::Item;
use super::shared::{Close, Orders, Shared, State};
use crate::close::CloseCode;
use crate::ending::Ending;
use crate::error::EndReason;
use crate::host::error::Error;
use crate::message::owned::Message;
use crate::role::Role;
use crate::send::SendError;
use crate::tokio::link::{Events, Link};
use crate::tokio::tracker::Member;
use crate::tokio::websocket::WebSocket;

/// The future that drives a connection [split](WebSocket::into_split_with) by its caller, who spawns it. It is ready when the connection
/// has ended, or was reunited.
///
/// Dropping it drops the stream: the connection has ended with [`Disconnected`](EndReason::Disconnected) for both halves.
#[must_use = "the connection makes progress only while this is polled"]
pub struct SplitDriver<S, R> {
    /// Until the connection has ended, or was handed over.
    socket: Option<WebSocket<S, R>>,
    shared: Arc<Shared>,
    /// The message that waits for room in the transmit buffer.
    next: Option<Item>,
    /// The Close that follows all messages.
    close: Option<Close>,
    /// Nothing can be sent any more.
    stopped: bool,
    /// The stream has failed or ended: what was received before goes to the receiver at once, however much it is, so that the
    /// connection can end.
    draining: bool,
    /// The tracker: it is answered here and not in the link, so that queued messages go before the Close.
    member: Option<Box<Member>>,
}

/// How a connection ends whose driver was dropped.
const CUT: Ending = Ending { reason: EndReason::Disconnected, received: None, sent: None };
/// The most turns of one poll, so that other tasks run.
const TURNS: u32 = 64;

impl<S, R> SplitDriver<S, R> {
    pub(super) fn new(mut socket: WebSocket<S, R>, shared: Arc<Shared>) -> Self {
        let member = socket.link.member.take();
        Self {
            socket: Some(socket),
            shared,
            next: None,
            close: None,
            stopped: false,
            draining: false,
            member,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> SplitDriver<S, R> {
    /// Puts the waiting messages into the connection, as many as there is room for.
    fn put(&mut self) {
        let Self { socket: Some(socket), shared, next, close, stopped, .. } = self else { return };
        let link = &mut socket.link;
        while !*stopped && !link.is_inside() {
            if next.is_none() {
                *next = shared.with(|state| {
                    let item = state.queue.begin();
                    state.wake_first();
                    item
                });
            }
            let Some(item) = next else { break };
            match link.put_item(item) {
                None => return,
                Some(Ok(()) | Err(SendError::Closed)) => {}
                // A message that was begun before the split cannot be ended any more.
                Some(Err(_)) => {
                    shared.with(|state| state.close(Some(CloseCode::INTERNAL_ERROR), ""));
                }
            }
            *next = None;
        }
        if let Some(Close { code, reason }) = close {
            link.limit_life();
            if next.is_none() && link.put_close(*code, reason).is_some() {
                *close = None;
            }
        }
    }

    /// Drives the connection, and passes a received message on. Pending if no bytes move.
    fn poll_connection(&mut self, cx: &mut Context<'_>, events: Option<Events>) -> Poll<()> {
        let Some(socket) = &mut self.socket else { return Poll::Pending };
        let received = match events {
            None => ready!(socket.poll_recv(cx)),
            Some(events) => {
                if events == Events::Discard {
                    socket.discard();
                }
                let WebSocket { link, incoming, .. } = socket;
                let never: Result<Message, Error> =
                    ready!(link.poll_until(cx, Some(incoming), events, |_| None));
                never.map(Some)
            }
        };
        let message = match received {
            Ok(Some(message)) => Ok(message),
            Err(Error::MessageTooBig) => Err(Error::MessageTooBig),
            Err(_) if socket.ending().is_none() => {
                self.draining = true;
                return Poll::Ready(());
            }
            ended => {
                self.finish(ended.err());
                return Poll::Ready(());
            }
        };
        drop(self.shared.with(|state| state.deliver(message)));
        Poll::Ready(())
    }

    /// Drops the stream, and tells both halves.
    fn finish(&mut self, error: Option<Error>) {
        let Some(socket) = self.socket.take() else { return };
        self.shared.finish(socket.ending().unwrap_or(CUT), socket.close_reason(), error);
    }

    /// Drops what waits to be sent.
    fn stop(&mut self) {
        if !mem::replace(&mut self.stopped, true) {
            let dropped = self.shared.with(State::stop);
            drop((dropped, self.next.take()));
        }
    }

    /// Whether the last poll made room for something that waits.
    fn goes_on(&mut self, reunite: bool) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let ended = socket.incoming.rx.is_ended() && !mem::replace(&mut self.draining, true);
        let waits = reunite
            || self.next.is_some()
            || self.close.is_some()
            || self.shared.with(|state| state.queue.count().0 > 0);
        mem::take(&mut socket.link.moved) && waits || ended
    }
}

impl<S, R> SplitDriver<S, R>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Role + Unpin + Send + 'static,
{
    /// Offers the connection to the receiver, once all that was queued is with the transport.
    fn offer(&mut self) {
        let flushed = self.socket.as_ref().is_some_and(|socket| socket.link.is_flushed());
        let idle = flushed && self.next.is_none() && self.close.is_none();
        if idle
            && self.shared.with(|state| state.queue.is_empty())
            && let Some(mut socket) = self.socket.take()
        {
            socket.link.member = self.member.take();
            self.shared.with(|state| state.offer_socket(Box::new(socket)));
        }
    }

    /// Waits until the receiver has taken the connection that was offered, and takes it back if there is no receiver any more.
    fn poll_offered(&mut self, cx: &Context<'_>) -> Poll<()> {
        let socket = ready!(self.shared.with(|state| state.poll_offered(cx.waker())));
        self.socket = socket.and_then(|socket| socket.downcast().ok()).map(|socket| *socket);
        self.member = self.socket.as_mut().and_then(|socket| socket.link.member.take());
        Poll::Ready(())
    }
}

impl<S, R> Future for SplitDriver<S, R>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Role + Unpin + Send + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = self.get_mut();
        for _ in 0..TURNS {
            if driver.socket.is_none() {
                ready!(driver.poll_offered(cx));
                if driver.socket.is_none() {
                    return Poll::Ready(());
                }
            }
            if let Some(closing) = driver.member.as_ref().and_then(|member| member.poll_closing(cx)) {
                driver.shared.with(|state| state.close(closing.code, &closing.reason));
            }
            let Orders { events, close, reunite } = driver.shared.with(|state| state.orders(cx.waker()));
            driver.close = close.or(driver.close.take());
            driver.put();
            if reunite {
                driver.offer();
            }
            if driver.socket.is_none() {
                continue;
            }
            let polled = driver.poll_connection(cx, events.filter(|_| !driver.draining));
            let Some(socket) = &mut driver.socket else { return Poll::Ready(()) };
            if !socket.link.is_open() {
                driver.stop();
            }
            if polled.is_pending() && !driver.goes_on(reunite) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S, R> Drop for SplitDriver<S, R> {
    fn drop(&mut self) {
        if self.socket.is_some() {
            self.shared.finish(CUT, "", None);
        }
    }
}

impl<S, R> fmt::Debug for SplitDriver<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitDriver").finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Link<S, R> {
    /// Puts a message; `None` if there is no room yet.
    fn put_item(&mut self, item: &Item) -> Option<Result<(), SendError>> {
        match item {
            Item::Message(message) => self.put_message(message),
            Item::Prepared(message) => self.put_prepared(message),
            Item::Ping(payload) => self.put_control(|out| out.ping(payload)),
        }
    }
}
