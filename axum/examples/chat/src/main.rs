//! A chat for browsers on axum: rooms, who is there, history, and pages that connect again without loss.
//!
//!     cargo run --release                                  # one process
//!     cargo run --release -- --redis redis://127.0.0.1/    # one of several
//!
//! Call cargo in the directory of this package; `cluster.sh` starts Redis and two processes. The server continues after a failed accept,
//! bounds its connections, sets TCP_NODELAY, and closes every connection with 1001 when it gets a signal.

#[path = "../../../../examples/common/cli.rs"]
mod cli;
mod member;
mod memory;
mod protocol;
mod redis;
mod rooms;
mod server;

use std::error::Error;
use std::sync::Arc;

use tokio::net::TcpListener;

use memory::Memory;
use redis::Redis;
use rooms::Rooms;

const HELP: &str = "\
A chat for browsers, with axum and sansocket.

Usage: axum_chat [OPTIONS]

  --listen HOST:PORT       where to listen [127.0.0.1:8080]
  --redis URL              keep the messages in Redis, where other processes read them too [in memory]
  --kept COUNT             messages that a room keeps [1000]
  --max-connections COUNT  connections at once; further ones wait to be accepted [10000]
  --help                   print this help

SIGINT and SIGTERM close every connection with 1001 and end the server.
";

struct Options {
    listen: String,
    redis: Option<String>,
    kept: usize,
    connections: u32,
}

fn main() {
    cli::run("axum_chat", HELP, options(), run);
}

#[tokio::main]
async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let rooms = Arc::new(Rooms::default());
    let listener =
        TcpListener::bind(&options.listen).await.map_err(|e| format!("{}: {e}", options.listen))?;
    match &options.redis {
        None => {
            let store = Memory::new(Arc::clone(&rooms), options.kept);
            server::serve(listener, options.connections, rooms, Arc::new(store)).await?;
        }
        Some(url) => {
            let store = Arc::new(Redis::connect(url, Arc::clone(&rooms), options.kept).await?);
            tokio::select! {
                served = server::serve(listener, options.connections, rooms, Arc::clone(&store)) => served?,
                () = store.follow() => {}
            }
        }
    }
    Ok(())
}

fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;

    let mut options =
        Options { listen: "127.0.0.1:8080".into(), redis: None, kept: 1000, connections: 10_000 };
    let mut parser = lexopt::Parser::from_env();
    let p = &mut parser;
    while let Some(arg) = p.next()? {
        match arg {
            Long("listen") => options.listen = cli::text(p)?,
            Long("redis") => options.redis = Some(cli::text(p)?),
            Long("kept") => options.kept = cli::number(p, "--kept", 1..=1_000_000)?,
            Long("max-connections") => {
                options.connections = cli::number(p, "--max-connections", 1..=1_000_000)?;
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}
