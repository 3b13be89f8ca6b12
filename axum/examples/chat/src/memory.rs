//! The store of a single process: the newest messages of each room, in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::protocol::{Message, PAGE};
use crate::rooms::{Result, Rooms, Store};

/// Rooms at once. Beyond, those are forgotten in which nobody is.
const MAX_ROOMS: usize = 200;

pub(crate) struct Memory {
    logs: Mutex<HashMap<String, Log>>,
    rooms: Arc<Rooms>,
    /// Messages that a room keeps.
    kept: usize,
}

#[derive(Default)]
struct Log {
    next: u64,
    messages: VecDeque<Message>,
    /// Who sent them, and under which number.
    senders: VecDeque<(String, u64)>,
    /// The last number of each of these.
    last: HashMap<String, u64>,
}

impl Memory {
    pub(crate) fn new(rooms: Arc<Rooms>, kept: usize) -> Self {
        Self { logs: Mutex::default(), rooms, kept }
    }
}

impl Store for Memory {
    async fn append(&self, room: &str, client: &str, n: u64, from: &str, text: &str) -> Result<()> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if logs.len() >= MAX_ROOMS && !logs.contains_key(room) {
            let open = self.rooms.open();
            logs.retain(|name, _| open.contains(name));
            if logs.len() >= MAX_ROOMS {
                return Err("too many rooms".into());
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let log = logs
            .entry(room.to_owned())
            .or_insert_with(|| Log { next: now.as_micros() as u64, ..Log::default() });
        if log.last.get(client).is_some_and(|last| *last >= n) {
            return Ok(());
        }
        if log.messages.len() == self.kept {
            log.messages.pop_front();
            if let Some((client, n)) = log.senders.pop_front()
                && log.last.get(&client) == Some(&n)
            {
                log.last.remove(&client);
            }
        }
        let message = Message {
            id: log.next,
            from: from.to_owned(),
            text: text.to_owned(),
            at: now.as_millis() as u64,
        };
        log.next += 1;
        self.rooms.deliver(room, &message); // while the lock is held: in this order
        log.messages.push_back(message);
        log.senders.push_back((client.to_owned(), n));
        log.last.insert(client.to_owned(), n);
        Ok(())
    }

    async fn page(&self, room: &str, after: Option<u64>, before: Option<u64>) -> Result<Vec<Message>> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = logs.get(room) else { return Ok(Vec::new()) };
        let start = after.map_or(0, |after| log.messages.partition_point(|message| message.id <= after));
        let end = before
            .map_or(log.messages.len(), |before| log.messages.partition_point(|message| message.id < before));
        let start = start.max(end.saturating_sub(PAGE));
        Ok(log.messages.iter().take(end).skip(start).cloned().collect())
    }

    async fn people(&self, _: &str, here: Vec<String>) -> Result<Vec<String>> {
        Ok(here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Reply;

    async fn said(store: &Memory, count: u64) {
        for n in 1..=count {
            store.append("room", "client", n, "Ann", &format!("text {n}")).await.unwrap();
        }
    }

    /// The texts of a page, whether there are more of them, and whether some were lost.
    async fn page(store: &Memory, after: Option<u64>, before: Option<u64>) -> (Vec<Message>, bool, bool) {
        let messages = store.page("room", after, before).await.unwrap();
        let Reply::History { more, lost, .. } = Reply::history(after, before, &messages) else {
            unreachable!()
        };
        (messages, more, lost)
    }

    #[tokio::test]
    async fn a_number_that_was_taken_is_not_taken_again() {
        let store = Memory::new(Arc::default(), 100);
        said(&store, 3).await;
        said(&store, 4).await;
        store.append("room", "another client", 1, "Bob", "text").await.unwrap();
        let (messages, more, lost) = page(&store, None, None).await;
        let texts: Vec<_> = messages.iter().map(|message| message.text.as_str()).collect();
        assert_eq!(texts, ["text 1", "text 2", "text 3", "text 4", "text"]);
        assert!(messages.is_sorted_by(|a, b| a.id + 1 == b.id));
        assert!(!more && !lost);
    }

    #[tokio::test]
    async fn pages_lead_back_to_the_message_before_a_gap() {
        let store = Memory::new(Arc::default(), 1000);
        said(&store, 1).await;
        let after = Some(page(&store, None, None).await.0[0].id);
        said(&store, 2 * PAGE as u64 + 1).await;
        let (newest, more, lost) = page(&store, after, None).await;
        assert!(newest.len() == PAGE && more && !lost);
        let (older, more, lost) = page(&store, after, Some(newest[0].id)).await;
        assert!(older.len() == PAGE && !more && !lost);
        assert_eq!(Some(older[0].id - 1), after);
        let (none, more, lost) = page(&store, after, Some(older[0].id)).await;
        assert!(none.is_empty() && !more && !lost);
    }

    #[tokio::test]
    async fn a_page_says_that_messages_are_not_kept_any_longer() {
        let store = Memory::new(Arc::default(), 10);
        said(&store, 5).await;
        let first = page(&store, None, None).await.0[0].id;
        said(&store, 30).await;
        let (messages, more, lost) = page(&store, Some(first), None).await;
        assert!(messages.len() == 10 && !more && lost);
        let (messages, more, lost) = page(&store, Some(first), Some(messages[0].id)).await;
        assert!(messages.is_empty() && !more && lost);
        let (messages, more, lost) = page(&store, Some(0), None).await;
        assert!(messages.len() == 10 && !more && !lost, "0 is the beginning of what is kept");
    }

    #[tokio::test]
    async fn rooms_without_members_are_forgotten_when_there_are_too_many() {
        let rooms = Arc::new(Rooms::default());
        let store = Memory::new(Arc::clone(&rooms), 10);
        let _seat = rooms.join("room 0", "Ann");
        for room in 0..=MAX_ROOMS {
            store.append(&format!("room {room}"), "client", 1, "Ann", "text").await.unwrap();
        }
        assert_eq!(store.page("room 0", None, None).await.unwrap().len(), 1);
        assert_eq!(store.page("room 1", None, None).await.unwrap().len(), 0);
        assert_eq!(store.logs.lock().unwrap().len(), 2);
    }
}
