//! The sessions of a hub: by key, and in the order in which they were last heard.
//!
//! What one session costs here does not depend on how many there are or were: a lookup is logarithmic, an iteration visits
//! live sessions only, and the memory of a session that has ended is given back.

#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use super::id::Id;
use super::slot::Slot;
use super::socket::Socket;
use crate::handler::Handler;
use crate::time::Instant;

pub(super) struct Places<S, H> {
    places: BTreeMap<usize, Box<Place<S, H>>>,
    next: Id,
    /// The two orders, where there are any: only a hub that evicts needs them.
    orders: Option<[Order; 2]>,
}

/// A session, and its neighbours in the order that it stands in.
struct Place<S, H> {
    slot: Slot<S, H>,
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

impl<S, H> Places<S, H> {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}

impl<S: Socket, H: Handler> Places<S, H> {
    /// No session. `ordered` is whether [`oldest`](Self::oldest) will be asked.
    pub(super) fn new(ordered: bool) -> Self {
        Self { places: BTreeMap::new(), next: Id::FIRST, orders: ordered.then(Default::default) }
    }

    /// The id that the next session has at least.
    pub(super) const fn next_id(&self) -> Id {
        self.next
    }

    /// An id that no session has had, whose key no session has.
    pub(super) fn new_id(&mut self) -> Id {
        loop {
            let id = self.next;
            self.next = id.next();
            if !self.places.contains_key(&id.key()) {
                return id;
            }
        }
    }

    /// Adds a session under the key of its id.
    pub(super) fn insert(&mut self, slot: Slot<S, H>) {
        let key = slot.client.id.key();
        let (leaving, heard) = (slot.is_closing(), slot.heard);
        self.places.insert(key, Box::new(Place { slot, before: None, after: None, leaving, heard }));
        self.link(key);
    }

    pub(super) fn remove(&mut self, key: usize) -> Option<Slot<S, H>> {
        self.unlink(key);
        self.places.remove(&key).map(|place| place.slot)
    }

    pub(super) fn get(&mut self, key: usize) -> Option<&mut Slot<S, H>> {
        self.places.get_mut(&key).map(|place| &mut place.slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Slot<S, H>)> {
        self.places.iter().map(|(key, place)| (*key, &place.slot))
    }

    /// The session with the least key from `key` on.
    pub(super) fn from(&mut self, key: usize) -> Option<(usize, &mut Slot<S, H>)> {
        self.places.range_mut(key..).next().map(|(key, place)| (*key, &mut place.slot))
    }

    /// Moves a session to where it belongs, after it was heard or began to close.
    pub(super) fn reorder(&mut self, key: usize) {
        if self.orders.is_none() {
            return;
        }
        let Some(place) = self.places.get_mut(&key) else { return };
        let now = (place.slot.is_closing(), place.slot.heard);
        if now != (place.leaving, place.heard) {
            self.unlink(key);
            if let Some(place) = self.places.get_mut(&key) {
                (place.leaving, place.heard) = now;
            }
            self.link(key);
        }
    }

    /// How many sessions are not being closed.
    pub(super) fn staying(&self) -> usize {
        self.orders.as_ref().map_or(0, |[staying, _]| staying.len)
    }

    /// Of those that are being closed, or of those that are not, the one that has been silent for longest. While one is being
    /// closed its silence counts from when that began.
    pub(super) fn oldest(&self, leaving: bool) -> Option<usize> {
        let [staying, closing] = self.orders.as_ref()?;
        if leaving { closing.first } else { staying.first }
    }

    /// Puts a session at the end of the order that it belongs to.
    fn link(&mut self, key: usize) {
        let Some(orders) = &mut self.orders else { return };
        let Some(place) = self.places.get_mut(&key) else { return };
        let [staying, closing] = orders;
        let order = if place.leaving { closing } else { staying };
        place.before = order.last.replace(key);
        order.len = order.len.saturating_add(1);
        match place.before {
            None => order.first = Some(key),
            Some(before) => {
                if let Some(before) = self.places.get_mut(&before) {
                    before.after = Some(key);
                }
            }
        }
    }

    fn unlink(&mut self, key: usize) {
        let Some(orders) = &mut self.orders else { return };
        let Some(place) = self.places.get_mut(&key) else { return };
        let [staying, closing] = orders;
        let order = if place.leaving { closing } else { staying };
        let (before, after) = (place.before.take(), place.after.take());
        order.len = order.len.saturating_sub(1);
        match before.and_then(|before| self.places.get_mut(&before)) {
            Some(before) => before.after = after,
            None => order.first = after,
        }
        match after.and_then(|after| self.places.get_mut(&after)) {
            Some(after) => after.before = before,
            None => order.last = before,
        }
    }
}
