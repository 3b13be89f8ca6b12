//! The dashboard's handler, without a transport.
#![cfg(feature = "alloc")]

#[path = "../examples/dashboard/handler.rs"]
mod handler;

mod endpoint;
mod wire;

use std::cell::Cell;
use std::rc::Rc;

use endpoint::{TEXT, frame};
use handler::{CHANNELS, Channel, Command, Dashboard, Device, Sample, State};
use sansocket::session::HandlerDriver;
use sansocket::{Config, Connection, Ending, Instant, ReceiveBuffer, Server, Step, TransmitBuffer};

/// Measures the time. What is changed is seen by a handler that is woken.
#[derive(Clone)]
struct Board(Rc<Cell<State>>);

impl Device for Board {
    fn name(&self) -> &str {
        "board"
    }

    fn channels(&self) -> &[Channel] {
        &[Channel { name: "Time", unit: "ms", scale: 1 }, Channel { name: "Nothing", unit: "", scale: 10 }]
    }

    fn measure(&mut self, now: Instant) -> Sample {
        let mut values = [0; CHANNELS];
        values[0] = (now.as_micros() / 1000) as i32;
        Sample { uptime: Instant::START.saturating_duration_until(now), values }
    }

    fn state(&self) -> State {
        self.0.get()
    }

    fn apply(&mut self, command: Command) {
        let state = self.0.get();
        self.0.set(match command {
            Command::Led(led) => State { led, ..state },
            Command::Pwm(pwm) => State { pwm, ..state },
            Command::Reboot => State { boot: state.boot + 1, ..state },
        });
    }
}

fn board() -> Board {
    Board(Rc::new(Cell::new(State { led: false, pwm: 50, boot: 1 })))
}

/// A connection to it.
struct Page {
    dashboard: Dashboard<Board>,
    driver: HandlerDriver<Server>,
    rx: ReceiveBuffer<'static>,
    tx: TransmitBuffer<'static>,
    ended: Option<Ending>,
}

impl Page {
    fn new(board: &Board) -> Self {
        static CONFIG: Config = Config::DEFAULT;
        Self {
            dashboard: Dashboard::new(board.clone()),
            driver: HandlerDriver::new(Connection::new(Server, &CONFIG, Instant::START), None),
            rx: ReceiveBuffer::with_capacity(512).unwrap(),
            tx: TransmitBuffer::with_capacity(512).unwrap(),
            ended: None,
        }
    }

    /// One that has been told all, and has its first sample; it wants the next when the tests are over.
    fn slow(board: &Board) -> Self {
        let mut page = Self::new(board);
        page.run(0, 0);
        page.take();
        page.run(0, 0);
        page.take();
        page.say("interval 5000");
        page.run(0, 0);
        assert_eq!(page.take(), [r#"{"interval":5000}"#]);
        page.run(0, 0);
        page
    }

    /// From one millisecond to another, without taking anything of what is to be written.
    fn run(&mut self, from: u64, to: u64) {
        for ms in from..=to {
            match self.driver.poll(Instant::from_millis(ms), &mut self.dashboard, &mut self.rx, &mut self.tx)
            {
                Step::Done(cause) => self.ended = Some(cause),
                Step::Shutdown => self.rx.end(),
                Step::Wait { .. } => {}
            }
        }
    }

    /// The messages that wait; a Close is its code.
    fn take(&mut self) -> Vec<String> {
        let mut bytes = self.tx.pending();
        let mut messages = Vec::new();
        while let [first, len, rest @ ..] = bytes {
            let (len, rest) = match len {
                126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
                len => (usize::from(*len), rest),
            };
            let (payload, rest) = rest.split_at(len);
            messages.push(match first {
                0x81 => String::from_utf8(payload.to_vec()).unwrap(),
                0x88 => u16::from_be_bytes([payload[0], payload[1]]).to_string(),
                other => panic!("{other:x}"),
            });
            bytes = rest;
        }
        self.tx.consume(self.tx.pending().len());
        messages
    }

    fn say(&mut self, command: &str) {
        self.rx.feed(&frame(TEXT, Some([1, 2, 3, 4]), command.as_bytes()));
    }
}

const HELLO: &str = r#"{"device":"board","channels":[["Time","ms",1],["Nothing","",10]]}"#;

#[test]
fn the_board_names_itself_and_measures_in_step() {
    let mut page = Page::new(&board());
    page.run(5, 5);
    assert_eq!(page.take(), [HELLO, r#"{"led":0,"pwm":50,"boot":1}"#, r#"{"interval":100}"#]);
    page.run(6, 6);
    assert_eq!(page.take(), [r#"{"n":1,"t":6,"v":[6, 0]}"#]);
    page.run(7, 104);
    assert_eq!(page.take(), [""; 0]);
    page.run(105, 105);
    assert_eq!(page.take(), [r#"{"n":2,"t":105,"v":[105, 0]}"#]);
    // Polled late, it goes on in step.
    page.run(330, 330);
    assert_eq!(page.take(), [r#"{"n":4,"t":330,"v":[330, 0]}"#]);
    page.run(405, 405);
    assert_eq!(page.take(), [r#"{"n":5,"t":405,"v":[405, 0]}"#]);
}

/// As long as anything waits nothing is added; then comes the newest, measured at that moment.
#[test]
fn a_slow_client_gets_the_newest_and_no_queue() {
    let mut page = Page::new(&board());
    page.run(0, 0);
    page.take();
    page.run(1, 5000);
    assert_eq!(page.take(), [r#"{"n":1,"t":1,"v":[1, 0]}"#]);
    page.run(5050, 5050);
    assert_eq!(page.take(), [r#"{"n":51,"t":5050,"v":[5050, 0]}"#]);
    page.run(5051, 5099);
    assert_eq!(page.take(), [""; 0]);
}

#[test]
fn valid_commands_are_obeyed_and_others_ignored() {
    let board = board();
    let mut page = Page::slow(&board);
    for nonsense in [
        "",
        " ",
        "led",
        "led 2",
        "led 1 ",
        "led  1",
        "pwm 101",
        "pwm -1",
        "pwm 1000000000",
        "interval 19",
        "interval 5001",
        "reboot 1",
        "LED 1",
    ] {
        page.say(nonsense);
        page.run(2, 2);
        assert_eq!(page.take(), [""; 0], "{nonsense}");
    }
    for (command, state) in [
        ("led 1", r#"{"led":1,"pwm":50,"boot":1}"#),
        ("pwm 0", r#"{"led":1,"pwm":0,"boot":1}"#),
        ("pwm 100", r#"{"led":1,"pwm":100,"boot":1}"#),
        ("led 0", r#"{"led":0,"pwm":100,"boot":1}"#),
    ] {
        page.say(command);
        page.run(3, 3);
        assert_eq!(page.take(), [state]);
    }
}

#[test]
fn a_change_by_one_client_is_sent_to_the_others() {
    let board = board();
    let (mut one, mut other) = (Page::slow(&board), Page::slow(&board));
    one.say("led 1");
    one.run(2, 2);
    assert_eq!(one.take(), [r#"{"led":1,"pwm":50,"boot":1}"#]);
    other.run(2, 99);
    assert_eq!(other.take(), [""; 0]);
    other.driver.wake();
    other.run(100, 100);
    assert_eq!(other.take(), [r#"{"led":1,"pwm":50,"boot":1}"#]);
    // A restart ends both.
    one.say("reboot");
    one.run(101, 101);
    other.driver.wake();
    other.run(101, 200);
    assert_eq!((one.take(), other.take()), (vec!["1012".into()], vec!["1012".into()]));
    assert!(one.ended.is_none());
}
