//! A head is checked line by line, with the verdict of httparse over the whole head.

mod endpoint;
mod wire;

use endpoint::Random;
use proptest::prelude::*;
use sansocket::handshake::{BadRequest, HandshakeError, RefusedResponse, Rejection, Request};
use sansocket::{Config, ReceiveBuffer};

/// More than any head here has fields.
const MANY: usize = 300;

type Lines = Vec<(String, Vec<u8>)>;

fn lines<'h>(fields: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> Lines {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
}

/// The same answer from both, for requests with at most `most` fields.
fn compare_request(head: &[u8], most: usize) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MANY];
    let mut whole = httparse::Request::new(&mut headers[..most]);
    let expected = whole.parse(head);
    let mut config = Config::new();
    config.limits.headers = most;
    let got = Request::parse(head, &config);
    let shown = head.escape_ascii();
    match (expected, &got) {
        (Ok(httparse::Status::Complete(_)), Ok(request)) => {
            assert_eq!(Some(request.method()), whole.method, "{shown}");
            let fields = whole.headers.iter().map(|field| (field.name, field.value));
            assert_eq!(lines(request.headers()), lines(fields), "{shown}");
            true
        }
        // What HTTP wants of `Host` is looked at behind the lines.
        (
            Ok(httparse::Status::Complete(_)),
            Err(Rejection::BadRequest(BadRequest::Host | BadRequest::HostTwice)),
        ) => true,
        (Err(httparse::Error::TooManyHeaders), Err(Rejection::TooManyFields)) => false,
        (Err(httparse::Error::HeaderName), Err(Rejection::BadRequest(BadRequest::Folded))) => false,
        (Ok(httparse::Status::Partial) | Err(_), Err(Rejection::BadRequest(BadRequest::NotHttp)))
            if expected != Err(httparse::Error::TooManyHeaders) =>
        {
            false
        }
        _ => panic!("{expected:?} {got:?} {shown}"),
    }
}

/// The same answer from both, for responses with at most `most` fields.
fn compare_response(head: &[u8], most: usize) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MANY];
    let mut whole = httparse::Response::new(&mut headers[..most]);
    let expected = whole.parse(head);
    let mut config = Config::new();
    config.limits.headers = most;
    let mut memory = vec![0; head.len().max(140)];
    let mut buffer = ReceiveBuffer::new(&mut memory).unwrap();
    buffer.feed(head);
    let got = RefusedResponse::parse(&buffer, &config);
    let shown = head.escape_ascii();
    match (expected, &got) {
        (Ok(httparse::Status::Complete(len)), Ok(reply)) => {
            assert_eq!((Some(reply.status), reply.body), (whole.code, &head[len..]), "{shown}");
            let fields = whole.headers.iter().map(|field| (field.name, field.value));
            assert_eq!(lines(reply.headers), lines(fields), "{shown}");
            true
        }
        (Err(httparse::Error::TooManyHeaders), Err(HandshakeError::TooManyFields)) => false,
        (Ok(httparse::Status::Partial) | Err(_), Err(HandshakeError::NotHttp))
            if expected != Err(httparse::Error::TooManyHeaders) =>
        {
            false
        }
        _ => panic!("{expected:?} {got:?} {shown}"),
    }
}

const REQUESTS: [&str; 14] = [
    "GET / HTTP/1.1\r\n",
    "GET /ws?x HTTP/1.0\r\n",
    "POST /\u{fc} HTTP/1.1\r\n",
    "M-SEARCH * HTTP/1.1\n",
    "\r\nGET / HTTP/1.1\r\n",
    "\n\r\n\nGET / HTTP/1.1\r\n",
    " GET / HTTP/1.1\r\n",
    "GET  / HTTP/1.1\r\n",
    "GET / HTTP/1.1 \r\n",
    "GET / HTTP/1.2\r\n",
    "GET / HTTP/11\r\n",
    "GET HTTP/1.1\r\n",
    "GET / HTTP/1.1",
    "",
];

const RESPONSES: [&str; 14] = [
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.0 403 No\u{e9}\r\n",
    "HTTP/1.1 200\r\n",
    "HTTP/1.1 200 \r\n",
    "HTTP/1.1 200 OK\n",
    "HTTP/1.1 200\n",
    "\r\nHTTP/1.1 204 No Content\r\n",
    "HTTP/1.1  200 OK\r\n",
    "HTTP/1.1 2000 OK\r\n",
    "HTTP/1.1 20 OK\r\n",
    "HTTP/1.1 20x OK\r\n",
    "HTTP/1.2 200 OK\r\n",
    "HTTP/1.1 200 O\x01K\r\n",
    "HTTP/1.1 200 OK",
];

const FIELDS: [&str; 22] = [
    "Host: a\r\n",
    "Host: a\n",
    "X:\r\n",
    "X: \t \r\n",
    "X:y\r\n",
    "X: \t y \t\r\n",
    "X-\u{e9}: y\r\n",
    "X: \u{e9}\r\n",
    "X : y\r\n",
    "X\t: y\r\n",
    ": y\r\n",
    "X\r\n",
    " X: y\r\n",
    "\tX: y\r\n",
    "X: a\r\n b\r\n",
    "X: a\x0Cb\r\n",
    "X: a\0b\r\n",
    "X: a\rb\r\n",
    "X: a\r\r\n",
    "X: a: b, c\r\n",
    "!#$%&'*+-.^_`|~09azAZ: y\r\n",
    "X: y",
];

/// A head of some of these lines; mostly good ones, so that what is behind them is looked at.
fn head(random: &mut Random, firsts: &[&str]) -> Vec<u8> {
    let mut head = Vec::new();
    let first = if random.one_in(3) { random.below(firsts.len()) } else { 0 };
    head.extend(firsts[first].bytes());
    // More than are listed at a time.
    for _ in 0..random.below(40) {
        let field = if random.one_in(8) { random.below(FIELDS.len()) } else { random.below(6) };
        head.extend(FIELDS[field].bytes());
    }
    if !random.one_in(10) {
        head.extend(if random.one_in(4) { &b"\n"[..] } else { b"\r\n" });
    }
    if random.one_in(3) {
        head.extend(b"X: behind the head\r\n\r\n");
    }
    if random.one_in(2) && !head.is_empty() {
        let at = random.below(head.len());
        let byte = match random.below(3) {
            0 => b"\r\n \t:\0\x7F,"[random.below(8)],
            _ => random.below(256) as u8,
        };
        match random.below(3) {
            0 => head[at] = byte,
            1 => head.insert(at, byte),
            _ => _ = head.remove(at),
        }
    }
    head
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_is_judged_as_httparse_judges_it_whole(seed: u64) {
        let mut random = Random::new(seed);
        let most = [0, 3, 17, MANY][random.below(4)];
        compare_request(&head(&mut random, &REQUESTS), most);
    }

    #[test]
    fn a_response_is_judged_as_httparse_judges_it_whole(seed: u64) {
        let mut random = Random::new(seed);
        let most = [0, 3, 17, MANY][random.below(4)];
        compare_response(&head(&mut random, &RESPONSES), most);
    }
}

#[test]
fn every_byte_of_a_head_replaced_removed_or_doubled() {
    let (mut good, mut all) = (0, 0);
    let request = b"\r\nGET /a HTTP/1.1\r\nHost: a\r\nX:\r\nY: z \r\n\r\nZ: behind\r\n";
    let response = b"HTTP/1.1 403 No\r\nHost: a\r\nX:\r\nY: z \r\n\r\nZ: behind\r\n";
    for (head, compare) in
        [(&request[..], compare_request as fn(&[u8], usize) -> bool), (response, compare_response)]
    {
        assert!(compare(head, 3) && !compare(head, 2));
        for at in 0..head.len() {
            for byte in 0..=u8::MAX {
                let mut changed = head.to_vec();
                changed[at] = byte;
                good += usize::from(compare(&changed, MANY));
                changed.insert(at, head[at]);
                good += usize::from(compare(&changed, MANY));
                all += 2;
            }
            let mut shorter = head.to_vec();
            shorter.remove(at);
            compare(&shorter, MANY);
            compare(&head[..at], MANY);
        }
    }
    // Both verdicts are met.
    assert!(good > all / 4 && good < all, "{good} of {all}");
}

#[test]
fn a_head_of_many_thousand_empty_lines_or_fields_needs_no_stack() {
    let mut config = Config::new();
    config.limits.headers = usize::MAX;
    let blank = [b"\r\n".repeat(200_000), b"GET / HTTP/1.0\r\n\r\n".to_vec()].concat();
    assert_eq!(Request::parse(&blank, &config).unwrap().method(), "GET");
    let many = [b"GET / HTTP/1.0\r\n".to_vec(), b"X: y\r\n".repeat(200_000), b"\r\n".to_vec()].concat();
    assert_eq!(Request::parse(&many, &config).unwrap().headers().iter().count(), 200_000);
}
