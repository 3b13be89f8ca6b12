//! The store of several processes: a Redis Stream for each room.
//!
//! Every process delivers only what it reads from the stream, its own messages too, so that a room has one order for everybody.
//!
//! What Redis promises with `appendonly yes` and `appendfsync always`: a message that was taken is on its disk. What nobody promises: a
//! replica may lack it when it takes over; a client that repeats a message more than [`REMEMBERED`] later may see it twice; and older
//! messages than `kept` are gone, and the page gets a note of the gap.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::streams::{StreamId, StreamReadOptions, StreamReadReply};
use redis::{AsyncConnectionConfig, AsyncTypedCommands, Client, RedisResult, Script};
use tokio::time::sleep;

use crate::protocol::{Message, PAGE};
use crate::rooms::{REFRESH, Result, Rooms, Store};

/// How long a client's last number is remembered after its last message.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// How long a room is kept after its last message.
const ROOM: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the people of a process are believed that tells nothing more.
const BELIEVED: Duration = REFRESH.saturating_mul(4);
/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest that Redis holds back an answer without news.
const BLOCK: Duration = Duration::from_secs(2);
/// Between two attempts to read.
const RETRY: Duration = Duration::from_millis(250);
/// Messages of one room in one answer.
const BATCH: usize = 100;

/// Keys: the room, the client's last number. Arguments: number, name, text, messages kept, seconds for the number, for the room.
/// A script runs alone, and its effects are written as one.
const APPEND: &str = "
if tonumber(redis.call('GET', KEYS[2]) or 0) >= tonumber(ARGV[1]) then return 0 end
local time = redis.call('TIME')
local micros = time[1] .. string.format('%06d', time[2])
local id = redis.call('EXISTS', KEYS[1]) == 1 and '0-*' or '0-' .. micros
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], id, 'from', ARGV[2], 'text', ARGV[3], 'at', string.sub(micros, 1, -4))
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[6])
return 1";

/// Key: a hash of what each process said, and until when that is believed. Arguments: the process, its names as JSON, milliseconds.
const PEOPLE: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == '[]' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %s', now + ARGV[3], ARGV[2]))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
local all, said = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #said, 2 do
  local til, names = string.match(said[i + 1], '^(%d+) (.*)$')
  if tonumber(til) > now then all[#all + 1] = names else redis.call('HDEL', KEYS[1], said[i]) end
end
return all";

pub(crate) struct Redis {
    client: Client,
    /// For commands that are answered at once; it connects again by itself.
    commands: ConnectionManager,
    append: Script,
    people: Script,
    /// This process among the others: also a stream that wakes its reader.
    node: String,
    rooms: Arc<Rooms>,
    kept: usize,
}

impl Redis {
    pub(crate) async fn connect(url: &str, rooms: Arc<Rooms>, kept: usize) -> RedisResult<Self> {
        let client = Client::open(url)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(3)
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut commands = client.get_connection_manager_with_config(config).await?;
        let number = commands.incr("chat:nodes", 1).await?;
        let (append, people) = (Script::new(APPEND), Script::new(PEOPLE));
        Ok(Self { client, commands, append, people, node: format!("chat:node:{number}"), rooms, kept })
    }

    /// Delivers what comes from the rooms that are open here, without end. While Redis is away it tries again, and then continues after
    /// the message that it read last.
    pub(crate) async fn follow(&self) {
        let mut read = HashMap::new();
        let mut awake = "0-0".to_owned();
        loop {
            let Err(error) = self.read(&mut read, &mut awake).await;
            eprintln!("redis: {error}");
            sleep(RETRY).await;
        }
    }

    /// `read` has the last id of each room.
    async fn read(&self, read: &mut HashMap<String, u64>, awake: &mut String) -> RedisResult<Infallible> {
        // Commands that block hold up those behind them: they have a connection of their own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(BLOCK + PATIENCE));
        let mut redis = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let options = StreamReadOptions::default().count(BATCH).block(BLOCK.as_millis() as usize);
        loop {
            let open = self.rooms.open();
            read.retain(|room, _| open.contains(room));
            for room in open {
                if let Entry::Vacant(vacant) = read.entry(room) {
                    let start = before_newest(&mut redis, vacant.key()).await?;
                    vacant.insert(start);
                }
            }
            let rooms: Vec<_> = read.keys().cloned().collect();
            let keys: Vec<_> = rooms.iter().map(|room| stream(room)).chain([self.node.clone()]).collect();
            let ids: Vec<_> =
                rooms.iter().map(|room| format!("0-{}", read[room])).chain([awake.clone()]).collect();
            for stream in self.next(&mut redis, &keys, &ids, &options).await?.keys {
                match keys.iter().position(|key| *key == stream.key).and_then(|at| rooms.get(at)) {
                    Some(room) => {
                        for entry in &stream.ids {
                            let message = message(entry)?;
                            self.rooms.deliver(room, &message);
                            read.insert(room.clone(), message.id);
                        }
                    }
                    None => *awake = stream.ids.last().map_or("0-0".to_owned(), |entry| entry.id.clone()),
                }
            }
        }
    }

    /// Waits for entries. A room that is opened meanwhile ends the wait, by an entry in the stream of this process.
    async fn next(
        &self,
        redis: &mut MultiplexedConnection,
        keys: &[String],
        ids: &[String],
        options: &StreamReadOptions,
    ) -> RedisResult<StreamReadReply> {
        let mut reply = pin!(redis.xread_options(keys, ids, options));
        loop {
            tokio::select! {
                reply = &mut reply => return Ok(reply?.unwrap_or_default()),
                () = self.rooms.opened.notified() => {
                    let mut wake = redis::pipe();
                    wake.cmd("XADD").arg(&self.node).arg("MAXLEN").arg(1).arg("*").arg("woken").arg(1).ignore();
                    wake.expire(&self.node, ROOM.as_secs() as i64).ignore();
                    wake.exec_async(&mut self.commands.clone()).await?;
                }
            }
        }
    }
}

impl Store for Redis {
    async fn append(&self, room: &str, client: &str, n: u64, from: &str, text: &str) -> Result<()> {
        let mut append = self.append.key(stream(room));
        append.key(format!("{}:sent:{client}", stream(room))).arg(n).arg(from).arg(text).arg(self.kept);
        append.arg(REMEMBERED.as_secs()).arg(ROOM.as_secs());
        Ok(append.invoke_async(&mut self.commands.clone()).await?)
    }

    async fn page(&self, room: &str, after: Option<u64>, before: Option<u64>) -> Result<Vec<Message>> {
        let end = before.map_or("+".to_owned(), |id| format!("(0-{id}"));
        let start = after.map_or("-".to_owned(), |id| format!("(0-{id}"));
        let page = self.commands.clone().xrevrange_count(stream(room), end, start, PAGE).await?;
        Ok(page.ids.iter().rev().map(message).collect::<RedisResult<_>>()?)
    }

    async fn people(&self, room: &str, here: Vec<String>) -> Result<Vec<String>> {
        let mut people = self.people.key(format!("{}:people", stream(room)));
        people.arg(&self.node).arg(serde_json::to_string(&here)?).arg(BELIEVED.as_millis() as u64);
        let said: Vec<String> = people.invoke_async(&mut self.commands.clone()).await?;
        let mut all = Vec::new();
        for names in said {
            all.extend(serde_json::from_str::<Vec<String>>(&names)?);
        }
        Ok(all)
    }
}

fn stream(room: &str) -> String {
    format!("chat:room:{room}")
}

/// Where the reader starts in a room: the newest message is delivered, so that a member sees whether its history ends there.
async fn before_newest(redis: &mut MultiplexedConnection, room: &str) -> RedisResult<u64> {
    let newest = redis.xrevrange_count(stream(room), "+", "-", 1).await?;
    newest.ids.first().map_or(Ok(0), |entry| Ok(message(entry)?.id - 1))
}

fn message(entry: &StreamId) -> RedisResult<Message> {
    let field = |name| entry.get::<String>(name);
    let id = entry.id.strip_prefix("0-").and_then(|id| id.parse().ok());
    let message = id.zip(field("from")).zip(field("text")).zip(field("at").and_then(|at| at.parse().ok()));
    let (((id, from), text), at) =
        message.ok_or((redis::ErrorKind::UnexpectedReturnType, "an entry that no chat has written"))?;
    Ok(Message { id, from, text, at })
}
