//! Who may turn switches: loopback, or whoever has the token; and no web page of another origin.
//!
//! A browser on the same machine is loopback too, so a request that carries a foreign `Origin` is refused whatever its address.
//! Must not log the token.

use std::{fmt, net::IpAddr};

use hyper::{HeaderMap, header};

/// The configured bearer token.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

impl Token {
    /// From the content of the token file, surrounding blanks removed; `None` where nothing is left.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.as_bytes().into()))
    }

    /// Compares without telling by its duration how much was right.
    fn matches(&self, given: &[u8]) -> bool {
        let difference = self
            .0
            .iter()
            .zip(given)
            .fold(0_u8, |acc, (a, b)| acc | (a ^ b));
        self.0.len() == given.len() && difference == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Whether a request may change something; else why not.
pub(super) fn may_change(
    peer: IpAddr,
    headers: &HeaderMap,
    token: Option<&Token>,
) -> Result<(), &'static str> {
    if let Some(origin) = headers.get(header::ORIGIN) {
        let host = headers.get(header::HOST).map(header::HeaderValue::as_bytes);
        let own = origin
            .as_bytes()
            .strip_prefix(b"http://")
            .is_some_and(|o| Some(o) == host);
        if !own {
            return Err("requests of web pages from another origin are refused");
        }
    }
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match (token, given) {
        (Some(token), Some(given)) if token.matches(given) => Ok(()),
        (_, Some(_)) => Err("the bearer token is wrong or none is configured (admin.token_file)"),
        (_, None) if peer.to_canonical().is_loopback() => Ok(()),
        _ => Err("only from loopback, or with the token of admin.token_file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_or_the_token_may_change_things_and_foreign_pages_may_not() {
        let token = Token::new(" s3cret\n");
        let request = |pairs: &[(header::HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(name, header::HeaderValue::from_static(value));
            }
            headers
        };
        let (near, far) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 1]));
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        let (auth, origin, host) = (header::AUTHORIZATION, header::ORIGIN, header::HOST);
        for (peer, headers, with_token, expected) in [
            (near, request(&[]), false, true),
            (mapped, request(&[]), false, true),
            (far, request(&[]), true, false),
            (far, request(&[(auth.clone(), "Bearer s3cret")]), true, true),
            (far, request(&[(auth.clone(), "Bearer s3cre")]), true, false),
            (
                far,
                request(&[(auth.clone(), "Bearer s3cret")]),
                false,
                false,
            ),
            (near, request(&[(auth.clone(), "Bearer x")]), true, false),
            (
                near,
                request(&[(origin.clone(), "http://evil")]),
                false,
                false,
            ),
            (
                near,
                request(&[(origin, "http://127.0.0.1:9470"), (host, "127.0.0.1:9470")]),
                false,
                true,
            ),
        ] {
            let token = token.as_ref().filter(|_| with_token);
            assert_eq!(
                may_change(peer, &headers, token).is_ok(),
                expected,
                "{peer} {headers:?}"
            );
        }
    }

    #[test]
    fn the_token_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", Token::new("abc")), "Some(Token(..))");
        assert!(Token::new(" \n").is_none());
    }
}
