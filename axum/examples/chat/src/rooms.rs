//! The rooms that have members in this process.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sansocket_axum::Utf8Bytes;
use tokio::sync::{Notify, broadcast};
use tokio::time::sleep;

use crate::protocol::{Message, Reply};

/// What one member has not read yet, in messages. Beyond, the oldest are dropped; the member sees that, and gets them by their ids.
const QUEUE: usize = 64;
/// The names that a room shows.
const SHOWN: usize = 100;
/// How often each process tells who is in its rooms, and asks for the others.
pub(crate) const REFRESH: Duration = Duration::from_secs(1);
/// Members that join and leave within this time are reported together.
const COLLECT: Duration = Duration::from_millis(100);

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Where messages are kept. It gives each message its place in the order of its room, and then passes it to [`Rooms::deliver`]
/// of each process, in this order.
pub(crate) trait Store: Send + Sync + 'static {
    /// Returns when the message is kept. If the client's number `n` is not above its last one, it has been kept before.
    fn append(
        &self,
        room: &str,
        client: &str,
        n: u64,
        from: &str,
        text: &str,
    ) -> impl Future<Output = Result<()>> + Send;

    /// The newest messages between two ids, in their order and at most a [`PAGE`](crate::protocol::PAGE) of them.
    fn page(
        &self,
        room: &str,
        after: Option<u64>,
        before: Option<u64>,
    ) -> impl Future<Output = Result<Vec<Message>>> + Send;

    /// Takes the names of the members in this process, and returns those in all.
    fn people(&self, room: &str, here: Vec<String>) -> impl Future<Output = Result<Vec<String>>> + Send;
}

/// Something new in a room, encoded once for all members.
#[derive(Clone)]
pub(crate) enum News {
    Message(u64, Utf8Bytes),
    People(Utf8Bytes),
}

#[derive(Default)]
pub(crate) struct Rooms {
    rooms: Mutex<HashMap<String, Room>>,
    /// There is a room that was not there before.
    pub(crate) opened: Notify,
    /// Somebody has come or gone.
    moved: Notify,
}

struct Room {
    feed: broadcast::Sender<News>,
    members: BTreeMap<u64, String>,
    next: u64,
    /// The people as told last, if they were.
    people: Option<Utf8Bytes>,
}

/// A member's place in a room; dropping it leaves the room.
pub(crate) struct Seat {
    rooms: Arc<Rooms>,
    room: String,
    key: u64,
    pub(crate) feed: broadcast::Receiver<News>,
}

impl Rooms {
    pub(crate) fn join(self: &Arc<Self>, name: &str, member: &str) -> Seat {
        let mut rooms = self.lock();
        let room = rooms.entry(name.to_owned()).or_insert_with(|| {
            self.opened.notify_one();
            Room { feed: broadcast::Sender::new(QUEUE), members: BTreeMap::new(), next: 0, people: None }
        });
        let key = room.next;
        room.next += 1;
        room.members.insert(key, member.to_owned());
        self.moved.notify_one();
        Seat { rooms: Arc::clone(self), room: name.to_owned(), key, feed: room.feed.subscribe() }
    }

    /// The names of the rooms.
    pub(crate) fn open(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Passes a message to the members of its room. It waits for nobody.
    pub(crate) fn deliver(&self, room: &str, message: &Message) {
        let feed = self.lock().get(room).map(|room| room.feed.clone());
        if let Some(feed) = feed {
            // An error says that nobody is there.
            let _ = feed.send(News::Message(message.id, Reply::Message(message).json()));
        }
    }

    /// Tells each room who is there, without end.
    pub(crate) async fn keep_people<S: Store>(&self, store: &S) {
        loop {
            if let Err(error) = self.tell_people(store).await {
                eprintln!("people: {error}");
            }
            sleep(COLLECT).await;
            tokio::select! {
                () = self.moved.notified() => {}
                () = sleep(REFRESH) => {}
            }
        }
    }

    async fn tell_people<S: Store>(&self, store: &S) -> Result<()> {
        for (name, here) in self.members() {
            let empty = here.is_empty();
            let mut people = store.people(&name, here).await?;
            people.sort_unstable();
            let mut rooms = self.lock();
            let Some(room) = rooms.get_mut(&name) else { continue };
            if empty && room.members.is_empty() {
                rooms.remove(&name); // the store knows it
                continue;
            }
            let shown = &people[..people.len().min(SHOWN)];
            let told = Some(Reply::People { count: people.len(), names: shown }.json());
            if room.people != told {
                room.people = told.clone();
                let _ = told.map(|json| room.feed.send(News::People(json)));
            }
        }
        Ok(())
    }

    fn members(&self) -> Vec<(String, Vec<String>)> {
        let rooms = self.lock();
        rooms.iter().map(|(name, room)| (name.clone(), room.members.values().cloned().collect())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Who is in the room, if that is known.
    pub(crate) fn people(&self) -> Option<Utf8Bytes> {
        self.rooms.lock().get(&self.room).and_then(|room| room.people.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(room) = self.rooms.lock().get_mut(&self.room) {
            room.members.remove(&self.key);
        }
        self.rooms.moved.notify_one();
    }
}
