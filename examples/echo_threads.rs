//! The echo server with a thread for each connection, over blocking sockets: nothing but `std`, so that it serves with
//! ESP-IDF's standard library (esp-idf-svc) as well, once the network is up.
//!
//!     cargo run --release --example echo_threads --features std [ADDR:PORT [BUFFER]]

#[path = "echo/handler.rs"]
mod handler;

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt, io, thread};

use handler::Echo;
use sansocket::adapter::Buffers;
use sansocket::blocking::serve;
use sansocket::{Busy, Config, MIN_BUFFER};

/// Each has a thread, its stack and three buffers.
const CONNECTIONS: usize = if cfg!(target_os = "espidf") { 4 } else { 64 };
const ADDRESS: &str = if cfg!(target_os = "espidf") { "0.0.0.0:80" } else { "127.0.0.1:8080" };

fn main() -> io::Result<()> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or_else(|| ADDRESS.into());
    let buffer = args.next().map_or(Ok(4096), |n| n.parse()).map_err(io::Error::other)?;
    let listener = TcpListener::bind(address)?;
    println!("listening: open http://{}/", listener.local_addr()?);
    let open = Arc::new(());
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of descriptors, or gone already: others may come.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        // So many may wait to hear that there is no room.
        if Arc::strong_count(&open) > CONNECTIONS + 8 {
            continue;
        }
        let place = Arc::clone(&open);
        let spawned = thread::Builder::new().stack_size(32 * 1024).spawn(move || {
            let full = Arc::strong_count(&place) > CONNECTIONS + 1;
            if let Err(error) = connection(stream, buffer, full) {
                eprintln!("connection: {error}");
            }
        });
        if let Err(error) = spawned {
            eprintln!("thread: {error}");
        }
    }
    Ok(())
}

fn connection(stream: TcpStream, buffer: usize, full: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let buffer = buffer.max(MIN_BUFFER);
    let mut buffers = Buffers::with_capacity(4096, buffer, buffer).map_err(io::Error::other)?;
    let mut echo = Echo::new(|_: fmt::Arguments<'_>| {});
    if full {
        serve(stream, &mut Busy, &Config::DEFAULT, &mut buffers)?;
    } else {
        serve(stream, &mut echo, &Config::DEFAULT, &mut buffers)?;
    }
    Ok(())
}
