//! What is written on the records of one batch, one after the other, and what is reported of them.
//!
//! Must not decide which batch is edited.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    super::{
        recent::{Recent, TRACED_MAX, carried, dead_letter, report, seen},
        settings::InjectSettings,
    },
    attempts::Parents,
};
use crate::{
    event::{Candidates, Descent, Name, Traced},
    kafka::wire::{
        edit::{NewHeaders, put_header},
        record::Record,
    },
    lineage::{Parent, Target},
    propagation::{
        Carried, DeadLetter, Evidence, HeaderChoice, IdSource, NewContext, Pattern, Sampling, Sent,
        SpanId, Traceparent,
    },
};

/// Writes the headers of one batch, record by record.
pub(super) struct Writer<'w> {
    pub(super) settings: &'w InjectSettings,
    pub(super) topic: Name,
    /// The topic's name says that dead letters go there.
    pub(super) dead_letters: bool,
    pub(super) ids: Option<IdSource>,
    pub(super) number: u64,
    pub(super) sent_ms: i64,
    pub(super) threshold: u64,
    pub(super) lineage: Ancestry<'w>,
    /// Records written so far.
    pub(super) at: i64,
    pub(super) now: Instant,
    /// The first record is reported even where its trace is not recorded.
    pub(super) keeps_first: bool,
    /// The batch is part of a transaction.
    pub(super) transactional: bool,
    pub(super) traced: Vec<Traced>,
    pub(super) unrecorded: Option<Box<Traced>>,
    pub(super) descent: Vec<Descent>,
    /// The headers of a record that carries nothing, comes from nothing known and is not sampled.
    pub(super) bare: Option<Pattern>,
}

/// Counts one record under its parent's topic.
pub(crate) fn descend(all: &mut Vec<Descent>, parent: Option<&Parent>, now: Instant) {
    let from = parent.map(|p| &p.topic);
    let evidence = parent.map_or(Evidence::Root, |p| p.evidence);
    let waited = parent.map_or(Duration::ZERO, |p| {
        now.saturating_duration_since(p.delivered)
    });
    let same = |d: &&mut Descent| d.from.as_ref() == from && d.evidence == evidence;
    if let Some(known) = all.iter_mut().find(same) {
        known.records = known.records.saturating_add(1);
        known.waited = known.waited.saturating_add(waited);
        return;
    }
    all.push(Descent {
        from: from.cloned(),
        evidence,
        records: 1,
        waited,
    });
}

/// Where the records of one batch come from.
pub(super) enum Ancestry<'w> {
    /// Nothing was delivered.
    None,
    /// To be found, record by record.
    New {
        recent: &'w Recent,
        target: Target,
        now: Instant,
        found: Parents,
    },
    /// Found at the first attempt.
    Known {
        parents: Arc<[Option<Parent>]>,
        at: usize,
    },
}

impl Ancestry<'_> {
    fn parent(&mut self, record: &Record<'_>, carried: &Carried<'_>) -> Option<&Parent> {
        match self {
            Self::None => None,
            Self::New {
                recent,
                target,
                now,
                found,
            } => {
                // What carries a context of its own is not given another.
                let parent = if carried.is_traced() {
                    None
                } else {
                    recent.parent(*target, record, carried, *now)
                };
                found.push(parent);
                found.last().and_then(Option::as_ref)
            }
            Self::Known { parents, at } => {
                let parent = parents.get(*at);
                *at = at.saturating_add(1);
                parent.and_then(Option::as_ref)
            }
        }
    }
}

impl Writer<'_> {
    /// What a record may come from besides its parent; what a transaction writes is linked to all that it read.
    fn candidates(
        &self,
        record: &Record<'_>,
        carried: &Carried<'_>,
        parent: Option<SpanId>,
    ) -> Candidates {
        match &self.lineage {
            Ancestry::New {
                recent,
                target,
                now,
                ..
            } if !self.transactional => recent.candidates(*target, record, carried, (parent, *now)),
            _ => Candidates::default(),
        }
    }

    pub(super) fn write(&mut self, record: &Record<'_>, new: &mut NewHeaders) {
        let number = self.number;
        self.number = number.wrapping_add(1);
        let Some(ids) = &self.ids else { return };
        let carried = carried(record, &self.settings.names);
        let (trace_id, span_id) = ids.pair(number);
        let parent = self.lineage.parent(record, &carried);
        let mut traceparent = Traceparent {
            trace_id: parent.map_or(trace_id, |p| p.context.trace_id),
            span_id,
            sampled: false,
            random: parent.is_none_or(|p| p.context.random),
        };
        let threshold = match parent {
            Some(parent) if parent.decided => {
                traceparent.sampled = parent.context.sampled;
                parent.threshold
            }
            _ => {
                traceparent.sampled = Sampling::default().keeps(&traceparent, self.threshold);
                Some(self.threshold)
            }
        };
        let context = NewContext {
            traceparent,
            sent: Sent {
                at_ms: self.sent_ms,
                parent: parent.map(|p| p.context.span_id),
                evidence: parent.map_or(Evidence::Root, |p| p.evidence),
            },
            sampling: Sampling {
                threshold: threshold.filter(|_| traceparent.sampled),
                randomness: None,
            },
            inherited: parent.and_then(|p| p.inherited.as_deref()),
            correlation: parent.and_then(|p| p.correlation.as_deref()),
        };
        put(self.settings, &mut self.bare, &carried, &context, new);
        let at = self.at;
        self.at = at.saturating_add(1);
        if !carried.is_traced() {
            descend(&mut self.descent, parent, self.now);
        }
        if self.traced.len() >= TRACED_MAX {
            return;
        }
        let letter = |sampled| dead_letter(&self.topic, self.dead_letters, sampled, record);
        let anyway = at == 0 && self.keeps_first;
        let told = reported(at, record, &carried, (&context, parent), letter, anyway);
        let (writes, parent) = (
            self.settings.headers != HeaderChoice::Correlation,
            parent.map(|p| p.context.span_id),
        );
        if let Some(mut told) = told.filter(|told| writes || !told.written) {
            if told.written && told.context.sampled {
                told.candidates = self.candidates(record, &carried, parent);
            }
            report(told, &mut self.traced, &mut self.unrecorded);
        }
    }
}

/// Writes the headers of one record; `bare` is the pattern of those that carry nothing and come from nothing that is known.
fn put(
    settings: &InjectSettings,
    bare: &mut Option<Pattern>,
    carried: &Carried<'_>,
    context: &NewContext<'_>,
    new: &mut NewHeaders,
) {
    let names = settings.correlation.then_some(&settings.names);
    let ids = context.traceparent;
    if context.sent.parent.is_some() || ids.sampled || !carried.is_bare() {
        settings
            .headers
            .write(carried, context, names, |key, value| new.push(key, value));
        return;
    }
    let pattern = bare.get_or_insert_with(|| {
        Pattern::new(settings.headers, context, names, |out, key, value| {
            put_header(out, key, value);
        })
    });
    new.push_encoded(pattern.count(), |out| {
        pattern.write(out, ids.trace_id, ids.span_id);
    });
}

/// A record whose trace is recorded, or that its program gave up on, or any; `at` behind the first of its batch.
fn reported(
    at: i64,
    record: &Record<'_>,
    carried: &Carried<'_>,
    (given, parent): (&NewContext<'_>, Option<&Parent>),
    dead_letter: impl Fn(bool) -> Option<Box<DeadLetter>>,
    anyway: bool,
) -> Option<Traced> {
    let context = match carried.traceparent {
        Some(Ok(theirs)) => theirs,
        None if !carried.is_traced() => given.traceparent,
        _ => return None,
    };
    let dead_letter = dead_letter(context.sampled);
    if !context.sampled && dead_letter.is_none() && !anyway {
        return None;
    }
    let seen = Traced {
        dead_letter,
        ..seen(at, context, record, carried)
    };
    if carried.traceparent.is_some() {
        return Some(seen);
    }
    let inherited = parent.and_then(|p| p.correlation.clone());
    Some(Traced {
        sent: Some(given.sent),
        written: true,
        correlation: seen.correlation.clone().or(inherited),
        origin: parent.map(|p| Box::new(p.origin())),
        ..seen
    })
}
