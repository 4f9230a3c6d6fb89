//! The audit trail: who used what, and who was refused what, as entries that a file or a log pipeline keeps.
//!
//! The same thing done again is one entry with a count, at most one per interval, so that the trail is bounded by what is used and not
//! by traffic. Pure over events and the time they carry. Must not hold a password, a token, a key or a value, and must not
//! write anywhere: whoever keeps the trail implements [`Sink`].

mod identity;

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use crate::event::{
    Answer, Delivered, Event, EventKind, Facts, Name, Produced, PublishOutcome, Refusal, Stamp,
    UNRESOLVED,
};
use identity::Identities;
pub use identity::{MAX_CONNECTIONS, Who};

/// Most (who, action, what) told apart; past it entries are counted as dropped.
pub const MAX_USES: usize = 20_000;
/// A use not seen again for this many intervals is forgotten; the next one is told at once.
const FORGET_INTERVALS: u32 = 2;

/// What somebody did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Sent its first request beside those that every connection begins with.
    Connected,
    /// Was let in.
    Authenticated,
    /// Was not let in.
    AuthenticationFailed,
    /// Wrote records to a topic.
    Produced,
    /// Was given records of a topic.
    Consumed,
    /// Was a member of a group, or committed for one.
    UsedGroup,
    /// Was refused something for want of rights.
    Refused,
}

/// One line of the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When it was last seen, ms since the Unix epoch.
    pub at_ms: i64,
    /// When the first of `count` was seen.
    pub since_ms: i64,
    /// What was done.
    pub action: Action,
    /// By whom.
    #[serde(flatten)]
    pub who: Arc<Who>,
    /// To what.
    #[serde(flatten)]
    pub what: What,
    /// How often since the entry before it; for `produced` and `consumed` the number of records.
    pub count: u64,
}

/// What something was done to; what does not apply is left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct What {
    /// Topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<Name>,
    /// Group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
    /// Protocol name of the refused request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<&'static str>,
    /// Kind of the refused resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<&'static str>,
    /// Which one, where the answer said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
}

/// Keeps the trail. Must not block.
pub trait Sink {
    /// Takes one entry, or drops and counts it.
    fn entry(&mut self, entry: Entry);
}

type UseKey = (Action, Arc<Who>, What);

#[derive(Debug)]
struct Use {
    count: u64,
    since_ms: i64,
    last_ms: i64,
    told: Instant,
}

/// Makes entries of events.
#[derive(Debug)]
pub struct Trail {
    interval: Duration,
    identities: Identities,
    uses: HashMap<UseKey, Use>,
    dropped: u64,
}

impl Trail {
    /// One entry per use and `interval`; the first of each at once.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            identities: Identities::default(),
            uses: HashMap::new(),
            dropped: 0,
        }
    }

    /// Uses that could not be told apart since the start, because there were too many.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes one event.
    pub fn take(&mut self, event: &Event, sink: &mut dyn Sink) {
        match &event.kind {
            EventKind::Opened | EventKind::ConnectFailed { .. } => {}
            EventKind::Identified { software, version } => {
                self.identities.software(event, software, version);
            }
            EventKind::Closed { .. } => self.identities.closed(event.connection.id),
            EventKind::Answered(answer) => self.answered(answer, event, sink),
        }
    }

    fn answered(&mut self, answer: &Answer, event: &Event, sink: &mut dyn Sink) {
        if let Facts::Authenticated {
            mechanism,
            accepted,
            principal,
        } = &answer.facts
        {
            // A name that was not accepted is that of the attempt, not of the connection.
            let claimed = self.identities.claim(event, mechanism, principal.as_ref());
            let action = if *accepted {
                self.identities.accept(event, &claimed);
                Action::Authenticated
            } else {
                Action::AuthenticationFailed
            };
            self.used(action, claimed, What::default(), 1, event.at, sink);
            return;
        }
        let Some(who) = self.identities.of(event) else {
            self.dropped = self.dropped.saturating_add(1);
            return;
        };
        let refusals = answer.refusals();
        // Before that a client may not have said yet who it is: some log in first.
        let does = !refusals.is_empty() || !matches!(answer.facts, Facts::None);
        if does && self.identities.greet(event.connection.id) {
            let nothing = What::default();
            self.used(
                Action::Connected,
                Arc::clone(&who),
                nothing,
                1,
                event.at,
                sink,
            );
        }
        for Refusal { resource, name } in refusals {
            let what = What {
                api: Some(answer.operation),
                resource: Some(resource),
                name,
                ..What::default()
            };
            self.used(Action::Refused, Arc::clone(&who), what, 1, event.at, sink);
        }
        for (action, what, count) in uses(&answer.facts) {
            self.used(action, Arc::clone(&who), what, count, event.at, sink);
        }
    }

    fn used(
        &mut self,
        action: Action,
        who: Arc<Who>,
        what: What,
        count: u64,
        at: Stamp,
        sink: &mut dyn Sink,
    ) {
        let key = (action, who, what);
        if let Some(known) = self.uses.get_mut(&key) {
            if known.count == 0 {
                known.since_ms = at.wall_ms;
            }
            known.count = known.count.saturating_add(count);
            known.last_ms = at.wall_ms;
            return;
        }
        if self.uses.len() >= MAX_USES {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let first = Use {
            count,
            since_ms: at.wall_ms,
            last_ms: at.wall_ms,
            told: at.mono,
        };
        sink.entry(entry(&key, &first));
        self.uses.insert(key, Use { count: 0, ..first });
    }

    /// Tells what went on since it was told last, where the interval has passed.
    pub fn tick(&mut self, now: Instant, sink: &mut dyn Sink) {
        let forget = self.interval.saturating_mul(FORGET_INTERVALS);
        let interval = self.interval;
        self.uses.retain(|key, known| {
            let age = now.saturating_duration_since(known.told);
            if known.count == 0 {
                return age < forget;
            }
            if age >= interval {
                sink.entry(entry(key, known));
                (known.count, known.told) = (0, now);
            }
            true
        });
    }

    /// Tells what is left.
    pub fn finish(&mut self, sink: &mut dyn Sink) {
        for (key, known) in self.uses.drain().filter(|(_, known)| known.count > 0) {
            sink.entry(entry(&key, &known));
        }
    }
}

fn entry((action, who, what): &UseKey, known: &Use) -> Entry {
    Entry {
        at_ms: known.last_ms,
        since_ms: known.since_ms,
        action: *action,
        who: Arc::clone(who),
        what: what.clone(),
        count: known.count,
    }
}

/// What an answer says was done, beside refusals.
fn uses(facts: &Facts) -> Vec<(Action, What, u64)> {
    match facts {
        Facts::Produced(produced) => records_sent(produced),
        Facts::Delivered(delivered) => records_given(delivered),
        Facts::Settled(settled) if settled.parts.iter().any(|part| part.error.is_none()) => {
            vec![of_group(&settled.group)]
        }
        Facts::Membership(membership) => vec![of_group(&membership.group)],
        _ => Vec::new(),
    }
}

fn of_group(group: &Name) -> (Action, What, u64) {
    let what = What {
        group: Some(Arc::clone(group)),
        ..What::default()
    };
    (Action::UsedGroup, what, 1)
}

fn records_sent(produced: &Produced) -> Vec<(Action, What, u64)> {
    let taken = produced.parts.iter().filter(|part| {
        let outcome = part.outcome;
        let taken = matches!(outcome, PublishOutcome::Acknowledged { .. });
        taken || outcome == PublishOutcome::NotAsked
    });
    // Formats before v2 do not tell how many; that there was something is what matters here.
    let counts = taken.map(|part| (&part.topic, part.records.max(1)));
    by_topic(Action::Produced, counts, None)
}

fn records_given(delivered: &Delivered) -> Vec<(Action, What, u64)> {
    let counts = delivered.parts.iter().map(|part| {
        let records = part.batches.iter().map(|batch| u64::from(batch.delivered));
        (&part.topic, records.fold(0, u64::saturating_add))
    });
    by_topic(Action::Consumed, counts, delivered.group.as_ref())
}

fn by_topic<'a>(
    action: Action,
    counts: impl Iterator<Item = (&'a Name, u64)>,
    group: Option<&Name>,
) -> Vec<(Action, What, u64)> {
    let mut all: Vec<(Action, What, u64)> = Vec::new();
    for (topic, count) in counts.filter(|(topic, count)| *count > 0 && &***topic != UNRESOLVED) {
        let same = |(_, what, _): &&mut (_, What, _)| what.topic.as_ref() == Some(topic);
        if let Some((_, _, sum)) = all.iter_mut().find(same) {
            *sum = sum.saturating_add(count);
        } else {
            let what = What {
                topic: Some(Arc::clone(topic)),
                group: group.map(Arc::clone),
                ..What::default()
            };
            all.push((action, what, count));
        }
    }
    all
}

#[cfg(test)]
mod tests;
