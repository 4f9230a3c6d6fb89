//! The canary: writes records of our own to every partition of one topic, reads them back, commits how far.
//!
//! Wires the questions (`jobs`), what judges (`sli::cluster::canary`) and the families (`shown`). Runs beside the looks at
//! the cluster on connections of its own, so that neither holds the other up. Needs the right to write to and read its topic
//! and to read its group; must not create, alter or reassign anything, nor join the group.

mod jobs;
mod shown;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use self::{
    jobs::{Done, Lane, Numbers, Told},
    shown::Shown,
};
use super::{super::sidecar::until_true, refusals::is_refusal};
use crate::{
    admin::Readiness,
    kafka::{
        control::{
            ASK_AGAIN, Access, BROKERS_MAX, BrokerLane, ByPartition, LOGIN_PAUSE, OwnRead,
            ProbeError, TopicLayout, TopicTold, UNKNOWN_TOPIC, error_name, may_retry,
        },
        dial::HostPort,
    },
    metrics::Metrics,
    propagation::IdSource,
    sli::cluster::canary::{self, Canary, Fault, Led, Looked},
};

/// The gate of `/readyz` that tells how the canary fares. It never closes: a canary is no reason to take an observer away.
pub(super) const GATE: &str = "canary";
/// Between two turns.
const TICK: Duration = Duration::from_millis(50);
/// Between two questions for the layout: usually, and where something moved.
const LAYOUT_EVERY: Duration = Duration::from_secs(5);
const LAYOUT_SOON: Duration = Duration::from_millis(300);
/// Before a lane is used again that failed.
const REST: Duration = Duration::from_millis(300);
/// Between two commits.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Answers in a row that say there is no such topic before that is believed: a broker that starts may not know it yet.
const MISSING_MAX: u32 = 3;
/// Between two settings of the gauges.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// OFFSET_OUT_OF_RANGE.
const OUT_OF_RANGE: i16 = 1;

/// What the canary is told to do.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) times: canary::Settings,
    pub(super) bootstrap: Vec<HostPort>,
    pub(super) access: Access,
}

/// What was refused, until when it is not asked again.
#[derive(Debug, Default)]
struct Refused {
    describe: Option<Instant>,
    write: Option<Instant>,
    read: Option<Instant>,
    group: Option<Instant>,
}

fn holds(until: Option<Instant>, now: Instant) -> bool {
    until.is_some_and(|until| now < until)
}

/// A running canary.
#[derive(Debug)]
pub(super) struct Running {
    settings: Settings,
    canary: Canary,
    shown: Shown,
    readiness: Arc<Readiness>,
    instance: String,
    jobs: JoinSet<Done>,
    idle: HashMap<Lane, BrokerLane>,
    busy: HashSet<Lane>,
    rest: HashMap<Lane, Instant>,
    brokers: BTreeMap<i32, HostPort>,
    topic: Option<TopicLayout>,
    missing: u32,
    layout_at: Instant,
    layout_asked: Instant,
    coordinator: Option<i32>,
    committed: BTreeMap<i32, i64>,
    commit_at: Instant,
    show_at: Instant,
    refused: Refused,
    trouble: Option<String>,
    said: String,
}

impl Running {
    pub(super) fn new(settings: Settings, metrics: &Metrics, readiness: Arc<Readiness>) -> Self {
        let now = Instant::now();
        readiness.open(GATE, "not started");
        Self {
            canary: Canary::new(settings.times),
            shown: Shown::new(metrics.recorder(now)),
            readiness,
            instance: instance(),
            jobs: JoinSet::new(),
            idle: HashMap::new(),
            busy: HashSet::new(),
            rest: HashMap::new(),
            brokers: BTreeMap::new(),
            topic: None,
            missing: 0,
            layout_at: now,
            layout_asked: now,
            coordinator: None,
            committed: BTreeMap::new(),
            commit_at: now,
            show_at: now,
            refused: Refused::default(),
            trouble: None,
            said: String::new(),
            settings,
        }
    }

    /// Goes on until told to stop.
    pub(super) async fn run(mut self, stopped: watch::Receiver<bool>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = until_true(stopped);
        tokio::pin!(stop);
        loop {
            let done = tokio::select! {
                () = &mut stop => return,
                _ = ticks.tick() => None,
                Some(done) = self.jobs.join_next() => done.ok(),
            };
            let now = Instant::now();
            // First, so that an answer that lay there while we stood still is doubted.
            self.canary.turn(now);
            if let Some(done) = done {
                self.take(now, done);
            }
            if self.canary.suspects() {
                self.look_again(now);
            }
            self.go_on(now);
            let verdicts = self.canary.verdicts();
            self.shown.take(now, verdicts);
            if now >= self.show_at {
                self.show_at = now + SHOW_EVERY;
                self.say(now);
            }
        }
    }

    /// Takes an answer.
    fn take(&mut self, now: Instant, done: Done) {
        let Done {
            lane,
            connection,
            at,
            told,
        } = done;
        self.busy.remove(&lane);
        if let Some(connection) = connection {
            self.idle.insert(lane, connection);
        }
        let node = match lane {
            Lane::Layout => -1,
            Lane::Write(node) | Lane::Read(node) | Lane::Commit(node) => node,
        };
        match told {
            Told::Layout(Ok(told)) => self.laid(now, told),
            Told::Layout(Err((broker, fault))) => {
                let login = fault.is_refused_login();
                let pause = if login { LOGIN_PAUSE } else { LAYOUT_SOON };
                self.layout_at = now + pause;
                self.trouble = Some(format!("no broker told of it: {broker}: {fault}"));
            }
            Told::Coordinator(Ok(Ok(node))) => self.coordinator = Some(node),
            Told::Coordinator(Ok(Err(code))) => self.not_committed(now, code),
            Told::Coordinator(Err(fault)) => {
                self.rest.insert(Lane::Commit(-1), now + COMMIT_EVERY);
                tracing::debug!(%fault, "the canary group's coordinator was not told");
            }
            Told::Written { sent, answer } => self.written(now, at, node, sent, answer),
            Told::Placed(answer) => self.placed(now, lane, answer),
            Told::Read { from, answer } => self.read(now, at, lane, &from, answer),
            Told::Committed {
                began,
                offsets,
                answer,
            } => self.committed(
                now,
                node,
                at.saturating_duration_since(began),
                offsets,
                answer,
            ),
        }
    }

    /// A lane failed: it rests, and who leads what is asked again.
    fn failed(&mut self, now: Instant, lane: Lane, fault: &ProbeError) {
        let login = fault.is_refused_login();
        let pause = if login { LOGIN_PAUSE } else { REST };
        self.rest.insert(lane, now + pause);
        tracing::debug!(?lane, %fault, "the canary was not answered");
        self.look_again(now);
    }

    fn look_again(&mut self, now: Instant) {
        let soon = (self.layout_asked + LAYOUT_SOON).max(now);
        self.layout_at = self.layout_at.min(soon);
    }

    fn laid(&mut self, now: Instant, told: TopicTold) {
        self.trouble = None;
        self.layout_at = now + LAYOUT_EVERY;
        self.brokers = told.brokers.into_iter().take(BROKERS_MAX).collect();
        let brokers = &self.brokers;
        self.idle.retain(|lane, connection| match lane {
            Lane::Layout => true,
            Lane::Write(node) | Lane::Read(node) | Lane::Commit(node) => {
                brokers.get(node) == Some(connection.address())
            }
        });
        match told.topic {
            Ok(layout) => self.topic_is(now, layout),
            Err(UNKNOWN_TOPIC) => {
                self.missing = self.missing.saturating_add(1);
                if self.missing < MISSING_MAX {
                    self.look_again(now);
                    return;
                }
                self.forget();
                self.trouble = Some("there is no such topic: create it".to_owned());
            }
            Err(code) if is_refusal(code) => {
                self.refused.describe = Some(now + ASK_AGAIN);
                self.canary.allow(false, false);
            }
            Err(code) => {
                self.trouble = Some(format!(
                    "the brokers tell nothing of it: {}",
                    error_name(code)
                ));
                self.look_again(now);
            }
        }
    }

    fn topic_is(&mut self, now: Instant, layout: TopicLayout) {
        self.missing = 0;
        self.refused.describe = None;
        if self
            .topic
            .as_ref()
            .is_some_and(|known| known.id != layout.id)
        {
            tracing::info!(
                topic = self.settings.topic,
                "the canary topic was created anew"
            );
            self.forget();
        }
        let led = layout.partitions.iter().map(|partition| Led {
            partition: partition.partition,
            leader: partition.leader,
            preferred: partition.replicas.first().copied().unwrap_or(-1),
        });
        let led: Vec<Led> = led.collect();
        self.shown.expect(led.iter().filter_map(|one| one.leader));
        self.canary.lay(now, &led);
        self.canary.confirm(self.layout_asked);
        // What was refused is asked again once the broker says that it would not be.
        let known = self.topic.as_ref();
        let granted = |before: Option<bool>, after| before == Some(false) && after == Some(true);
        if granted(known.and_then(|k| k.may_write), layout.may_write) {
            self.refused.write = None;
        }
        if granted(known.and_then(|k| k.may_read), layout.may_read) {
            self.refused.read = None;
        }
        self.topic = Some(layout);
        self.weigh_rights(now);
    }

    fn weigh_rights(&mut self, now: Instant) {
        let Some(topic) = &self.topic else { return };
        self.canary.allow(
            topic.may_write != Some(false) && !holds(self.refused.write, now),
            topic.may_read != Some(false) && !holds(self.refused.read, now),
        );
    }

    /// The topic is gone.
    fn forget(&mut self) {
        self.topic = None;
        self.canary.renew();
        self.committed.clear();
    }

    fn written(
        &mut self,
        now: Instant,
        at: Instant,
        node: i32,
        sent: Numbers,
        answer: Result<ByPartition<i64>, ProbeError>,
    ) {
        let answers = match answer {
            Ok(answers) => answers,
            Err(fault) => {
                self.failed(now, Lane::Write(node), &fault);
                Vec::new()
            }
        };
        for (partition, numbers) in sent {
            let told = answers.iter().find(|(of, _)| *of == partition);
            let (fault, for_good) = match told {
                Some((_, Ok(offset))) => {
                    let of = (node, partition);
                    self.canary.acknowledged(at, of, &numbers, *offset);
                    continue;
                }
                Some((_, Err(code))) => {
                    if is_refusal(*code) {
                        self.refused.write = Some(now + ASK_AGAIN);
                        self.weigh_rights(now);
                    }
                    self.look_again(now);
                    tracing::debug!(node, partition, error = error_name(*code), "canary refused");
                    (Fault::Refused, !may_retry(*code) && !is_refusal(*code))
                }
                None => (Fault::NotAnswered, false),
            };
            self.canary
                .not_acknowledged(at, partition, &numbers, fault, for_good);
        }
    }

    fn placed(
        &mut self,
        now: Instant,
        lane: Lane,
        answer: Result<ByPartition<(i64, i64)>, ProbeError>,
    ) {
        let answers = match answer {
            Ok(answers) => answers,
            Err(fault) => return self.failed(now, lane, &fault),
        };
        for (partition, range) in answers {
            match range {
                Ok((start, end)) => self.canary.place(now, partition, start, end),
                Err(code) => self.not_read(now, lane, code),
            }
        }
    }

    fn read(
        &mut self,
        now: Instant,
        at: Instant,
        lane: Lane,
        from: &[(i32, i64)],
        answer: Result<ByPartition<OwnRead>, ProbeError>,
    ) {
        let answers = match answer {
            Ok(answers) => answers,
            Err(fault) => return self.failed(now, lane, &fault),
        };
        for (partition, read) in answers {
            let Some((_, from)) = from.iter().find(|(of, _)| *of == partition) else {
                continue;
            };
            match read {
                Ok(read) => {
                    let found = read.found.iter();
                    let numbers: Vec<u64> = found
                        .filter_map(|(_, mark)| number(&self.instance, mark))
                        .collect();
                    let looked = Looked {
                        numbers: &numbers,
                        from: *from,
                        next: read.next,
                        end: read.high_watermark,
                    };
                    self.canary.looked(at, partition, looked);
                }
                Err(OUT_OF_RANGE) => {
                    // Another topic of the name, perhaps: that is looked at first.
                    self.canary.out_of_range(partition);
                    self.look_again(now);
                    self.rest
                        .insert(lane, self.layout_at.max(now) + LAYOUT_SOON);
                }
                Err(code) => self.not_read(now, lane, code),
            }
        }
    }

    fn not_read(&mut self, now: Instant, lane: Lane, code: i16) {
        if is_refusal(code) {
            self.refused.read = Some(now + ASK_AGAIN);
            self.weigh_rights(now);
        }
        tracing::debug!(?lane, error = error_name(code), "canary not read");
        self.rest.insert(lane, now + REST);
        self.look_again(now);
    }

    fn committed(
        &mut self,
        now: Instant,
        node: i32,
        took: Duration,
        offsets: Vec<(i32, i64)>,
        answer: Result<ByPartition<()>, ProbeError>,
    ) {
        let answers = match answer {
            Ok(answers) => answers,
            Err(fault) => {
                self.shown.commit_failed(false);
                self.coordinator = None;
                return self.failed(now, Lane::Commit(node), &fault);
            }
        };
        let refused = answers.iter().find_map(|(_, answer)| answer.err());
        if let Some(code) = refused {
            return self.not_committed(now, code);
        }
        self.committed.extend(offsets);
        self.shown.committed(node, took);
    }

    fn not_committed(&mut self, now: Instant, code: i16) {
        self.coordinator = None;
        self.shown.commit_failed(true);
        if is_refusal(code) {
            self.refused.group = Some(now + ASK_AGAIN);
        }
        tracing::debug!(error = error_name(code), "canary not committed");
    }

    /// Asks what is to be asked now, each broker over each lane one thing at a time.
    fn go_on(&mut self, now: Instant) {
        if now >= self.layout_at
            && !holds(self.refused.describe, now)
            && self.busy.insert(Lane::Layout)
        {
            self.layout_asked = now;
            self.layout_at = now + LAYOUT_EVERY;
            let open = self.idle.remove(&Lane::Layout);
            let known = self.brokers.values().chain(&self.settings.bootstrap);
            let (access, topic) = (self.settings.access.clone(), self.settings.topic.clone());
            jobs::layout(
                &mut self.jobs,
                open,
                known.cloned().collect(),
                access,
                topic,
            );
        }
        let nodes: Vec<i32> = self.brokers.keys().copied().collect();
        for node in nodes {
            self.write_to(now, node);
            self.read_from(now, node);
        }
        self.commit(now);
    }

    fn is_free(&self, now: Instant, lane: Lane) -> bool {
        !self.busy.contains(&lane) && !holds(self.rest.get(&lane).copied(), now)
    }

    /// The lane, where it is free.
    fn lane(&mut self, now: Instant, lane: Lane, node: i32) -> Option<(i32, BrokerLane)> {
        if !self.is_free(now, lane) {
            return None;
        }
        self.rest.remove(&lane);
        let address = self.brokers.get(&node)?.clone();
        self.busy.insert(lane);
        let open = self.idle.remove(&lane);
        let access = self.settings.access.clone();
        let open = open.unwrap_or_else(|| BrokerLane::new(address, access, jobs::TIMEOUT));
        Some((node, open))
    }

    fn write_to(&mut self, now: Instant, node: i32) {
        let lane = Lane::Write(node);
        if !self.canary.may_write() || !self.is_free(now, lane) {
            return;
        }
        let due = self.canary.due(now, node);
        if due.is_empty() {
            return;
        }
        if let Some(open) = self.lane(now, lane, node) {
            let topic = self.settings.topic.clone();
            jobs::write(&mut self.jobs, open, topic, &self.instance, due);
        }
    }

    fn read_from(&mut self, now: Instant, node: i32) {
        let lane = Lane::Read(node);
        if !self.canary.may_read() || !self.is_free(now, lane) {
            return;
        }
        let (unplaced, positions) = (self.canary.unplaced(node), self.canary.positions(node));
        if unplaced.is_empty() && positions.is_empty() {
            return;
        }
        let Some(open) = self.lane(now, lane, node) else {
            return;
        };
        let topic = self.settings.topic.clone();
        if unplaced.is_empty() {
            jobs::read(&mut self.jobs, open, topic, positions);
        } else {
            let name: Arc<str> = topic.into();
            let unplaced = unplaced.into_iter().map(|p| (Arc::clone(&name), p));
            jobs::place(&mut self.jobs, open, unplaced.collect());
        }
    }

    fn commit(&mut self, now: Instant) {
        let may = self.canary.may_read() && !holds(self.refused.group, now);
        if now < self.commit_at || !may || holds(self.rest.get(&Lane::Commit(-1)).copied(), now) {
            return;
        }
        let read = self.canary.all_positions().into_iter();
        let new = read.filter(|(partition, at)| self.committed.get(partition) != Some(at));
        let new: Vec<(i32, i64)> = new.collect();
        if new.is_empty() {
            return;
        }
        let group = self.settings.group.clone();
        match self.coordinator {
            Some(node) if self.brokers.contains_key(&node) => {
                if let Some(open) = self.lane(now, Lane::Commit(node), node) {
                    self.commit_at = now + COMMIT_EVERY;
                    let topic = self.settings.topic.clone();
                    jobs::commit(&mut self.jobs, open, group, topic, new);
                }
            }
            _ => {
                if !self.busy.contains(&Lane::Layout)
                    && let Some(open) = self.idle.remove(&Lane::Layout)
                {
                    self.commit_at = now + COMMIT_EVERY;
                    self.busy.insert(Lane::Layout);
                    jobs::coordinator(&mut self.jobs, open, group);
                }
            }
        }
    }

    /// Sets the gauges and says, once, what changed.
    fn say(&mut self, now: Instant) {
        let mut covered: BTreeMap<i32, bool> = BTreeMap::new();
        covered.extend(self.brokers.keys().map(|node| (*node, false)));
        let partitions = self.topic.iter().flat_map(|topic| &topic.partitions);
        let leaders = partitions.filter_map(|partition| partition.leader);
        covered.extend(leaders.map(|node| (node, true)));
        self.shown.gauges(&covered, &self.canary.overdue(now));
        let (note, lacking) = self.note(now, &covered);
        if note == self.said {
            return;
        }
        if lacking {
            tracing::warn!("{note}");
        } else {
            tracing::info!("{note}");
        }
        self.readiness.open(GATE, note.clone());
        self.said = note;
    }

    /// How the canary fares, and whether something is lacking.
    fn note(&self, now: Instant, covered: &BTreeMap<i32, bool>) -> (String, bool) {
        let topic = &self.settings.topic;
        if let Some(trouble) = &self.trouble {
            return (format!("topic {topic}: {trouble}"), true);
        }
        if holds(self.refused.describe, now) {
            let note = format!("nothing is written (needs WRITE and READ on topic {topic})");
            return (note, true);
        }
        let Some(laid) = &self.topic else {
            return (format!("topic {topic}: not told of yet"), false);
        };
        let mut lacks = Vec::new();
        if !self.canary.may_write() {
            lacks.push(format!("nothing is written (needs WRITE on topic {topic})"));
        } else if !self.canary.may_read() {
            lacks.push(format!(
                "nothing is read back (needs READ on topic {topic})"
            ));
        }
        if holds(self.refused.group, now) {
            let group = &self.settings.group;
            lacks.push(format!(
                "nothing is committed (needs READ on group {group})"
            ));
        }
        let bare: Vec<String> = covered
            .iter()
            .filter(|(_, is)| !**is)
            .map(|(node, _)| node.to_string())
            .collect();
        if !bare.is_empty() {
            let bare = bare.join(", ");
            lacks.push(format!(
                "brokers that lead none of its partitions and are not covered: {bare} (add partitions, or elect preferred leaders)"
            ));
        }
        let count = laid.partitions.len();
        let over = count.saturating_sub(canary::PARTITIONS_MAX);
        if over > 0 {
            lacks.push(format!("{over} partitions over the limit are not probed"));
        }
        let lacking = !lacks.is_empty();
        let rest = if lacking {
            lacks.join("; ")
        } else {
            "every broker is covered".to_owned()
        };
        (
            format!("topic {topic}, {count} partitions: {rest}"),
            lacking,
        )
    }
}

/// A name nobody else has.
fn instance() -> String {
    match IdSource::random() {
        Some(ids) => ids.pair(0).1.to_string(),
        // Without randomness the time must do.
        None => format!("{:016x}", crate::event::Stamp::now().wall_ms),
    }
}

/// The number of a record, where it is ours.
fn number(instance: &str, mark: &[u8]) -> Option<u64> {
    let mark = std::str::from_utf8(mark).ok()?;
    let (whose, number) = mark.split_once('/')?;
    (whose == instance).then(|| number.parse().ok())?
}
