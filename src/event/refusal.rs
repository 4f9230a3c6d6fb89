//! What an answer refuses for want of rights.
//!
//! Here because counters, the inventory and the audit trail say the same of it. Looks at one answer alone.

use std::sync::Arc;

use super::{Answer, Facts, Failure, Name, PublishOutcome};

/// Most resources named of one answer.
pub const MAX_REFUSALS: usize = 64;
/// Suffix of every error that says "not allowed".
const NOT_ALLOWED: &str = "_AUTHORIZATION_FAILED";

/// A resource that a client was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `topic`, `group`, `cluster`, `transactional_id`, `delegation_token`, `other`.
    pub resource: &'static str,
    /// Which one, where the answer says.
    pub name: Option<Name>,
}

impl Answer {
    /// Every resource that this answer refuses, each once.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        let mut all = Vec::new();
        match &self.facts {
            Facts::Produced(produced) => {
                for part in &produced.parts {
                    if let PublishOutcome::Failed(failure) = &part.outcome {
                        add(&mut all, failure, Some(&part.topic), None);
                    }
                }
            }
            Facts::Delivered(delivered) => {
                for part in &delivered.parts {
                    if let Some(failure) = &part.error {
                        add(
                            &mut all,
                            failure,
                            Some(&part.topic),
                            delivered.group.as_ref(),
                        );
                    }
                }
            }
            Facts::Settled(settled) => {
                for part in &settled.parts {
                    if let Some(failure) = &part.error {
                        add(&mut all, failure, Some(&part.topic), Some(&settled.group));
                    }
                }
            }
            _ => {}
        }
        // The answer as a whole repeats the worst of its parts, and says it alone where it has none.
        if let Some(resource) = self.error.as_ref().and_then(resource)
            && all.iter().all(|known| known.resource != resource)
        {
            all.push(Refusal {
                resource,
                name: None,
            });
        }
        all
    }
}

fn add(all: &mut Vec<Refusal>, failure: &Failure, topic: Option<&Name>, group: Option<&Name>) {
    let Some(resource) = resource(failure) else {
        return;
    };
    let name = match resource {
        "topic" => topic,
        "group" => group,
        _ => None,
    };
    let refusal = Refusal {
        resource,
        name: name.map(Arc::clone),
    };
    if all.len() < MAX_REFUSALS && !all.contains(&refusal) {
        all.push(refusal);
    }
}

/// What the error says was refused; `None` where it says something else.
fn resource(failure: &Failure) -> Option<&'static str> {
    let prefix = failure.name.strip_suffix(NOT_ALLOWED)?;
    Some(match prefix {
        "TOPIC" => "topic",
        "GROUP" => "group",
        "CLUSTER" => "cluster",
        "TRANSACTIONAL_ID" => "transactional_id",
        "DELEGATION_TOKEN" => "delegation_token",
        _ => "other",
    })
}
