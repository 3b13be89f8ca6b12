//! A connection without a handler: what a caller of `poll` has to write.

use footprint::{config, micros, read, tell, word, write};
use sansocket::proto::Role;
use sansocket::{CloseCode, Connection, Event, Instant, ReceiveBuffer, SendError, Step, TransmitBuffer};

/// Echoes in every way that there is of sending, for ever.
pub(crate) fn run<R: Role>(
    role: R,
    rx: &mut ReceiveBuffer<'_>,
    tx: &mut TransmitBuffer<'_>,
) -> Result<(), SendError> {
    let mut connection = Connection::new(role, config(), now());
    let mut last = "";
    loop {
        match connection.poll(now(), rx, tx) {
            Step::Event(Event::Data(data)) => {
                let payload = data.payload;
                let mut out = connection.outbox(now(), tx);
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
                connection.outbox(now(), tx).ping(&payload)?;
            }
            Step::Event(Event::Pong(payload)) => tell(payload.len() as u32),
            Step::Event(Event::Close(code, _)) => connection.outbox(now(), tx).close(code, "bye")?,
            Step::Event(_) => {}
            Step::Wait { deadline } => {
                tell(deadline.map_or(0, |moment| moment.as_micros() as u32));
                tx.consume(write(tx.pending()));
                match read(rx.spare()) {
                    0 => rx.end(),
                    n => rx.fill(n),
                }
                if word() == 2 {
                    connection.outbox(now(), tx).close(Some(CloseCode::NORMAL), "")?;
                }
                if word() == 3 {
                    connection.outbox(now(), tx).send(last)?;
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
