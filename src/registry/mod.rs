//! A schema registry that speaks Confluent's API: Confluent's own, Apicurio's, Karapace, Redpanda's.
//!
//! Reference: Confluent Schema Registry API v1 (`/schemas/ids/{id}`, `/schemas/ids/{id}/versions`, `/schemas/guids/{guid}`,
//! `/subjects/{subject}/versions/{version}`). Must not decide what an answer means for a record, nor be awaited by anything that
//! carries traffic.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;

use crate::schema::{Answer, Compiled, Known, Language, Question, SchemaId, Source, Subject};

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Schemas that one schema may refer to, all levels together.
const REFERENCES_MAX: usize = 64;
/// Who is asking.
const AGENT: &str = concat!("throughline/", env!("CARGO_PKG_VERSION"));
/// Not found: no such path, or with Confluent's error code, no such schema.
const NO_SCHEMA: u64 = 40_403;

/// Why a registry cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryError {
    /// The address is none.
    Url(String),
    /// A header cannot be sent.
    Header(String),
    /// The system's certificates cannot be read.
    Certificates(String),
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(what) => write!(f, "schema.registry_url: {what}"),
            Self::Header(name) => write!(f, "schema.headers_file: {name} cannot be sent"),
            Self::Certificates(what) => write!(f, "the system's certificates: {what}"),
        }
    }
}

impl std::error::Error for RegistryError {}

/// One registry.
#[derive(Clone)]
pub struct Registry {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    base: Arc<str>,
    headers: HeaderMap,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may hold a password.
        write!(f, "Registry({})", self.base)
    }
}

/// What went wrong with one question.
enum Fault {
    /// It has no such thing.
    Missing,
    /// It did not say.
    Away,
}

#[derive(Deserialize)]
struct SchemaBody {
    schema: String,
    #[serde(rename = "schemaType")]
    language: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i32,
}

#[derive(Deserialize)]
struct VersionBody {
    subject: String,
    version: i32,
}

#[derive(Deserialize)]
struct ErrorBody {
    error_code: u64,
}

impl Registry {
    /// At `url`, with these headers on every request.
    ///
    /// # Errors
    /// Where no request could be made.
    pub fn new(url: &str, headers: &[(String, String)]) -> Result<Self, RegistryError> {
        let base = url.trim_end_matches('/');
        base.parse::<Uri>()
            .map_err(|fault| RegistryError::Url(fault.to_string()))?;
        let mut all = HeaderMap::new();
        let types = "application/vnd.schemaregistry.v1+json, application/json";
        all.insert(ACCEPT, HeaderValue::from_static(types));
        all.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in headers {
            let wrong = || RegistryError::Header(name.clone());
            let key = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            all.insert(key, value);
        }
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|fault| RegistryError::Certificates(fault.to_string()))?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            base: base.into(),
            headers: all,
        })
    }

    /// Asks, within a few seconds.
    pub async fn ask(&self, question: Question) -> Answer {
        let asked = tokio::time::timeout(TIMEOUT, self.answer(&question)).await;
        match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(Fault::Missing)) => match question {
                Question::Schema(id) => Answer::NoSchema(id),
                Question::Topic(topic, part) => Answer::Topic(topic, part, false),
            },
            Ok(Err(Fault::Away)) | Err(_) => Answer::Failed(question),
        }
    }

    async fn answer(&self, question: &Question) -> Result<Answer, Fault> {
        let (id, path) = match question {
            Question::Topic(topic, part) => {
                let subject = escaped(&format!("{topic}{}", part.suffix()));
                let _: Vec<i32> = self.read(&format!("/subjects/{subject}/versions")).await?;
                return Ok(Answer::Topic(Arc::clone(topic), *part, true));
            }
            Question::Schema(SchemaId::Global(_)) => return Err(Fault::Missing),
            Question::Schema(id @ SchemaId::Number(number)) => {
                (*id, format!("/schemas/ids/{number}"))
            }
            Question::Schema(id @ SchemaId::Guid(_)) => (*id, format!("/schemas/guids/{id}")),
        };
        let body: SchemaBody = self.read(&path).await?;
        let subjects = match id {
            SchemaId::Number(number) => self.subjects(number).await?,
            _ => Vec::new(),
        };
        let language = Language::parse(body.language.as_deref());
        let mut source = Source {
            text: body.schema,
            references: Vec::new(),
        };
        self.references(body.references, &mut source).await?;
        let compiled = language
            .ok_or(crate::schema::Unusable::Unreadable)
            .and_then(|language| Compiled::new(language, &source));
        let known = Known {
            language,
            subjects,
            compiled,
        };
        Ok(Answer::Schema(id, Box::new(known)))
    }

    async fn subjects(&self, id: i32) -> Result<Vec<Subject>, Fault> {
        let path = format!("/schemas/ids/{id}/versions");
        let found: Vec<VersionBody> = match self.read(&path).await {
            Ok(found) => found,
            // A registry that does not tell.
            Err(Fault::Missing) => Vec::new(),
            Err(Fault::Away) => return Err(Fault::Away),
        };
        let each = found.into_iter().map(|of| Subject {
            name: of.subject.into(),
            version: of.version,
        });
        Ok(each.collect())
    }

    /// What a schema refers to, and what that refers to; deepest first.
    async fn references(&self, first: Vec<Reference>, into: &mut Source) -> Result<(), Fault> {
        let mut seen = BTreeSet::new();
        let mut open = first;
        while let Some(next) = open.pop() {
            if !seen.insert((next.subject.clone(), next.version)) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                return Err(Fault::Missing);
            }
            let subject = escaped(&next.subject);
            let path = format!("/subjects/{subject}/versions/{}", next.version);
            let body: SchemaBody = self.read(&path).await?;
            into.references.insert(0, (next.name, body.schema));
            open.extend(body.references);
        }
        Ok(())
    }

    async fn read<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, Fault> {
        let uri = format!("{}{path}", self.base);
        let mut request = Request::get(uri)
            .body(Empty::new())
            .map_err(|_| Fault::Away)?;
        request.headers_mut().extend(self.headers.clone());
        let response = self
            .client
            .request(request)
            .await
            .map_err(|_| Fault::Away)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|_| Fault::Away)?.to_bytes();
        if status == StatusCode::NOT_FOUND {
            let code = serde_json::from_slice::<ErrorBody>(&body).map(|e| e.error_code);
            // A page of something that is no registry is no answer.
            let known = code.is_ok_and(|code| code == 404 || (40_400..=NO_SCHEMA).contains(&code));
            return Err(if known { Fault::Missing } else { Fault::Away });
        }
        if !status.is_success() {
            return Err(Fault::Away);
        }
        serde_json::from_slice(&body).map_err(|_| Fault::Away)
    }
}

/// A subject as one part of a path.
fn escaped(subject: &str) -> String {
    let mut out = String::new();
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
