//! A server on hyper that refuses each path in another way. Prints its address.

use std::convert::Infallible;

use http_body_util::channel::Channel;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TRAILER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

type Answer = Response<BoxBody<Bytes, Infallible>>;

fn main() -> std::io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    })
}

async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    let status = request.uri().path().get(1..4).and_then(|code| code.parse::<u16>().ok()).unwrap_or(404);
    let mut answer = match request.uri().path() {
        "/401/chunked" => Response::new(chunks(None)),
        "/401/trailer" => {
            let mut answer = Response::new(chunks(Some(("x-sum", "1"))));
            answer.headers_mut().insert(TRAILER, "x-sum".parse().unwrap());
            answer
        }
        "/204" | "/304" => Response::new(Empty::new().boxed()),
        // Of an unknown length, to HTTP/1.0: until the connection closes.
        "/403/close" => {
            let mut answer = Response::new(chunks(None));
            *answer.version_mut() = Version::HTTP_10;
            answer.headers_mut().insert(CONNECTION, "close".parse().unwrap());
            answer
        }
        _ => Response::new(Full::from("not here\n").boxed()),
    };
    *answer.status_mut() = status.try_into().unwrap();
    Ok(answer)
}

/// Two chunks, and perhaps a trailer.
fn chunks(trailer: Option<(&'static str, &'static str)>) -> BoxBody<Bytes, Infallible> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for chunk in ["who are ", "you?\n"] {
            sender.send_data(Bytes::from(chunk)).await.unwrap();
        }
        if let Some((name, value)) = trailer {
            let value = HeaderValue::from_static(value);
            sender
                .send_trailers(HeaderMap::from_iter([(HeaderName::from_static(name), value)]))
                .await
                .unwrap();
        }
    });
    body.boxed()
}
