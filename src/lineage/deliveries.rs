//! What was delivered to the program lately, by everything a later record may be recognised with.
//!
//! The one structure that telemetry keeps and the dataplane reads: the fetch pump adds a batch before its last byte leaves,
//! injection asks before a record is sent, so a record the program made from another is never asked for too early. Bounded
//! by number and age. Must not hold a record's bytes.

mod candidates;

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    chains::Chains,
    fans::Fans,
    ids::Ids,
    parent::{Delivered, Parent, Produced, Target, confidence},
};
use crate::{
    event::Name,
    propagation::{Evidence, Traceparent},
};

/// A topic whose keys repeat this often says nothing by its key.
const KEY_REPEATS_MAX: u64 = 10;
/// From so many deliveries on the share of repeated keys is looked at.
const KEY_SAMPLE_MIN: u64 = 20;
/// Records of one key, correlation id or business id that are looked at.
const CANDIDATES_MAX: usize = 64;
/// Topics whose keys are judged; more share one judgement.
const TOPICS_MAX: usize = 10_000;
/// After so long without a record that comes from it, a record with the key of one that was sent for comes from elsewhere:
/// a timer, say. What several records come from sends them together.
const CLAIM_LASTS: Duration = Duration::from_millis(250);

/// Limits and threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How long a delivered record may still be a parent.
    pub window: Duration,
    /// Delivered records remembered.
    pub records_max: usize,
    /// From this confidence on evidence makes a parent, 0 to 1.
    pub parent_confidence: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(300),
            records_max: 131_072,
            parent_confidence: 0.7,
        }
    }
}

/// Consecutive entries of one batch, and what they have in common.
#[derive(Debug)]
struct Run {
    at: Instant,
    topic: Name,
    partition: i32,
    /// Where the keys of the topic are judged.
    shape: Option<usize>,
    /// Number of its first entry that is not settled.
    unsettled: u64,
    /// One more than the number of its last entry.
    end: u64,
}

/// Records of one topic that come from a delivered one.
#[derive(Debug)]
struct Claim {
    /// Hash of the topic.
    target: u64,
    /// When the last one was sent.
    at: Instant,
    /// How many there are, with those of which it is not certain.
    made: u32,
}

impl Claim {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) <= CLAIM_LASTS
    }
}

/// When a record that something was just sent for may have more to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    /// Until there are as many as of every other one, or in the request of the last, see [`Fans::may_be_more`].
    AsOfOthers,
    /// Always: what names it is its own.
    Certain,
}

#[derive(Debug)]
struct Entry {
    /// Number of its run.
    run: u64,
    offset: i64,
    context: Traceparent,
    threshold: Option<u64>,
    decided: bool,
    correlation: Option<Arc<str>>,
    inherited: Option<Arc<str>>,
    key: Option<u64>,
    correlation_hash: Option<u64>,
    business: Box<[u64]>,
    /// What was sent that comes from it, by topic.
    claimed: Vec<Claim>,
}

impl Entry {
    fn claimed(&self, target: u64) -> Option<&Claim> {
        self.claimed.iter().find(|claim| claim.target == target)
    }

    /// When the last one was sent, where it is not the first record.
    fn claim(&mut self, target: u64, now: Instant) -> Option<Instant> {
        let mut claims = self.claimed.iter_mut();
        if let Some(claim) = claims.find(|claim| claim.target == target) {
            claim.made = claim.made.saturating_add(1);
            return Some(std::mem::replace(&mut claim.at, now));
        }
        self.claimed.push(Claim {
            target,
            at: now,
            made: 1,
        });
        None
    }
}

/// A record about to be sent, by hashes.
#[derive(Debug, Clone, Copy)]
struct Marks<'p> {
    /// Of its topic.
    target: u64,
    key: Option<u64>,
    correlation: Option<u64>,
    business: &'p [u64],
    now: Instant,
}

#[derive(Debug, Default)]
struct KeyShape {
    records: u64,
    repeats: u64,
}

#[derive(Debug, Default)]
struct Index {
    entries: VecDeque<Entry>,
    /// Number of the first entry.
    first: u64,
    /// None without an entry, but for the one that a batch is being added to.
    runs: VecDeque<Run>,
    /// Number of the first run.
    first_run: u64,
    /// Somebody asked for a parent: from then on entries are found by what marks them. A program that only reads never does.
    asked: bool,
    by_key: Chains,
    by_correlation: Chains,
    by_business: Ids,
    /// Runs not yet settled, by topic and partition, in order of delivery.
    unsettled: HashMap<(Name, i32), VecDeque<u64>>,
    unsettled_records: u64,
    shapes: Vec<KeyShape>,
    /// Where in `shapes` a topic is.
    shape_of: HashMap<Name, usize>,
    fans: Fans,
    /// When something was last delivered that is not known, by topic and in any of those that are too many.
    gaps: HashMap<Name, Instant>,
    gap_anywhere: Option<Instant>,
}

/// The recent deliveries of one program.
#[derive(Debug)]
pub struct Deliveries {
    settings: Settings,
    hasher: RandomState,
    index: Mutex<Index>,
}

impl Deliveries {
    /// Empty.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            hasher: RandomState::new(),
            index: Mutex::default(),
        }
    }

    /// Begins to add what was delivered of one partition.
    pub fn batch<'d>(&'d self, topic: &'d Name, partition: i32, now: Instant) -> Batch<'d> {
        let mut index = self.lock();
        index.expire(now, &self.settings);
        Batch {
            deliveries: self,
            index,
            topic,
            partition,
            now,
            run: None,
        }
    }

    /// Something of this topic was delivered that is not known.
    pub fn missed(&self, topic: &Name, now: Instant) {
        let mut index = self.lock();
        let gaps = &mut index.gaps;
        if gaps.len() >= TOPICS_MAX && !gaps.contains_key(topic) {
            // One more says as much as all of them: nothing is certain.
            index.gap_anywhere = Some(now);
            return;
        }
        gaps.insert(Name::clone(topic), now);
    }

    /// The program has settled everything before `offset`.
    pub fn settled(&self, topic: &Name, partition: i32, offset: i64) {
        self.lock().settle(topic, partition, offset);
    }

    /// A topic that records are about to be sent to.
    #[must_use]
    pub fn target(&self, topic: &Name) -> Target {
        Target(self.hasher.hash_one(topic))
    }

    /// The parent of a record that is about to be sent, where the evidence is good enough.
    #[must_use]
    pub fn parent(&self, target: Target, produced: Produced<'_>, now: Instant) -> Option<Parent> {
        let marks = self.marks(target, produced, now);
        let mut index = self.lock();
        index.ask();
        index.expire(now, &self.settings);
        let Some((evidence, id)) = index.evidence(&marks, self.settings.window) else {
            index.count_uncertain(&marks);
            return None;
        };
        if confidence(evidence) < self.settings.parent_confidence {
            return None;
        }
        index.claim(id, marks.target, now)?;
        let entry = index.peek(id)?;
        let run = index.run_of(entry)?;
        Some(Parent {
            context: entry.context,
            threshold: entry.threshold,
            decided: entry.decided,
            correlation: entry.correlation.clone(),
            inherited: entry.inherited.clone(),
            delivered: run.at,
            topic: Name::clone(&run.topic),
            partition: run.partition,
            offset: entry.offset,
            evidence,
        })
    }

    fn marks<'p>(&self, target: Target, produced: Produced<'p>, now: Instant) -> Marks<'p> {
        Marks {
            target: target.0,
            key: produced.key.map(|key| self.hasher.hash_one(key)),
            correlation: produced.correlation.map(|id| self.hasher.hash_one(id)),
            business: produced.business,
            now,
        }
    }

    /// Records remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds records of one partition.
#[derive(Debug)]
pub struct Batch<'d> {
    deliveries: &'d Deliveries,
    index: MutexGuard<'d, Index>,
    topic: &'d Name,
    partition: i32,
    now: Instant,
    /// Number of the run that is added to.
    run: Option<u64>,
}

impl Batch<'_> {
    /// Adds one record; one that was delivered before begins anew.
    pub fn add(&mut self, record: &Delivered<'_>) {
        let Deliveries {
            hasher, settings, ..
        } = self.deliveries;
        let index = &mut *self.index;
        if index.entries.len() >= settings.records_max {
            index.forget_first();
        }
        let run = match self.run {
            Some(run) if run >= index.first_run => run,
            _ => index.begin(self.topic, self.partition, self.now),
        };
        self.run = Some(run);
        index.add(Entry {
            run,
            offset: record.offset,
            context: record.context,
            threshold: record.threshold,
            decided: record.decided,
            // The trace id stands for itself: a record that inherits nothing else gets it too.
            correlation: record
                .correlation
                .filter(|id| !record.context.trace_id.is_written(id))
                .map(Arc::from),
            inherited: record.inherited.map(Arc::from),
            key: record.key.map(|key| hasher.hash_one(key)),
            correlation_hash: record.correlation.map(|id| hasher.hash_one(id)),
            business: record.business.into(),
            claimed: Vec::new(),
        });
    }
}

/// The one of this number, where the first has number `first`.
fn place(number: u64, first: u64) -> Option<usize> {
    usize::try_from(number.checked_sub(first)?).ok()
}

/// The number after the last.
fn behind<T>(all: &VecDeque<T>, first: u64) -> u64 {
    first.saturating_add(u64::try_from(all.len()).unwrap_or(u64::MAX))
}

impl Index {
    fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.get_mut(place(id, self.first)?)
    }

    fn peek(&self, id: u64) -> Option<&Entry> {
        self.entries.get(place(id, self.first)?)
    }

    fn run(&self, number: u64) -> Option<&Run> {
        self.runs.get(place(number, self.first_run)?)
    }

    fn run_of(&self, entry: &Entry) -> Option<&Run> {
        self.run(entry.run)
    }

    fn topic_of(&self, id: u64) -> Option<&Name> {
        Some(&self.run_of(self.peek(id)?)?.topic)
    }

    /// Begins a run; its number.
    fn begin(&mut self, topic: &Name, partition: i32, at: Instant) -> u64 {
        let number = behind(&self.runs, self.first_run);
        let next = behind(&self.entries, self.first);
        let place = (Name::clone(topic), partition);
        self.unsettled.entry(place).or_default().push_back(number);
        let shape = self.shape(topic);
        self.runs.push_back(Run {
            at,
            topic: Name::clone(topic),
            partition,
            shape,
            unsettled: next,
            end: next,
        });
        number
    }

    /// Where the keys of the topic are judged, if they are.
    fn shape(&mut self, topic: &Name) -> Option<usize> {
        if let Some(known) = self.shape_of.get(topic) {
            return Some(*known);
        }
        let number = self.shapes.len();
        if number >= TOPICS_MAX {
            return None;
        }
        self.shapes.push(KeyShape::default());
        self.shape_of.insert(Name::clone(topic), number);
        Some(number)
    }

    /// Adds to the run that was begun last.
    fn add(&mut self, entry: Entry) {
        let id = behind(&self.entries, self.first);
        self.unsettled_records = self.unsettled_records.saturating_add(1);
        self.entries.push_back(entry);
        if let Some(run) = self.runs.back_mut() {
            run.end = id.saturating_add(1);
        }
        if self.asked {
            self.mark(id);
        }
    }

    /// Makes findable what was delivered before the first question.
    fn ask(&mut self) {
        if std::mem::replace(&mut self.asked, true) {
            return;
        }
        self.by_key = Chains::starting_at(self.first);
        self.by_correlation = Chains::starting_at(self.first);
        for id in self.first..behind(&self.entries, self.first) {
            self.mark(id);
        }
    }

    /// Makes an entry findable by what marks it. None of the later ones is yet.
    fn mark(&mut self, id: u64) {
        let Some(entry) = self.entry(id) else {
            return;
        };
        let (run, key, correlation) = (entry.run, entry.key, entry.correlation_hash);
        let business = std::mem::take(&mut entry.business);
        let shared = self.by_key.push(key);
        self.by_correlation.push(correlation);
        if let Some(key) = key {
            let repeated = shared && self.is_repeated(key, run, id);
            if let Some(shape) = self.shape_of_run(run) {
                shape.records = shape.records.saturating_add(1);
                shape.repeats = shape.repeats.saturating_add(u64::from(repeated));
            }
            if shared {
                self.drop_earlier_delivery(key, id);
            }
        }
        for hash in &business {
            self.by_business.add(*hash, id);
        }
        if let Some(entry) = self.entry(id) {
            entry.business = business;
        }
    }

    fn shape_of_run(&mut self, run: u64) -> Option<&mut KeyShape> {
        let shape = self.run(run)?.shape?;
        self.shapes.get_mut(shape)
    }

    /// Whether another record of the run's topic has the key.
    fn is_repeated(&self, key: u64, run: u64, id: u64) -> bool {
        let Some(topic) = self.run(run).map(|run| &run.topic) else {
            return false;
        };
        let same = self.by_key.newest(key, CANDIDATES_MAX);
        same.is_some_and(|mut ids| {
            ids.any(|other| other != id && self.topic_of(other) == Some(topic))
        })
    }

    /// The same position delivered again is one record, not two candidates.
    fn drop_earlier_delivery(&mut self, key: u64, again: u64) {
        let Some((at, run)) = self.peek(again).and_then(|e| Some((e, self.run_of(e)?))) else {
            return;
        };
        let (offset, number) = (at.offset, at.run);
        let is_it = |id: &u64| {
            *id != again
                && self.peek(*id).is_some_and(|e| {
                    let same = |r: &Run| r.partition == run.partition && r.topic == run.topic;
                    e.offset == offset && self.run_of(e).is_some_and(same)
                })
        };
        let same = self.by_key.newest(key, CANDIDATES_MAX);
        let Some(earlier) = same.and_then(|mut same| same.find(is_it)) else {
            return;
        };
        let Some(entry) = self.entry(earlier) else {
            return;
        };
        let (correlation, business) = (
            entry.correlation_hash.take(),
            std::mem::take(&mut entry.business),
        );
        entry.key = None;
        self.by_key.remove(earlier);
        if correlation.is_some() {
            self.by_correlation.remove(earlier);
        }
        for hash in business {
            self.by_business.remove(hash, earlier);
        }
        if let Some(shape) = self.shape_of_run(number) {
            shape.records = shape.records.saturating_sub(1);
            shape.repeats = shape.repeats.saturating_sub(1);
        }
    }

    fn forget_first(&mut self) {
        let Some(entry) = self.entries.pop_front() else {
            return;
        };
        let id = self.first;
        self.first = id.saturating_add(1);
        let shared = self.by_key.pop();
        self.by_correlation.pop();
        if let Some(hash) = entry.key {
            let still = shared && self.is_repeated(hash, entry.run, id);
            if let Some(shape) = self.shape_of_run(entry.run) {
                shape.records = shape.records.saturating_sub(1);
                shape.repeats = shape.repeats.saturating_sub(u64::from(still));
            }
        }
        for hash in entry.business {
            self.by_business.remove(hash, id);
        }
        self.leave_run(id);
    }

    /// The first entry is gone, and with the last of a run the run.
    fn leave_run(&mut self, id: u64) {
        let Some(run) = self.runs.front_mut() else {
            return;
        };
        let next = id.saturating_add(1);
        let was_waiting = run.unsettled < run.end;
        if run.unsettled <= id {
            self.unsettled_records = self.unsettled_records.saturating_sub(1);
            run.unsettled = next;
        }
        if next < run.end {
            return;
        }
        let Some(run) = self.runs.pop_front() else {
            return;
        };
        let number = self.first_run;
        self.first_run = number.saturating_add(1);
        if !was_waiting {
            return;
        }
        let place = (run.topic, run.partition);
        if let Some(waiting) = self.unsettled.get_mut(&place) {
            // It is the oldest of its partition.
            if waiting.front() == Some(&number) {
                waiting.pop_front();
            }
            if waiting.is_empty() {
                self.unsettled.remove(&place);
            }
        }
    }

    fn expire(&mut self, now: Instant, settings: &Settings) {
        while let Some(first) = self.runs.front() {
            let young = now.saturating_duration_since(first.at) <= settings.window;
            if young || self.entries.is_empty() {
                return;
            }
            self.forget_first();
        }
    }

    fn settle(&mut self, topic: &Name, partition: i32, offset: i64) {
        let place = (Name::clone(topic), partition);
        let Some(mut waiting) = self.unsettled.remove(&place) else {
            return;
        };
        while let Some(number) = waiting.front().copied() {
            if !self.settle_run(number, offset) {
                break;
            }
            waiting.pop_front();
        }
        if !waiting.is_empty() {
            self.unsettled.insert(place, waiting);
        }
    }

    /// Settles what of a run stands before `offset`; true where that is all.
    fn settle_run(&mut self, number: u64, offset: i64) -> bool {
        let run = place(number, self.first_run).and_then(|at| self.runs.get_mut(at));
        let Some(run) = run else { return true };
        while run.unsettled < run.end {
            let entry = place(run.unsettled, self.first).and_then(|at| self.entries.get(at));
            if entry.is_some_and(|entry| entry.offset >= offset) {
                return false;
            }
            run.unsettled = run.unsettled.saturating_add(1);
            self.unsettled_records = self.unsettled_records.saturating_sub(1);
        }
        true
    }

    /// The strongest evidence and the one entry it names.
    fn evidence(&self, sent: &Marks<'_>, window: Duration) -> Option<(Evidence, u64)> {
        let same_key = newest(&self.by_key, sent.key);
        let same_correlation = newest(&self.by_correlation, sent.correlation);
        // What was sent for may be sent for again: only the one that there is, or that has the key as well, is certain.
        let by_correlation = same_correlation.clone().and_then(|ids| {
            self.only(ids.clone())
                .or_else(|| self.only(both(ids, same_key.clone()?)))
        });
        if let Some(id) = by_correlation
            && self
                .topic_of(id)
                .is_some_and(|topic| !self.has_gap(topic, sent.now, window))
        {
            return Some((Evidence::Header, id));
        }
        let fits = |id: &u64| {
            let of = |entry: &Entry| entry.correlation_hash == sent.correlation;
            same_correlation.is_none() || self.peek(*id).is_some_and(of)
        };
        let by_business = sent.business.iter().find_map(|hash| {
            let ids = self.by_business.newest(*hash, CANDIDATES_MAX)?;
            let one = self.one(ids.clone().filter(fits), sent, More::Certain);
            // Several records of one business id: the one with the key as well.
            one.or_else(|| {
                let keyed = both(ids, same_key.clone()?).filter(fits);
                self.one(keyed, sent, More::Certain)
            })
        });
        if let Some(id) = by_business {
            return Some((Evidence::BusinessId, id));
        }
        if let Some(ids) = same_key
            && let Some(id) = self.one(ids.filter(fits), sent, More::AsOfOthers)
            && self.peek(id).is_some_and(|entry| self.keys_tell(entry))
        {
            return Some((Evidence::Key, id));
        }
        if self.unsettled_records == 1 {
            let run = self
                .unsettled
                .values()
                .find_map(|waiting| waiting.front())?;
            return Some((Evidence::SoleInFlight, self.run(*run)?.unsettled));
        }
        None
    }

    /// The one candidate that something may still be sent for to this topic; where there is none and that is certain, the only
    /// one of those that something was just sent for.
    fn one(
        &self,
        ids: impl Iterator<Item = u64> + Clone,
        sent: &Marks<'_>,
        more: More,
    ) -> Option<u64> {
        let open = ids.clone().filter(|id| self.is_open(*id, sent, more));
        if more == More::AsOfOthers || open.clone().next().is_some() {
            return self.only(open);
        }
        self.only(ids.filter(|id| self.is_just_claimed(*id, sent)))
    }

    fn is_open(&self, id: u64, sent: &Marks<'_>, more: More) -> bool {
        let Some(entry) = self.peek(id) else {
            return false;
        };
        let Some(claim) = entry.claimed(sent.target) else {
            return true;
        };
        let Some(run) = self.run_of(entry).filter(|_| claim.is_fresh(sent.now)) else {
            return false;
        };
        match more {
            More::AsOfOthers => {
                let (of, together) = ((&run.topic, sent.target), claim.at == sent.now);
                self.fans.may_be_more(of, claim.made, together)
            }
            More::Certain => self.fans.several(&run.topic, sent.target),
        }
    }

    fn is_just_claimed(&self, id: u64, sent: &Marks<'_>) -> bool {
        let claim = self.peek(id).and_then(|entry| entry.claimed(sent.target));
        claim.is_some_and(|claim| claim.is_fresh(sent.now))
    }

    /// The only one. What has the same context is the same record: delivered again, or copied to be tried again.
    fn only(&self, ids: impl Iterator<Item = u64>) -> Option<u64> {
        let mut all = ids.filter_map(|id| Some((id, self.peek(id)?.context.span_id)));
        let (first, span) = all.next()?;
        all.all(|(_, other)| other == span).then_some(first)
    }

    /// Whether a record of this topic may have been delivered lately that is not known: another one with the same id, say.
    fn has_gap(&self, topic: &Name, now: Instant, window: Duration) -> bool {
        let gaps = self.gaps.get(topic).into_iter().chain(&self.gap_anywhere);
        let mut lately = gaps.map(|at| now.saturating_duration_since(*at) <= window);
        lately.any(|lately| lately)
    }

    /// A record that comes from this one is sent.
    fn claim(&mut self, id: u64, target: u64, now: Instant) -> Option<()> {
        let before = self.entry(id)?.claim(target, now);
        let topic = Name::clone(self.topic_of(id)?);
        if let Some(before) = before {
            self.fans.again(&topic, target, before == now);
            return Some(());
        }
        let (entries, first) = (&self.entries, self.first);
        let made = |id| {
            let entry = entries.get(place(id, first)?)?;
            entry.claimed(target).map(|claim| claim.made)
        };
        self.fans
            .first((&topic, target), id, (now, CLAIM_LASTS), made);
        Some(())
    }

    /// A record has the key of one that something was just sent for: one more of it, or something else. It tells how many are
    /// made of each.
    fn count_uncertain(&mut self, sent: &Marks<'_>) {
        let same_key = newest(&self.by_key, sent.key);
        let just = same_key.map(|ids| ids.filter(|id| self.is_just_claimed(*id, sent)));
        let Some(id) = just.and_then(|ids| self.only(ids)) else {
            return;
        };
        let Some(topic) = self.topic_of(id).cloned() else {
            return;
        };
        let claims = self.entry(id).map(|entry| entry.claimed.iter_mut());
        let claim = claims.and_then(|mut all| all.find(|claim| claim.target == sent.target));
        if let Some(claim) = claim {
            claim.made = claim.made.saturating_add(1);
            let together = claim.at == sent.now;
            self.fans.again(&topic, sent.target, together);
        }
    }

    /// Whether the keys of its topic tell its records apart.
    fn keys_tell(&self, entry: &Entry) -> bool {
        let shape = self.run_of(entry).and_then(|run| run.shape);
        let shape = shape.and_then(|number| self.shapes.get(number));
        shape.is_none_or(|shape| {
            let distinct = shape.records.saturating_sub(shape.repeats);
            shape.records < KEY_SAMPLE_MIN
                || distinct.saturating_mul(KEY_REPEATS_MAX) >= shape.records
        })
    }
}

/// The newest of a hash that are looked at.
fn newest(chains: &Chains, hash: Option<u64>) -> Option<impl Iterator<Item = u64> + Clone + '_> {
    chains.newest(hash?, CANDIDATES_MAX)
}

/// Those of the first that are among the second.
fn both<'i>(
    ids: impl Iterator<Item = u64> + Clone + 'i,
    others: impl Iterator<Item = u64> + Clone + 'i,
) -> impl Iterator<Item = u64> + Clone + 'i {
    ids.filter(move |id| others.clone().any(|other| other == *id))
}

#[cfg(test)]
#[path = "deliveries_tests.rs"]
mod tests;
