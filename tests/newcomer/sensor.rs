//! A sensor's firmware, without a heap: sends the temperature in an interval that the client may change.

use core::fmt::Write as _;
use core::time::Duration;

use embedded_io_async::Read;
use heapless::String;
use sansocket::embedded::{CloseWrite, EmbassyClock, SplitTransport, serve};
use sansocket::message::{Assembler, SliceStorage};
use sansocket::session::{Buffers, Outcome};
use sansocket::{CloseCode, Config, Event, Handler, HandlerError, Instant, Outbox};

const SHORTEST: Duration = Duration::from_millis(10);

struct Sensor<'m> {
    celsius: fn() -> i32,
    interval: Duration,
    next: Option<Instant>,
    command: Assembler<SliceStorage<'m>>,
}

impl Handler for Sensor<'_> {
    fn opened(&mut self, _: Option<&str>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        self.next = Some(out.now());
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let Event::Data(data) = event else { return Ok(()) };
        let too_long = HandlerError::Close(CloseCode::MESSAGE_TOO_BIG, "a command has at most 32 bytes");
        if self.command.push(&data).map_err(|_| too_long)?.is_none() {
            return Ok(());
        }
        let interval = self.command.to_str().and_then(|text| text.strip_prefix("interval "));
        match interval.and_then(|millis| millis.parse().ok()) {
            Some(millis) => {
                self.interval = Duration::from_millis(millis).max(SHORTEST);
                self.next = Some(out.now().saturating_add(self.interval));
                Ok(())
            }
            None => Ok(out.send("unknown command")?),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.next
    }

    fn timer(&mut self, out: &mut Outbox<'_>) -> Result<(), HandlerError> {
        let mut line = String::<32>::new();
        let _ = write!(line, "{{\"celsius\":{}}}", (self.celsius)()); // 24 bytes at most
        out.send(line.as_str())?;
        self.next = Some(out.now().saturating_add(self.interval));
        Ok(())
    }
}

pub(crate) async fn run<R: Read, W: CloseWrite<Error = R::Error>>(
    (reader, writer): (R, W),
    celsius: fn() -> i32,
) -> Result<Outcome, R::Error> {
    let (mut head, mut rx, mut tx, mut command) = ([0; 1024], [0; 256], [0; 256], [0; 32]);
    let mut buffers = Buffers::new(&mut head, &mut rx, &mut tx).expect("each is larger than MIN_BUFFER");
    let command = Assembler::new(SliceStorage::new(&mut command));
    let mut sensor = Sensor { celsius, interval: Duration::from_secs(1), next: None, command };
    serve(&mut SplitTransport::new(reader, writer, EmbassyClock), &mut sensor, &Config::DEFAULT, &mut buffers)
        .await
}
