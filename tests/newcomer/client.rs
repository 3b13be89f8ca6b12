//! A client: asks one thing, and returns the answer.

use sansocket::{CloseCode, Message, blocking};

pub(crate) fn ask(url: &str, question: &str) -> Result<Option<Message>, sansocket::Error> {
    let mut socket = blocking::connect(url)?;
    socket.send(question)?;
    let answer = socket.recv()?;
    socket.close(CloseCode::NORMAL, "");
    Ok(answer)
}
