//! One member of a room: its WebSocket, from the first history to the Close.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use sansocket_axum::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket, close_code};
use tokio::sync::broadcast::error::RecvError;

use crate::protocol::{MAX_TEXT, Reply, Request, Visit};
use crate::rooms::{self, News, Rooms, Seat, Store};

pub(crate) struct Member<'a, S> {
    socket: &'a mut WebSocket,
    store: &'a S,
    room: &'a str,
    visit: &'a Visit,
    /// The newest message that was sent to it; 0 if there was none.
    last: u64,
}

/// A message on its way into the store; its number.
type Saying<'a> = Pin<Box<dyn Future<Output = rooms::Result<u64>> + Send + 'a>>;

/// Why a member leaves.
pub(crate) enum Leave {
    /// Its connection has ended.
    Gone,
    Close(CloseFrame),
}

impl From<axum::Error> for Leave {
    fn from(_: axum::Error) -> Self {
        Leave::Gone
    }
}

impl Leave {
    fn close(code: u16, reason: &'static str) -> Self {
        Leave::Close(CloseFrame { code, reason: Utf8Bytes::from_static(reason) })
    }
}

impl<'a, S: Store> Member<'a, S> {
    pub(crate) fn new(socket: &'a mut WebSocket, store: &'a S, room: &'a str, visit: &'a Visit) -> Self {
        Self { socket, store, room, visit, last: 0 }
    }

    /// Serves the member until it leaves.
    ///
    /// A member that reads slowly waits here, in `send`, and its feed drops the oldest; nobody else waits for it.
    pub(crate) async fn attend(mut self, rooms: &Arc<Rooms>) -> Leave {
        let Err(leave) = self.take_part(rooms).await;
        leave
    }

    async fn take_part(&mut self, rooms: &Arc<Rooms>) -> Result<Infallible, Leave> {
        // In this order, so that nothing falls between history and feed.
        let mut seat = rooms.join(self.room, self.visit.name.trim());
        let after = self.visit.after;
        self.last = self.history(after, None).await?.or(after).unwrap_or(0);
        self.people(&seat).await?;
        let mut saying: Option<Saying<'a>> = None;
        loop {
            tokio::select! {
                news = seat.feed.recv() => match news {
                    Ok(News::People(json)) => self.send(json).await?,
                    Ok(News::Message(id, json)) => self.news(id, json).await?,
                    Err(RecvError::Lagged(_)) => {
                        self.catch_up().await?;
                        self.people(&seat).await?;
                    }
                    Err(RecvError::Closed) => return Err(Leave::close(close_code::ERROR, "")),
                },
                kept = finished(&mut saying) => {
                    saying = None;
                    self.send(Reply::Taken { n: kept.map_err(unavailable)? }.json()).await?;
                }
                // Nothing more is read from this client until its message is kept: the store sets the pace.
                frame = self.socket.recv(), if saying.is_none() => match frame.ok_or(Leave::Gone)?? {
                    Frame::Text(text) => saying = self.request(&text).await?,
                    Frame::Binary(_) => return Err(Leave::close(close_code::UNSUPPORTED, "text only")),
                    Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) => {}
                },
            }
        }
    }

    async fn news(&mut self, id: u64, json: Utf8Bytes) -> Result<(), Leave> {
        if id <= self.last {
            return Ok(()); // the history had it
        }
        if id > self.last.saturating_add(1) {
            return self.catch_up().await;
        }
        self.last = id;
        self.send(json).await
    }

    /// Sends what is new since the last message: all, or the newest of it and that there is a gap.
    async fn catch_up(&mut self) -> Result<(), Leave> {
        if let Some(newest) = self.history(Some(self.last), None).await? {
            self.last = newest;
        }
        Ok(())
    }

    async fn people(&mut self, seat: &Seat) -> Result<(), Leave> {
        match seat.people() {
            Some(json) => self.send(json).await,
            None => Ok(()), // as soon as they are known
        }
    }

    /// Sends messages between two ids, and returns the last id.
    async fn history(&mut self, after: Option<u64>, before: Option<u64>) -> Result<Option<u64>, Leave> {
        let messages = self.store.page(self.room, after, before).await.map_err(unavailable)?;
        self.send(Reply::history(after, before, &messages).json()).await?;
        Ok(messages.last().map(|message| message.id))
    }

    async fn request(&mut self, json: &str) -> Result<Option<Saying<'a>>, Leave> {
        match serde_json::from_str(json) {
            Ok(Request::Say { n, text }) if (1..=MAX_TEXT).contains(&text.len()) => {
                let Self { store, room, visit: Visit { client, name, .. }, .. } = *self;
                Ok(Some(Box::pin(async move {
                    store.append(room, client, n, name.trim(), &text).await?;
                    Ok(n)
                })))
            }
            Ok(Request::History { after, before }) => {
                self.history(after, before).await?;
                Ok(None)
            }
            _ => Err(Leave::close(close_code::POLICY, "not a request")),
        }
    }

    async fn send(&mut self, json: Utf8Bytes) -> Result<(), Leave> {
        Ok(self.socket.send(Frame::Text(json)).await?)
    }
}

async fn finished(saying: &mut Option<Saying<'_>>) -> rooms::Result<u64> {
    match saying {
        Some(saying) => saying.await,
        None => pending().await,
    }
}

/// The client comes again, perhaps to another process, and says again what was not taken.
fn unavailable(error: Box<dyn Error + Send + Sync>) -> Leave {
    eprintln!("store: {error}");
    Leave::close(close_code::AGAIN, "try again later")
}
