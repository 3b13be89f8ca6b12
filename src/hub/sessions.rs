//! The sessions of a hub, by key and in the order in which they last received something.
//!
//! The cost of one session does not depend on how many there are or were: a lookup is logarithmic, an iteration
//! visits live sessions only, and the memory of a session that has ended is released.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use super::id::SessionId;
use super::session::Session;
use super::socket::HubSocket;
use crate::handler::Handler;
use crate::time::Instant;

pub(super) struct Sessions<S, H> {
    sessions: BTreeMap<usize, Box<Entry<S, H>>>,
    next: SessionId,
    /// The two orders. Only a hub that evicts has them.
    orders: Option<[Order; 2]>,
}

/// A session, and its neighbours in its order.
struct Entry<S, H> {
    session: Session<S, H>,
    before: Option<usize>,
    after: Option<usize>,
    leaving: bool,
    heard: Instant,
}

/// A list of sessions, linked by their keys.
#[derive(Default)]
struct Order {
    first: Option<usize>,
    last: Option<usize>,
    len: usize,
}

impl<S, H> Sessions<S, H> {
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }
}

impl<S: HubSocket, H: Handler> Sessions<S, H> {
    /// Creates an empty collection. `ordered` is whether [`oldest`](Self::oldest) will be called.
    pub(super) fn new(ordered: bool) -> Self {
        Self { sessions: BTreeMap::new(), next: SessionId::FIRST, orders: ordered.then(Default::default) }
    }

    /// A lower bound of the next session's id.
    pub(super) const fn next_id(&self) -> SessionId {
        self.next
    }

    /// Returns an id that no session has had, whose key no session has.
    pub(super) fn new_id(&mut self) -> SessionId {
        loop {
            let id = self.next;
            self.next = id.next();
            if !self.sessions.contains_key(&id.key()) {
                return id;
            }
        }
    }

    /// Adds a session under the key of its id.
    pub(super) fn insert(&mut self, session: Session<S, H>) {
        let key = session.info.id.key();
        let (leaving, heard) = (session.is_closing(), session.heard);
        self.sessions.insert(key, Box::new(Entry { session, before: None, after: None, leaving, heard }));
        self.link(key);
    }

    pub(super) fn remove(&mut self, key: usize) -> Option<Session<S, H>> {
        self.unlink(key);
        self.sessions.remove(&key).map(|entry| entry.session)
    }

    pub(super) fn get(&mut self, key: usize) -> Option<&mut Session<S, H>> {
        self.sessions.get_mut(&key).map(|entry| &mut entry.session)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Session<S, H>)> {
        self.sessions.iter().map(|(key, entry)| (*key, &entry.session))
    }

    /// Returns the session with the smallest key from `key` on.
    pub(super) fn from(&mut self, key: usize) -> Option<(usize, &mut Session<S, H>)> {
        self.sessions.range_mut(key..).next().map(|(key, entry)| (*key, &mut entry.session))
    }

    /// Moves a session to its entry in the orders, after it has received something or begun to close.
    pub(super) fn reorder(&mut self, key: usize) {
        if self.orders.is_none() {
            return;
        }
        let Some(entry) = self.sessions.get_mut(&key) else { return };
        let now = (entry.session.is_closing(), entry.session.heard);
        if now != (entry.leaving, entry.heard) {
            self.unlink(key);
            if let Some(entry) = self.sessions.get_mut(&key) {
                (entry.leaving, entry.heard) = now;
            }
            self.link(key);
        }
    }

    /// The number of sessions that are not closing.
    pub(super) fn staying(&self) -> usize {
        self.orders.as_ref().map_or(0, |[staying, _]| staying.len)
    }

    /// Returns the session that has been silent for longest, of those that are closing or of those that are not. The
    /// silence of a closing session counts from when the closing began or something arrived.
    pub(super) fn oldest(&self, leaving: bool) -> Option<usize> {
        let [staying, closing] = self.orders.as_ref()?;
        if leaving { closing.first } else { staying.first }
    }

    /// Appends a session to its order.
    fn link(&mut self, key: usize) {
        let Some(orders) = &mut self.orders else { return };
        let Some(entry) = self.sessions.get_mut(&key) else { return };
        let [staying, closing] = orders;
        let order = if entry.leaving { closing } else { staying };
        entry.before = order.last.replace(key);
        order.len = order.len.saturating_add(1);
        match entry.before {
            None => order.first = Some(key),
            Some(before) => {
                if let Some(before) = self.sessions.get_mut(&before) {
                    before.after = Some(key);
                }
            }
        }
    }

    fn unlink(&mut self, key: usize) {
        let Some(orders) = &mut self.orders else { return };
        let Some(entry) = self.sessions.get_mut(&key) else { return };
        let [staying, closing] = orders;
        let order = if entry.leaving { closing } else { staying };
        let (before, after) = (entry.before.take(), entry.after.take());
        order.len = order.len.saturating_sub(1);
        match before.and_then(|before| self.sessions.get_mut(&before)) {
            Some(before) => before.after = after,
            None => order.first = after,
        }
        match after.and_then(|after| self.sessions.get_mut(&after)) {
            Some(after) => after.before = before,
            None => order.last = before,
        }
    }
}
