//! What a server sends for a request that it has checked.

#![forbid(unsafe_code)]

use super::decision::AcceptOptions;
#[cfg(feature = "extension")]
use super::extensions::ExtensionText;
use super::head_writer::{HeadError, Writer};
use super::key::{AcceptKey, accept_key};
use super::rejection::{BadRequest, Refusal, Rejection};
use super::request::Request;
use super::response::{OURS, Response, write_switch};
use super::response_body::BodyRest;
use super::server::ServerHandshakeEnd;
use crate::config::base::Config;
use crate::log::log_debug;

/// What is sent for a request; it does not borrow the request.
pub(super) enum Checked<'s, C> {
    Switch {
        key: AcceptKey,
        protocol: Option<&'s str>,
        /// The subprotocol, if it is one of [`AcceptOptions::protocols`].
        known: Option<&'static str>,
        #[cfg(feature = "extension")]
        /// The answer to the offers of extensions, unless they are declined anyhow.
        extensions: Option<ExtensionText>,
        /// The pool of codecs for this request.
        #[cfg(feature = "deflate")]
        deflate: Option<alloc::sync::Arc<crate::deflate::Pool>>,
        headers: &'s [(&'s str, &'s str)],
        config: Option<C>,
    },
    Respond(Response<'s>, Option<Rejection>),
}

/// What a server agrees to.
pub(super) struct Agreed<'s, 'h> {
    /// The key, which only HTTP/1 has.
    pub(super) key: Option<&'h [u8]>,
    pub(super) protocol: Option<&'s str>,
    /// The subprotocol, if it is one of [`AcceptOptions::protocols`].
    known: Option<&'static str>,
}

impl<'s, C> AcceptOptions<'s, C> {
    /// Checks the request, and chooses what its response has.
    pub(super) fn check(self, request: &Request<'_>, config: &Config) -> Result<Checked<'s, C>, Rejection> {
        let Agreed { key, protocol, known } = self.agree(request, config)?;
        let (headers, config) = (self.headers, self.config);
        let key = accept_key(key.unwrap_or_default());
        Ok(Checked::Switch {
            key,
            protocol,
            known,
            #[cfg(feature = "extension")]
            extensions: (!self.decline_extensions).then_some(ExtensionText::EMPTY),
            #[cfg(feature = "deflate")]
            deflate: self.deflate,
            headers,
            config,
        })
    }

    /// Checks an upgrade, and chooses the subprotocol.
    pub(super) fn agree<'h>(
        &self,
        request: &Request<'h>,
        config: &Config,
    ) -> Result<Agreed<'s, 'h>, Rejection> {
        let key = request.check_upgrade(config)?;
        if !self.origin.allows(request) {
            return Err(Rejection::Forbidden);
        }
        let own = self.own_protocol(request);
        let known = self.protocols.iter().copied().find(|name| own.is_none() && offers(request, name));
        let protocol = own.or(known);
        if protocol.is_none() && self.protocol_required {
            return Err(BadRequest::Protocol.into());
        }
        log_debug!("the upgrade is accepted, subprotocol {:?}", protocol);
        Ok(Agreed { key, protocol, known })
    }

    /// Returns the subprotocol that is agreed upon, if its name is not static.
    pub(crate) fn own_protocol(&self, request: &Request<'_>) -> Option<&'s str> {
        let own = self.protocol.filter(|name| offers(request, name));
        #[cfg(feature = "std")]
        let own = own.or_else(|| self.names.iter().map(|name| &**name).find(|name| offers(request, name)));
        own
    }
}

fn offers(request: &Request<'_>, name: &str) -> bool {
    let mut found = false;
    request.headers().each("Sec-WebSocket-Protocol", &mut |offer| found |= offer == name.as_bytes());
    found
}

impl<C> Checked<'_, C> {
    /// Writes the head of the response. Returns its length, how the handshake ends then, and the rest of its body.
    pub(super) fn write(
        self,
        memory: &mut [u8],
        to_head: bool,
    ) -> Result<(usize, (ServerHandshakeEnd, BodyRest)), HeadError> {
        match self {
            Self::Switch {
                key,
                protocol,
                known,
                #[cfg(feature = "extension")]
                extensions,
                headers,
                ..
            } => {
                let mut head = Writer::new(memory);
                write_switch(&mut head, &key, protocol);
                #[cfg(feature = "extension")]
                if let Some(extensions) = extensions {
                    extensions.write(&mut head);
                }
                let n = head.fields(headers, OURS).text("\r\n").finish()?;
                Ok((n, (ServerHandshakeEnd::Opened { protocol: known }, BodyRest::NONE)))
            }
            Self::Respond(response, reason) => {
                let refusal = Refusal { status: response.status(), reason };
                let (n, body) = response.write(memory, to_head)?;
                Ok((n, (ServerHandshakeEnd::Refused(refusal), body)))
            }
        }
    }
}
