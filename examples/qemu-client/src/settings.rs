//! What is set per device and not in the program. Behind the lines of the [`partition`](crate::partition) lies the certificate of
//! the authority that the server's is checked against, in DER.

use core::net::Ipv4Addr;

use sansocket::handshake::WsUrl;

use crate::partition;

pub struct Settings {
    pub url: &'static str,
    pub target: WsUrl<'static>,
    /// Where the host of the URL is; without this line the host has to be an address itself. A product asks DNS
    /// (embassy-net's feature `dns`).
    pub address: Ipv4Addr,
    /// The subprotocol on offer.
    pub protocol: Option<&'static str>,
    /// A further field of the request, `Name: value`.
    pub header: Option<(&'static str, &'static str)>,
    /// Bytes of the messages that are streamed at the beginning; 0: nothing is sent then.
    pub large: u32,
    /// Milliseconds between the messages that follow; 0: there are none.
    pub every: u64,
    /// How many of them before the connection is closed; 0: as many as there is time for.
    pub messages: u32,
    /// The longest wait before the next attempt, in seconds.
    pub patience: u64,
    /// The authority's certificate, empty where there is none.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only TLS asks for it"))]
    pub authority: &'static [u8],
}

impl Settings {
    pub fn read() -> Result<Self, &'static str> {
        let (text, rest) = partition::read()?;
        let value = |name| partition::value(text, name);
        macro_rules! number {
            ($name:literal, $default:expr) => {
                value($name)
                    .map_or(Ok($default), str::parse)
                    .map_err(|_| concat!($name, ": no number, or too large"))?
            };
        }

        let url = value("url").ok_or("no url")?;
        let target = WsUrl::parse(url).map_err(|_| "the url is not one of a WebSocket")?;
        let address = value("address").unwrap_or(target.host());
        Ok(Self {
            url,
            target,
            address: address.parse().map_err(|_| "no IPv4 address")?,
            protocol: value("protocol"),
            header: value("header").and_then(|line| line.split_once(": ")),
            large: number!("large", 64 * 1024),
            every: number!("every", 1000),
            messages: number!("messages", 0),
            patience: number!("patience", 60),
            authority: certificate(rest),
        })
    }
}

/// The certificate that lies here, as long as it says itself: a sequence whose length takes two bytes.
fn certificate(bytes: &[u8]) -> &[u8] {
    match bytes {
        [0x30, 0x82, high, low, ..] => {
            let len = 4 + usize::from(u16::from_be_bytes([*high, *low]));
            bytes.get(..len).unwrap_or_default()
        }
        _ => &[],
    }
}
