//! Whole messages for a handler.

#![forbid(unsafe_code)]

use super::message_ref::MessageRef;
use super::{Assembler, MessageStorage};
use crate::close::CloseCode;
use crate::ending::Ending;
use crate::event::Event;
use crate::handler::{Handler, HandlerError, MessageHandler, forward};
use crate::handshake::{Decision, Refusal, Request};
use crate::outbox::Outbox;
use crate::time::Instant;

/// A [`MessageHandler`] with memory for one message, as a [`Handler`].
///
/// A message that lies whole in the receive buffer is lent from there, without a copy. Every other message is put together in
/// `S` first. One that does not fit there closes the connection with 1009, and no later message is delivered. Set
/// [`Limits::message`](crate::config::Limits::message) to the size of `S`, so that the limit does not depend on how the peer
/// fragments a message; a `Vec` grows up to it.
///
/// A message is all or nothing: after [`HandlerError::Blocked`] the same message is delivered again.
///
/// ```
/// # #[cfg(feature = "std")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::net::TcpListener;
///
/// use sansocket::message::WholeMessages;
/// use sansocket::session::{BufferSizes, Buffers};
/// use sansocket::{Config, HandlerError, MessageHandler, MessageRef, Outbox, blocking};
///
/// struct Echo;
///
/// impl MessageHandler for Echo {
///     fn message(&mut self, message: MessageRef<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
///         Ok(out.send(message)?)
///     }
/// }
///
/// static CONFIG: Config = Config::new().max_message_len(4096);
///
/// # let listener = TcpListener::bind("127.0.0.1:0")?;
/// # let url = format!("ws://{}/", listener.local_addr()?);
/// # let client = std::thread::spawn(move || {
/// #     let mut client = blocking::connect(&url)?;
/// #     client.writer().fragment(sansocket::Kind::Text, b"in two ", false)?;
/// #     client.writer().fragment(sansocket::Kind::Text, b"fragments", true)?;
/// #     assert_eq!(client.recv()?, Some("in two fragments".into()));
/// #     client.close(None, "");
/// #     Ok::<_, sansocket::Error>(())
/// # });
/// let (stream, _) = listener.accept()?;
/// let mut buffers = Buffers::with_sizes(BufferSizes::default());
/// blocking::serve(stream, &mut WholeMessages::new(Echo, Vec::new()), &CONFIG, &mut buffers)?;
/// # client.join().unwrap()?;
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct WholeMessages<H, S> {
    handler: H,
    message: Assembler<S>,
    /// A message was too big, so that a later one would follow a gap.
    stopped: bool,
}

impl<H: MessageHandler, S: MessageStorage> WholeMessages<H, S> {
    /// Makes a handler of a message handler and memory for one message. It serves one connection after another.
    #[must_use]
    pub const fn new(handler: H, storage: S) -> Self {
        Self { handler, message: Assembler::new(storage), stopped: false }
    }

    /// Returns the message handler.
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// Delivers a message. If the handler is blocked, the first `consumed` bytes of the event are not needed again.
    fn deliver(
        handler: &mut H,
        message: Option<MessageRef<'_>>,
        consumed: usize,
        out: &mut Outbox<'_>,
    ) -> Result<(), HandlerError> {
        // A text of which every chunk was checked is UTF-8.
        let Some(message) = message else { return Ok(()) };
        match handler.message(message, out) {
            Err(HandlerError::Blocked { .. }) => Err(HandlerError::Blocked { consumed }),
            done => done,
        }
    }
}

impl<H: MessageHandler, S: MessageStorage> Handler for WholeMessages<H, S> {
    forward!(self => self.handler);

    fn opened(&mut self, protocol: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.stopped = false;
        self.handler.opened(protocol, out)
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Event::Data(chunk) = event else { return Ok(()) };
        if self.stopped {
            return Ok(());
        }
        if chunk.start && chunk.end {
            return Self::deliver(&mut self.handler, MessageRef::new(chunk.kind, chunk.payload), 0, out);
        }
        match self.message.push(&chunk) {
            Ok(None) => Ok(()),
            // Shown again after it was blocked, the chunk is empty, and the message still complete.
            Ok(Some(_)) => {
                Self::deliver(&mut self.handler, self.message.message(), chunk.payload.len(), out)?;
                self.message.clear();
                Ok(())
            }
            Err(_) => {
                self.stopped = true;
                Err(HandlerError::Close(CloseCode::MESSAGE_TOO_BIG, "the message is too big"))
            }
        }
    }
}
