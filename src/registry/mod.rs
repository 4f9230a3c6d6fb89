//! A schema registry that speaks Confluent's API: Confluent's own, Apicurio's, Karapace, Redpanda's.
//!
//! Reference: Confluent Schema Registry API v1 (`/schemas/ids/{id}`, `/schemas/ids/{id}/versions`, `/schemas/guids/{guid}`,
//! `/subjects/{subject}/versions/{version}`). Must not decide what an answer means for a record, nor be awaited by anything that
//! carries traffic.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use hyper::StatusCode;
use serde::Deserialize;

use crate::{
    http::{Http, HttpError, escaped},
    schema::{Answer, Compiled, Known, Language, Question, SchemaId, Source, Subject},
};

/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Schemas that one schema may refer to, all levels together.
const REFERENCES_MAX: usize = 64;
/// What it should answer with.
const TYPES: &str = "application/vnd.schemaregistry.v1+json, application/json";
/// Not found: no such path, or with Confluent's error code, no such schema.
const NO_SCHEMA: u64 = 40_403;

/// Why a registry cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryError(HttpError);

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HttpError::Url(what) => write!(f, "schema.registry_url: {what}"),
            HttpError::Header(name) => write!(f, "schema.headers_file: {name} cannot be sent"),
            HttpError::Certificates(what) => write!(f, "the system's certificates: {what}"),
        }
    }
}

impl std::error::Error for RegistryError {}

/// One registry.
#[derive(Debug, Clone)]
pub struct Registry(Http);

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
        let http = Http::new(url, TYPES, headers, ANSWER_BYTES_MAX);
        http.map(Self).map_err(RegistryError)
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
        let (status, body) = self.0.get(path).await.map_err(|_| Fault::Away)?;
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
