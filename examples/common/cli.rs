//! The command line of a program.
#![allow(dead_code, reason = "each example uses a part of this")]

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::process;
use std::str::FromStr;
use std::time::Duration;

/// Runs a program with its options; without any, with the help that was asked for. Wrong options end the process with
/// status 2, an error of the program with 1.
pub(crate) fn run<O>(
    program: &str,
    help: &str,
    options: Result<Option<O>, lexopt::Error>,
    run: impl FnOnce(O) -> Result<(), Box<dyn Error>>,
) {
    let (error, status) = match options {
        Ok(Some(options)) => match run(options) {
            Ok(()) => return,
            Err(error) => (chain(&*error), 1),
        },
        Ok(None) => {
            // The reader may have closed the pipe.
            let _ = io::stdout().write_all(help.as_bytes());
            return;
        }
        Err(error) => (format!("{error}\nTry --help."), 2),
    };
    let _ = writeln!(io::stderr(), "{program}: {error}");
    process::exit(status)
}

/// An error with all that it comes from.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

/// The number that follows an option.
pub(crate) fn number<T: FromStr + PartialOrd + Display>(
    parser: &mut lexopt::Parser,
    option: &str,
    range: RangeInclusive<T>,
) -> Result<T, lexopt::Error> {
    let text = text(parser)?;
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => {
            Err(format!("{option} takes a number from {} to {}, not '{text}'", range.start(), range.end())
                .into())
        }
    }
}

/// The seconds that follow an option, with a fraction where wanted; `None` for 0.
pub(crate) fn seconds(parser: &mut lexopt::Parser, option: &str) -> Result<Option<Duration>, lexopt::Error> {
    let text = text(parser)?;
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match seconds {
        Some(seconds) => Ok((!seconds.is_zero()).then_some(seconds)),
        None => Err(format!("{option} takes a number of seconds, not '{text}'").into()),
    }
}

/// The text that follows an option.
pub(crate) fn text(parser: &mut lexopt::Parser) -> Result<String, lexopt::Error> {
    use lexopt::ValueExt;
    parser.value()?.string()
}
