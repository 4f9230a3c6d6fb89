//! Version negotiation: who the client says it is, what the broker offers, and the caps put on it.
//!
//! Reference: `ApiVersionsRequest.json`, `ApiVersionsResponse.json`, KIP-511 (software name, fallback to version 0), KIP-584
//! (features, left alone), KIP-1242 (cluster and node id in version 5, left alone).

use super::super::{
    api::ApiKey,
    body::{open, throttle},
    error::Result,
    reader::Reader,
    splice::{self, Splice},
};

/// `UNSUPPORTED_VERSION`: the body is then of version 0, whatever was asked.
pub const UNSUPPORTED_VERSION: i16 = 35;

/// An ApiVersionsRequest, versions 0-5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiVersionsRequest<'a> {
    /// Name of the client library. Added in version 3.
    pub software_name: Option<&'a str>,
    /// Version of the client library. Added in version 3.
    pub software_version: Option<&'a str>,
}

impl<'a> ApiVersionsRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 0-5, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let r = &mut open(body, ApiKey::API_VERSIONS, version, 0)?;
        if version < 3 {
            return Ok(Self {
                software_name: None,
                software_version: None,
            });
        }
        Ok(Self {
            software_name: Some(r.string("client software name")?),
            software_version: Some(r.string("client software version")?),
        })
    }
}

/// One API a broker offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferedApi {
    /// Key; may be unknown to this build.
    pub key: ApiKey,
    /// Oldest version.
    pub min: i16,
    /// Newest version.
    pub max: i16,
    /// Where `max` stands in the body.
    pub max_at: usize,
}

/// An ApiVersionsResponse, versions 0-5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiVersionsResponse {
    /// 0 = done.
    pub error_code: i16,
    /// What the broker offers.
    pub apis: Vec<OfferedApi>,
    /// Throttle time, ms. Added in version 1.
    pub throttle_ms: Option<i32>,
}

impl ApiVersionsResponse {
    /// Reads a body. `version` is the request's; an answer with `UNSUPPORTED_VERSION` is read as version 0 (KIP-511), and
    /// where it is not that either, as one that offers nothing.
    ///
    /// # Errors
    /// `Version` outside 0-5, else what the fields give.
    pub fn read(body: &[u8], version: i16) -> Result<Self> {
        let mut r = open(body, ApiKey::API_VERSIONS, version, 0)?;
        let error_code = r.clone().i16("error code")?;
        let version = if error_code == UNSUPPORTED_VERSION {
            r = Reader::new(body, false);
            0
        } else {
            version
        };
        r.i16("error code")?;
        let mut apis = Vec::new();
        let read = r.array("api keys", |r| {
            let key = ApiKey(r.i16("api key")?);
            let min = r.i16("min version")?;
            let max_at = r.position();
            let max = r.i16("max version")?;
            r.skip_tagged()?;
            apis.push(OfferedApi {
                key,
                min,
                max,
                max_at,
            });
            Ok(())
        });
        if read.is_err() && error_code == UNSUPPORTED_VERSION {
            // librdkafka's mock refuses in bytes of no version; the code is all that clients go by.
            return Ok(Self {
                error_code,
                apis: Vec::new(),
                throttle_ms: None,
            });
        }
        read?;
        let throttle_ms = throttle(&mut r, version >= 1)?;
        Ok(Self {
            error_code,
            apis,
            throttle_ms,
        })
    }
}

/// Lowers the newest offered version where `caps` names a lower one. Touches nothing else, never raises, and leaves an API
/// alone whose oldest version is above the cap. `None` = nothing to change.
///
/// # Errors
/// As [`ApiVersionsResponse::read`].
pub fn cap_max(
    body: &[u8],
    version: i16,
    caps: impl Fn(ApiKey) -> Option<i16>,
) -> Result<Option<Vec<u8>>> {
    let splices: Vec<Splice<'_>> = ApiVersionsResponse::read(body, version)?
        .apis
        .iter()
        .filter_map(|api| {
            let cap = caps(api.key)?;
            (api.min <= cap && cap < api.max).then(|| Splice {
                at: api.max_at..api.max_at.saturating_add(2),
                with: cap.to_be_bytes().to_vec().into(),
            })
        })
        .collect();
    if splices.is_empty() {
        return Ok(None);
    }
    Ok(splice::apply(body, &splices))
}

/// A whole response frame, length prefix included, to an ApiVersions request newer than `newest`: version 0 body with
/// `UNSUPPORTED_VERSION` and ApiVersions `0..=newest`, upon which clients ask again (KIP-511).
#[must_use]
pub fn unsupported_version_reply(correlation_id: i32, newest: i16) -> Vec<u8> {
    let mut frame = Vec::from(16i32.to_be_bytes());
    frame.extend_from_slice(&correlation_id.to_be_bytes());
    frame.extend_from_slice(&UNSUPPORTED_VERSION.to_be_bytes());
    frame.extend_from_slice(&1i32.to_be_bytes());
    for value in [ApiKey::API_VERSIONS.0, 0, newest] {
        frame.extend_from_slice(&value.to_be_bytes());
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(apis: &[(i16, i16, i16)], flexible: bool) -> Vec<u8> {
        let mut body = vec![0, 0];
        if flexible {
            body.push(u8::try_from(apis.len() + 1).unwrap());
        } else {
            body.extend_from_slice(&i32::try_from(apis.len()).unwrap().to_be_bytes());
        }
        for (key, min, max) in apis {
            for v in [key, min, max] {
                body.extend_from_slice(&v.to_be_bytes());
            }
            if flexible {
                body.push(0);
            }
        }
        body.extend_from_slice(&[0, 0, 0, 0]);
        if flexible {
            // An unknown tagged field, which must survive.
            body.extend_from_slice(&[1, 77, 2, 0xab, 0xcd]);
        }
        body
    }

    #[test]
    fn caps_lower_and_never_raise_and_touch_nothing_else() {
        let apis = [(0, 0, 14), (1, 4, 16), (3, 0, 13), (12_000, 0, 99)];
        let caps = |key: ApiKey| match key.0 {
            0 => Some(13),
            1 => Some(18),
            3 => Some(13),
            _ => None,
        };
        for flexible in [false, true] {
            let version = if flexible { 3 } else { 1 };
            let body = offer(&apis, flexible);
            let capped = cap_max(&body, version, caps).unwrap().unwrap();
            let mut expected = apis;
            expected[0].2 = 13;
            assert_eq!(capped, offer(&expected, flexible));
            assert_eq!(cap_max(&capped, version, caps), Ok(None));
        }
    }

    #[test]
    fn an_api_whose_oldest_version_is_above_the_cap_is_left() {
        let body = offer(&[(0, 14, 15)], false);
        assert_eq!(cap_max(&body, 0, |_| Some(13)), Ok(None));
    }

    #[test]
    fn an_unsupported_version_answer_is_read_as_version_0() {
        let frame = unsupported_version_reply(7, 5);
        assert_eq!(frame.len(), 20);
        let response = ApiVersionsResponse::read(&frame[8..], 4).unwrap();
        assert_eq!(response.error_code, 35);
        assert_eq!(response.apis[0].key, ApiKey::API_VERSIONS);
        assert_eq!((response.apis[0].min, response.apis[0].max), (0, 5));
        assert_eq!(response.throttle_ms, None);
    }
}
