//! Access to a hub from inside: from a function that runs in its thread.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use core::any::Any;
use core::fmt;

use super::application::Application;
use super::completion::{Done, NotDelivered};
use super::counters::Counters;
use super::id::SessionId;
use super::machine::Hub;
use super::session_info::SessionInfo;
use super::socket::HubSocket;
use crate::close::CloseCode;
use crate::message::Prepared;

/// A hub, as seen by a function that [`HubHandle::call`](super::HubHandle::call) calls in its thread.
///
/// Its methods have the names of [`HubHandle`](super::HubHandle)'s, but take effect at once.
///
/// ```
/// # #[cfg(feature = "mio")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sansocket::hub::{HandleError, HubHandle, SessionInfo};
/// use sansocket::CloseCode;
/// # use sansocket::{HandlerError, MessageHandler, MessageRef, Outbox, blocking, hub::MioServer, hub::Routes};
/// # struct Member;
/// # impl MessageHandler for Member {
/// #     fn message(&mut self, _: MessageRef<'_>, _: &mut Outbox<'_>) -> Result<(), HandlerError> {
/// #         Ok(())
/// #     }
/// # }
///
/// /// Ends all sessions of a room.
/// fn close_room(hub: &HubHandle, room: u32) -> Result<(), HandleError> {
///     hub.call(move |hub| {
///         let sessions = hub.sessions().filter(|session| session.tag() == room);
///         let members: Vec<_> = sessions.map(SessionInfo::id).collect();
///         for id in members {
///             let _ = hub.close(id, CloseCode::NORMAL, "the room is closed");
///         }
///     })
/// }
///
/// # let routes = Routes::new().messages("/rooms/7", |session, _| {
/// #     session.set_tag(7);
/// #     Ok(Member)
/// # });
/// # let server = MioServer::bind("127.0.0.1:0", Default::default(), |_| routes)?;
/// # let (address, hub) = (server.address(), server.handle());
/// # std::thread::spawn(|| server.run());
/// // The route has set the tag of the session to 7.
/// let mut member = blocking::connect(&format!("ws://{address}/rooms/7"))?;
/// close_room(&hub, 7)?;
/// assert_eq!(member.recv()?, None);
/// assert_eq!(member.close_reason(), "the room is closed");
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "mio"))]
/// # fn main() {}
/// ```
pub struct HubContext<'h>(&'h mut dyn Inside);

impl<'h> HubContext<'h> {
    pub(super) const fn new(hub: &'h mut dyn Inside) -> Self {
        Self(hub)
    }

    /// Sends a message to a session, after all messages that were sent to it before.
    ///
    /// # Errors
    /// [`NotDelivered`]: nothing was sent.
    pub fn send(&mut self, id: SessionId, message: impl Into<Prepared>) -> Result<(), NotDelivered> {
        self.0.submit(id, message.into(), Done::NOBODY).map_err(|(lost, _)| lost)
    }

    /// Sends a message to a session, and calls `done` when the transport has taken the whole message, or when the
    /// message is lost later.
    ///
    /// # Errors
    /// [`NotDelivered`]: nothing was sent, and `done` is dropped and not called.
    pub fn send_with(
        &mut self,
        id: SessionId,
        message: impl Into<Prepared>,
        done: impl FnOnce(Result<(), NotDelivered>) + Send + 'static,
    ) -> Result<(), NotDelivered> {
        self.0.submit(id, message.into(), Done::new(Box::new(done))).map_err(|(lost, done)| {
            done.forget();
            lost
        })
    }

    /// Sends a message, encoded once, to all open sessions. Returns how many sessions have queued it.
    pub fn broadcast(&mut self, message: impl Into<Prepared>) -> usize {
        self.broadcast_to(message, |_| true)
    }

    /// Sends a message to those open sessions that `to` selects. Returns how many sessions have queued it.
    pub fn broadcast_to(
        &mut self,
        message: impl Into<Prepared>,
        mut to: impl FnMut(&SessionInfo) -> bool,
    ) -> usize {
        self.0.broadcast(&message.into(), &mut to)
    }

    /// Wakes the handler of a session, as [`HubHandle::wake`](super::HubHandle::wake): the hub calls it in the session's
    /// next turn. Returns whether there was a session.
    pub fn wake(&mut self, id: SessionId) -> bool {
        self.0.wake(id)
    }

    /// Closes a session, as [`HubHandle::close`](super::HubHandle::close). Returns whether there was one.
    pub fn close(&mut self, id: SessionId, code: CloseCode, reason: &str) -> bool {
        self.0.close(id, code, reason)
    }

    /// Lists the sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &SessionInfo> {
        self.0.sessions()
    }

    /// Returns what the hub has done up to now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.counters()
    }

    /// Returns the application, for example to change its [`Routes`](super::Routes); `None` if it has another type.
    pub fn application<A: Application>(&mut self) -> Option<&mut A> {
        self.0.application().downcast_mut()
    }

    /// Returns the whole hub, for example to [adopt](Hub::adopt) a connection; `None` if its sockets or its application
    /// have other types.
    pub fn hub<S: HubSocket + 'static, A: Application>(&mut self) -> Option<&mut Hub<S, A>> {
        self.0.hub().downcast_mut()
    }
}

impl fmt::Debug for HubContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubContext")
    }
}

/// A [`Hub`] without the types of its sockets and its application.
pub(super) trait Inside {
    /// Queues a message for a session. An error says why the message is lost, and gives its completion back.
    fn submit(&mut self, id: SessionId, message: Prepared, done: Done) -> Result<(), (NotDelivered, Done)>;

    fn broadcast(&mut self, message: &Prepared, to: &mut dyn FnMut(&SessionInfo) -> bool) -> usize;

    fn wake(&mut self, id: SessionId) -> bool;

    fn close(&mut self, id: SessionId, code: CloseCode, reason: &str) -> bool;

    fn sessions(&self) -> Box<dyn Iterator<Item = &SessionInfo> + '_>;

    fn counters(&self) -> Counters;

    fn application(&mut self) -> &mut dyn Any;

    fn hub(&mut self) -> &mut dyn Any;
}
