//! What the engine says of single records while it takes one event, kept until the records themselves are looked at.
//!
//! Bounded; what does not fit is counted. Must not open a batch.

use std::sync::Arc;

use crate::{
    event::{Name, SentTo, SetAside},
    sli::{AMBIGUOUS, DuplicateClass, Measure, NO_GROUP},
};

/// Records noted of one event.
pub(super) const NOTES_MAX: usize = 1_024;

/// Which record.
#[derive(Debug)]
pub(super) enum Which {
    /// The one so far behind the first of a batch that was sent.
    Sent(SentTo, i32),
    /// One that was delivered.
    Delivered {
        topic: Name,
        partition: i32,
        offset: i64,
    },
}

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    Duplicate(DuplicateClass),
    SetAside(Box<SetAside>),
    Schema(&'static str),
}

/// One record and what was found of it.
#[derive(Debug)]
pub(super) struct Note {
    pub(super) which: Which,
    pub(super) group: Option<Name>,
    pub(super) found: Found,
}

/// All of one event.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) all: Vec<Note>,
    /// Records that were not noted.
    pub(super) more: u64,
    /// Who was given records of a topic; `None` where that is not one group.
    groups: Vec<(Name, Option<Name>)>,
}

impl Notes {
    /// The group that was given records of a topic, where it is known and the only one.
    pub(super) fn group_of(&self, topic: &Name) -> Option<&Name> {
        let known = self.groups.iter().find(|(name, _)| name == topic);
        known.and_then(|(_, group)| group.as_ref())
    }

    pub(super) fn take(&mut self, measure: &Measure<'_>) {
        match *measure {
            Measure::Delivered { topic, group, .. } => self.given(topic, group),
            Measure::Duplicates {
                topic,
                group,
                class,
                count,
                partition,
                offsets,
            } => {
                let named = u64::try_from(offsets.len()).unwrap_or(u64::MAX);
                self.left(class, count.saturating_sub(named));
                for offset in offsets {
                    let which = if class == DuplicateClass::ProducerRetry {
                        let to = SentTo {
                            topic: Arc::clone(topic),
                            partition,
                            base_offset: Some(*offset),
                            as_captured: false,
                        };
                        Which::Sent(to, 0)
                    } else {
                        Which::Delivered {
                            topic: Arc::clone(topic),
                            partition,
                            offset: *offset,
                        }
                    };
                    self.note(which, Some(group), Found::Duplicate(class));
                }
            }
            Measure::SetAside {
                group, letter, to, ..
            } => {
                let which = Which::Sent(to.clone(), letter.record);
                self.note(
                    which,
                    Some(group),
                    Found::SetAside(Box::new(letter.clone())),
                );
            }
            Measure::SchemaFailed {
                failure,
                records,
                of: Some((to, named)),
                ..
            } => {
                let told = u64::try_from(named.len()).unwrap_or(u64::MAX);
                self.more = self.more.saturating_add(records.saturating_sub(told));
                for record in named {
                    let which = Which::Sent(to.clone(), *record);
                    self.note(which, None, Found::Schema(failure.as_str()));
                }
            }
            _ => {}
        }
    }

    /// Of a retry one record stands for all: the broker has them once.
    fn left(&mut self, class: DuplicateClass, records: u64) {
        if class != DuplicateClass::ProducerRetry && is_told(class) {
            self.more = self.more.saturating_add(records);
        }
    }

    fn note(&mut self, which: Which, group: Option<&Name>, found: Found) {
        if matches!(found, Found::Duplicate(class) if !is_told(class)) {
            return;
        }
        if self.all.len() >= NOTES_MAX {
            self.more = self.more.saturating_add(1);
            return;
        }
        let group = group.filter(|group| is_one(group)).map(Arc::clone);
        self.all.push(Note {
            which,
            group,
            found,
        });
    }

    fn given(&mut self, topic: &Name, group: &Name) {
        let group = Some(group).filter(|group| is_one(group)).map(Arc::clone);
        let room = self.groups.len() < NOTES_MAX;
        match self.groups.iter_mut().find(|(name, _)| name == topic) {
            Some((_, known)) if *known != group => *known = None,
            Some(_) => {}
            None if room => {
                self.groups.push((Arc::clone(topic), group));
            }
            None => {}
        }
    }
}

/// What was read again on purpose, and records that are merely alike, are no news.
fn is_told(class: DuplicateClass) -> bool {
    !matches!(
        class,
        DuplicateClass::Replayed | DuplicateClass::SameContent
    )
}

fn is_one(group: &str) -> bool {
    ![NO_GROUP, AMBIGUOUS, ""].contains(&group)
}
