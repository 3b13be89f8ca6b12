//! A whole server: opening handshake, connection, handler. With feature `deflate-receive` it receives compressed messages.

#![no_std]
#![no_main]

#[cfg(feature = "deflate-receive")]
use footprint::{OUTPUT, WINDOW};
use footprint::{config, memory, micros, read, tell, write};
#[cfg(feature = "deflate-receive")]
use sansocket::deflate::{RingMemory, RingNegotiation};
use sansocket::handshake::{Decision, Request, Response};
use sansocket::session::{Outcome, ServerSession};
use sansocket::{Event, Handler, HandlerError, Instant, Outbox, ReceiveBuffer, Step, TransmitBuffer};

/// Echoes on `/ws`.
struct Echo;

impl Handler for Echo {
    fn request<'s>(&'s mut self, request: &Request<'_>) -> Decision<'s> {
        match request.path() {
            "/ws" => Decision::accept(),
            _ => Decision::Respond(Response::text(404, "not here\n")),
        }
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Event::Data(data) = event else { return Ok(()) };
        let mut rest = data.payload.as_bytes();
        out.send_fragmented(data.kind, &mut rest, data.end).map_err(|error| match error.into() {
            HandlerError::Blocked { .. } => {
                HandlerError::Blocked { consumed: data.payload.len().saturating_sub(rest.len()) }
            }
            halt => halt,
        })
    }
}

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        tell(serve());
    }
}

/// One connection from its accept to its end.
fn serve() -> u32 {
    let Ok(mut head) = ReceiveBuffer::new(memory!(1024)) else { return 1 };
    let Ok(rx) = ReceiveBuffer::new(memory!(1024)) else { return 1 };
    let Ok(mut tx) = TransmitBuffer::new(memory!(1024)) else { return 1 };
    #[cfg(not(feature = "deflate-receive"))]
    let (mut rx, mut session) = (rx, ServerSession::new(config(), now()));
    #[cfg(feature = "deflate-receive")]
    let (mut rx, mut session) = {
        static mut RING: Option<RingMemory<WINDOW>> = None;
        // SAFETY: one thread, and one connection at a time.
        let ring = unsafe { &mut *(&raw mut RING) }.get_or_insert_with(RingMemory::new);
        let session = ServerSession::negotiating(config(), now(), RingNegotiation::new(ring));
        (rx.with_output(memory!(OUTPUT)), session)
    };
    loop {
        match session.poll(now(), &mut Echo, &mut head, &mut rx, &mut tx) {
            Step::Wait { deadline } => {
                tell(deadline.map_or(0, |moment| moment.as_micros() as u32));
                tx.consume(write(tx.pending()));
                match read(session.spare(&mut head, &mut rx)) {
                    0 => session.end(&mut head, &mut rx),
                    n => session.fill(&mut head, &mut rx, n),
                }
            }
            Step::Shutdown => tell(2),
            Step::Done(Outcome::Refused(refusal)) => return refusal.status.into(),
            Step::Done(outcome) => return outcome.is_disconnect().into(),
        }
    }
}

fn now() -> Instant {
    Instant::from_micros(micros())
}
