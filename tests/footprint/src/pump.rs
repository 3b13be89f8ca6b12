//! A connection without a handler: what a caller of `poll` has to write.

use footprint::{config, memory, micros, read, tell, word, write};
use sansocket::{CloseCode, Connection, Event, Instant, ReceiveBuffer, SendError, Step, TransmitBuffer};
use sansocket::proto::Role;

/// Echoes in every way that there is of sending, for ever.
pub(crate) fn run<R: Role>(role: R) -> Result<(), SendError> {
    let Ok(mut rx) = ReceiveBuffer::new(memory!(1024)) else { return Ok(()) };
    let Ok(mut tx) = TransmitBuffer::new(memory!(1024)) else { return Ok(()) };
    let mut connection = Connection::new(role, config(), now());
    let mut last = "";
    loop {
        match connection.poll(now(), &mut rx, &mut tx) {
            Step::Event(Event::Data(data)) => {
                let payload = data.payload;
                let mut out = connection.outbox(now(), &mut tx);
                match word() {
                    0 => out.send(payload.as_bytes())?,
                    1 => out.fragment(data.kind, &payload, data.fin)?,
                    _ => {
                        if out.frame_remaining() == 0 {
                            out.begin_frame(data.kind, payload.len() as u64 + data.remaining, data.fin)?;
                        }
                        tell(out.write(&payload)? as u32);
                    }
                }
            }
            Step::Event(Event::Ping(payload)) => {
                connection.outbox(now(), &mut tx).ping(&payload)?;
            }
            Step::Event(Event::Pong(payload)) => tell(payload.len() as u32),
            Step::Event(Event::Close(code, _)) => connection.outbox(now(), &mut tx).close(code, "bye")?,
            Step::Event(_) => {}
            Step::Wait { deadline } => {
                tell(deadline.map_or(0, |moment| moment.as_micros() as u32));
                tx.consume(write(tx.pending()));
                match read(rx.spare()) {
                    0 => rx.end(),
                    n => rx.fill(n),
                }
                if word() == 2 {
                    connection.outbox(now(), &mut tx).close(Some(CloseCode::NORMAL), "")?;
                }
                if word() == 3 {
                    connection.outbox(now(), &mut tx).send(last)?;
                }
            }
            Step::Shutdown => last = "shut",
            Step::Done(cause) => {
                tell(cause.received.map_or(0, CloseCode::get).into());
                write(connection.close_reason().as_bytes());
                return Ok(());
            }
        }
    }
}

fn now() -> Instant {
    Instant::from_micros(micros())
}
