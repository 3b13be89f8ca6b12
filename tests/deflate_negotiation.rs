//! The negotiation of permessage-deflate: what servers and clients of others write, and every parameter.

use sansocket::Config;
use sansocket::deflate::{Agreement, DeflateOptions, Direction};
use sansocket::handshake::{ExtensionList, ExtensionText, HandshakeError, Request};

/// Calls `read` with the extensions of a head with these fields.
fn with_list<T>(fields: &[&str], read: impl FnOnce(ExtensionList<'_>) -> T) -> T {
    let fields: String =
        fields.iter().map(|value| format!("Sec-WebSocket-Extensions: {value}\r\n")).collect();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    read(ExtensionList::new(Request::parse(head.as_bytes(), &Config::DEFAULT).unwrap().headers()))
}

fn accept(options: &DeflateOptions, fields: &[&str]) -> Option<(Agreement, String)> {
    with_list(fields, |list| {
        let mut answer = ExtensionText::EMPTY;
        let agreement = Agreement::accept(options, list, &mut answer);
        let answer = answer.as_str().unwrap().to_owned();
        assert_eq!(agreement.is_some(), !answer.is_empty());
        agreement.map(|agreement| (agreement, answer))
    })
}

fn confirm(options: &DeflateOptions, fields: &[&str]) -> Result<Option<Agreement>, HandshakeError> {
    with_list(fields, |list| Agreement::confirm(options, list))
}

fn offer(options: &DeflateOptions) -> String {
    let mut offer = ExtensionText::EMPTY;
    Agreement::offer(options, &mut offer);
    offer.as_str().unwrap().to_owned()
}

/// What server and client may do: context, window bits.
const fn agreed(server: (bool, u8), client: (bool, u8)) -> Agreement {
    Agreement {
        server: Direction { context: server.0, window_bits: server.1 },
        client: Direction { context: client.0, window_bits: client.1 },
    }
}

const CONTEXT: DeflateOptions = DeflateOptions::new().context(true);

#[test]
fn a_server_answers_the_clients_there_are() {
    let d = "permessage-deflate";
    for (offer, answer, agreement) in [
        // Chromium; ws 8
        (
            "permessage-deflate; client_max_window_bits",
            "; server_max_window_bits=12",
            agreed((true, 12), (true, 15)),
        ),
        // Firefox
        ("permessage-deflate", "; server_max_window_bits=12", agreed((true, 12), (true, 15))),
        // Autobahn
        (
            "permessage-deflate; client_no_context_takeover; client_max_window_bits",
            "; client_no_context_takeover; server_max_window_bits=12",
            agreed((true, 12), (false, 15)),
        ),
        // websockets 17
        (
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
            "; server_max_window_bits=12; client_max_window_bits=12",
            agreed((true, 12), (true, 12)),
        ),
        // uWebSockets as a client of Bun; aiohttp; Safari of old
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
            agreed((false, 12), (false, 15)),
        ),
        (
            "x-webkit-deflate-frame, permessage-deflate",
            "; server_max_window_bits=12",
            agreed((true, 12), (true, 15)),
        ),
        // Autobahn 13.3 to 13.6
        (
            "permessage-deflate; server_max_window_bits=9",
            "; server_max_window_bits=9",
            agreed((true, 9), (true, 15)),
        ),
        (
            "permessage-deflate; server_max_window_bits=15",
            "; server_max_window_bits=12",
            agreed((true, 12), (true, 15)),
        ),
        (
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=9; client_max_window_bits",
            "; server_no_context_takeover; server_max_window_bits=9",
            agreed((false, 9), (true, 15)),
        ),
        // A window that zlib does not have.
        (
            "permessage-deflate; server_max_window_bits=8; client_max_window_bits=8",
            "; server_max_window_bits=8; client_max_window_bits=8",
            agreed((true, 8), (true, 8)),
        ),
        (
            "permessage-deflate; server_max_window_bits=\"10\"",
            "; server_max_window_bits=10",
            agreed((true, 10), (true, 15)),
        ),
    ] {
        assert_eq!(accept(&CONTEXT, &[offer]), Some((agreement, format!("{d}{answer}"))), "{offer}");
    }
}

#[test]
fn a_server_takes_the_first_offer_that_it_can_serve() {
    let offers = "permessage-deflate; server_max_window_bits=7, permessage-deflate; unknown, x; y=z, \
        permessage-deflate; server_max_window_bits=10, permessage-deflate";
    let (agreement, _) = accept(&CONTEXT, &[offers]).unwrap();
    assert_eq!(agreement, agreed((true, 10), (true, 15)));
    // In several fields, behind what is malformed.
    let fields = [
        "permessage-deflate;",
        "foo",
        "permessage-deflate; a=\"",
        "permessage-deflate; server_no_context_takeover",
    ];
    assert_eq!(accept(&CONTEXT, &fields).unwrap().0, agreed((false, 12), (true, 15)));
    // A smaller window is refused to a client that cannot be told of it, also behind another offer.
    let small = CONTEXT.receive_window_bits(10);
    let two = "permessage-deflate, permessage-deflate; client_max_window_bits=9";
    assert_eq!(accept(&small, &[two]).unwrap().0, agreed((true, 12), (true, 9)));
    assert_eq!(accept(&small, &["permessage-deflate"]), None);
}

#[test]
fn a_server_declines_what_is_not_in_the_rfc() {
    for params in [
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=08",
        "server_max_window_bits=\"\"",
        "server_max_window_bits=",
        "server_max_window_bits=100",
        "server_max_window_bits=1",
        "server_max_window_bits=x",
        "server_max_window_bits=-9",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=010",
        "client_max_window_bits=1x",
        "server_no_context_takeover=1",
        "client_no_context_takeover=\"x\"",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits=10",
        "unknown",
        "Server_No_Context_Takeover",
        "",
        ";",
        "=",
        "server_max_window_bits=10;",
    ] {
        assert_eq!(accept(&CONTEXT, &[&format!("permessage-deflate; {params}")]), None, "{params}");
        let answer = confirm(&CONTEXT, &[&format!("permessage-deflate; {params}")]);
        assert_eq!(answer, Err(HandshakeError::ExtensionParameters), "{params}");
    }
    for other in ["", "permessage-bzip2", "permessage-deflate2", "permessage-deflate x"] {
        assert_eq!(accept(&CONTEXT, &[other]), None, "{other}");
    }
    assert_eq!(accept(&CONTEXT, &[]), None);
}

#[test]
fn a_server_says_what_it_wants() {
    let none = DeflateOptions::new();
    let chromium = "permessage-deflate; client_max_window_bits";
    let (agreement, answer) = accept(&none, &[chromium]).unwrap();
    assert_eq!(agreement, agreed((false, 12), (false, 15)));
    assert_eq!(
        answer,
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12"
    );
    let (agreement, answer) =
        accept(&CONTEXT.send_window_bits(15).receive_window_bits(9), &[chromium]).unwrap();
    assert_eq!(agreement, agreed((true, 15), (true, 9)));
    assert_eq!(answer, "permessage-deflate; client_max_window_bits=9");
    let (_, longest) = accept(
        &DeflateOptions::new().receive_window_bits(10).send_window_bits(10),
        &["permessage-deflate; client_max_window_bits=15; server_max_window_bits=15"],
    )
    .unwrap();
    assert_eq!(
        longest,
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
         server_max_window_bits=10; client_max_window_bits=10"
    );
}

#[test]
fn a_client_offers_what_it_wants() {
    for (options, params) in [
        (CONTEXT, "; client_max_window_bits=12"),
        (CONTEXT.send_window_bits(15), "; client_max_window_bits"),
        (CONTEXT.receive_window_bits(10), "; server_max_window_bits=10; client_max_window_bits=12"),
        (CONTEXT.send_context(false), "; client_no_context_takeover; client_max_window_bits=12"),
        (
            DeflateOptions::new(),
            "; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=12",
        ),
    ] {
        assert_eq!(offer(&options), format!("permessage-deflate{params}"));
    }
}

#[test]
fn a_client_checks_the_answer() {
    let none = DeflateOptions::new();
    let small = CONTEXT.receive_window_bits(10);
    let wrong = Err(HandshakeError::ExtensionParameters);
    for (options, answer, want) in [
        (CONTEXT, "permessage-deflate", Ok(Some(agreed((true, 15), (true, 12))))),
        // A server may ask for these although they were not offered.
        (
            CONTEXT,
            "permessage-deflate; server_no_context_takeover",
            Ok(Some(agreed((false, 15), (true, 12)))),
        ),
        (
            CONTEXT,
            "permessage-deflate; client_no_context_takeover",
            Ok(Some(agreed((true, 15), (false, 12)))),
        ),
        (CONTEXT, "permessage-deflate; server_max_window_bits=8", Ok(Some(agreed((true, 8), (true, 12))))),
        (CONTEXT, "permessage-deflate; client_max_window_bits=9", Ok(Some(agreed((true, 15), (true, 9))))),
        (
            CONTEXT,
            "permessage-deflate; client_max_window_bits=\"8\"",
            Ok(Some(agreed((true, 15), (true, 8)))),
        ),
        // In an answer it has a value, which is not larger than the offered one.
        (CONTEXT, "permessage-deflate; client_max_window_bits", wrong),
        (CONTEXT, "permessage-deflate; client_max_window_bits=13", wrong),
        // What was asked for has to be in the answer.
        (none, "permessage-deflate", wrong),
        (none, "permessage-deflate; server_no_context_takeover", Ok(Some(agreed((false, 15), (false, 12))))),
        (small, "permessage-deflate", wrong),
        (small, "permessage-deflate; server_max_window_bits=11", wrong),
        (small, "permessage-deflate; server_max_window_bits=9", Ok(Some(agreed((true, 9), (true, 12))))),
        // Another extension, or a second one.
        (CONTEXT, "permessage-bzip2", Err(HandshakeError::Extension)),
        (CONTEXT, "permessage-deflate, permessage-deflate", Err(HandshakeError::Extension)),
        (CONTEXT, "permessage-deflate, ;", Err(HandshakeError::Extension)),
        (CONTEXT, "permessage-deflate; =", wrong),
        (CONTEXT, "", Ok(None)),
    ] {
        assert_eq!(confirm(&options, &[answer]), want, "{answer}");
    }
    assert_eq!(confirm(&CONTEXT, &["permessage-deflate", "x"]), Err(HandshakeError::Extension));
    assert_eq!(confirm(&CONTEXT, &[]), Ok(None));
}

/// Both sides of this library, with all options: they agree, or the server declines, and both have the same agreement.
#[test]
fn client_and_server_agree_on_the_same() {
    let mut agreements = 0;
    let bits = [8, 9, 12, 15];
    let mut all = Vec::new();
    for (send, receive) in bits.iter().flat_map(|send| bits.map(|receive| (*send, receive))) {
        for (send_context, receive_context) in [(true, true), (true, false), (false, true), (false, false)] {
            all.push(
                DeflateOptions::new()
                    .send_window_bits(send)
                    .receive_window_bits(receive)
                    .send_context(send_context)
                    .receive_context(receive_context),
            );
        }
    }
    for client in &all {
        for server in &all {
            // Our clients always offer client_max_window_bits, so each server can serve them.
            let (agreement, answer) = accept(server, &[&offer(client)]).unwrap();
            assert_eq!(confirm(client, &[&answer]), Ok(Some(agreement)), "{client:?} {server:?}");
            assert!(agreement.server.window_bits <= server.send_window_bits.min(client.receive_window_bits));
            assert!(agreement.client.window_bits <= client.send_window_bits.min(server.receive_window_bits));
            assert_eq!(agreement.server.context, server.send_context && client.receive_context);
            assert_eq!(agreement.client.context, client.send_context && server.receive_context);
            agreements += 1;
        }
    }
    assert_eq!(agreements, 64 * 64);
}
