//! A sensor's firmware, without a heap: sends the temperature in an interval that the client may change.

use core::time::Duration;

use embedded_io_async::Read;
use sansocket::embedded::{CloseWrite, EmbassyClock, SplitTransport, serve};
use sansocket::message::{ArrayStorage, WholeMessages};
use sansocket::session::{Memory, Outcome};
use sansocket::{Config, HandlerError, Instant, MessageHandler, MessageRef, Outbox};

const SHORTEST: Duration = Duration::from_millis(10);
static CONFIG: Config = Config::new().max_message_len(32);

struct Sensor {
    celsius: fn() -> i32,
    interval: Duration,
    next: Option<Instant>,
}

impl MessageHandler for Sensor {
    fn opened(&mut self, _: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.next = Some(out.now());
        Ok(())
    }

    fn message(&mut self, message: MessageRef<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let MessageRef::Text(text) = message else { return Ok(()) };
        let Some(millis) = text.strip_prefix("interval ").and_then(|millis| millis.parse().ok()) else {
            return Ok(out.send("unknown command")?);
        };
        self.interval = Duration::from_millis(millis).max(SHORTEST);
        self.next = Some(out.now().saturating_add(self.interval));
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.next
    }

    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        out.send_fmt(format_args!("{{\"celsius\":{}}}", (self.celsius)()))?;
        self.next = Some(out.now().saturating_add(self.interval));
        Ok(())
    }
}

pub(crate) async fn run<R: Read, W: CloseWrite<Error = R::Error>>(
    (reader, writer): (R, W),
    celsius: fn() -> i32,
) -> Result<Outcome, R::Error> {
    let mut memory = Memory { head: [0; 1024], rx: [0; 256], tx: [0; 256] };
    let sensor = Sensor { celsius, interval: Duration::from_secs(1), next: None };
    let mut handler = WholeMessages::new(sensor, ArrayStorage::<32>::new());
    let mut transport = SplitTransport::new(reader, writer, EmbassyClock);
    serve(&mut transport, &mut handler, &CONFIG, &mut memory.buffers()).await
}
