//! Which entries are made, and what is in them.
//!
//! Must not keep an entry, nor more of a topic than what it spent in this second.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::{Entry, Field, Kind, entry::hex};
use crate::{
    event::{Name, RecordView, SetAside, SpanIds, Stamp, Traced},
    propagation::{Traceparent, derive},
    redaction::Redaction,
    span::{SlowAfter, SlowIn, semconv},
};

/// Topics whose rate is kept; of more nothing is told.
pub const TOPICS_MAX: usize = 10_000;
/// Over which a rate is counted.
const SECOND: Duration = Duration::from_secs(1);

/// What the log is told.
pub struct Settings {
    /// What there is an entry for.
    pub kinds: Vec<Kind>,
    /// Entries per second, topic and kind.
    pub per_second: u32,
    /// What is slow in a topic.
    pub slow_after: SlowIn,
    /// The configured name of the cluster.
    pub cluster_name: Option<String>,
    /// What is not shown of texts; may change while running.
    pub redaction: Arc<ArcSwap<Redaction>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("kinds", &self.kinds)
            .field("per_second", &self.per_second)
            .finish_non_exhaustive()
    }
}

/// Where and when a record was seen.
#[derive(Debug, Clone, Copy)]
pub struct Place<'e> {
    /// When.
    pub at: Stamp,
    /// Client id; empty where none is known.
    pub client: &'e str,
    /// Topic.
    pub topic: &'e Name,
    /// Partition.
    pub partition: i32,
    /// Offset, where it is known.
    pub offset: Option<i64>,
    /// On its way to the broker; else to a consumer.
    pub sent: bool,
    /// Group that reads it, or read what it was.
    pub group: Option<&'e Name>,
}

/// What is known of a record besides.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'e> {
    /// What the dataplane told of it.
    pub traced: Option<&'e Traced>,
    /// What it carries.
    pub shown: Option<&'e RecordView>,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub enum What<'e> {
    /// A publish of so many records took so long.
    SlowPublish(Duration, u64),
    /// It was delivered late.
    SlowDelivery,
    /// A publish of so many records failed with this error.
    Failed(&'static str, u64),
    /// A program set it aside.
    SetAside(&'e SetAside),
    /// It was there before, in this way.
    Duplicate(&'static str),
    /// Its schema does not hold, for this reason.
    Schema(&'static str),
    /// Its trace is recorded.
    Sampled,
}

impl What<'_> {
    /// The kind of entry.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::SlowPublish(..) | Self::SlowDelivery => Kind::Slow,
            Self::Failed(..) => Kind::Error,
            Self::SetAside(letter) if letter.retry => Kind::Retry,
            Self::SetAside(_) => Kind::DeadLetter,
            Self::Duplicate(_) => Kind::Duplicate,
            Self::Schema(_) => Kind::Schema,
            Self::Sampled => Kind::Sampled,
        }
    }

    const fn sentence(&self, sent: bool) -> &'static str {
        match self {
            Self::SlowPublish(..) => "a publish took longer than the objective of its topic",
            Self::SlowDelivery => "a record was delivered later than the objective of its topic",
            Self::Failed(..) => "a publish failed",
            Self::SetAside(letter) if letter.retry => {
                "a program set a record aside, to try it again"
            }
            Self::SetAside(_) => "a program gave up on a record",
            Self::Duplicate(_) => "a record was there before",
            Self::Schema(_) => "what a value says of its schema does not hold",
            Self::Sampled if sent => "a record was sent",
            Self::Sampled => "a record was delivered",
        }
    }
}

/// What was spent of a topic's rate in its current second, by kind.
#[derive(Debug)]
struct Spent {
    began: Instant,
    by_kind: [u32; Kind::ALL.len()],
}

/// Makes entries.
#[derive(Debug)]
pub struct Log {
    settings: Settings,
    spent: HashMap<Name, Spent>,
    cluster: Option<String>,
    left_out: u64,
}

impl Log {
    /// With these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            spent: HashMap::new(),
            cluster: None,
            left_out: 0,
        }
    }

    /// The cluster id, once it is known.
    pub fn set_cluster(&mut self, id: &str) {
        if self.cluster.as_deref() != Some(id) {
            self.cluster = Some(id.to_owned());
        }
    }

    /// Whether there are entries of this kind.
    #[must_use]
    pub fn wants(&self, kind: Kind) -> bool {
        self.settings.kinds.contains(&kind)
    }

    /// What is slow in a topic; `None` where nobody wants to know.
    pub fn slow_after(&mut self, topic: &Name) -> Option<SlowAfter> {
        self.wants(Kind::Slow)
            .then(|| (self.settings.slow_after)(topic))
    }

    /// Takes one of the entries that there may be in this second; what there is no room for is counted.
    pub fn admits(&mut self, kind: Kind, topic: &Name, now: Instant) -> bool {
        if !self.wants(kind) {
            return false;
        }
        let room = self.room(kind, topic, now);
        if !room {
            self.leave_out(1);
        }
        room
    }

    /// Whether [`Self::admits`] would take one more.
    #[must_use]
    pub fn has_room(&self, kind: Kind, topic: &Name, now: Instant) -> bool {
        let Some(spent) = self.spent.get(topic) else {
            return self.spent.len() < TOPICS_MAX;
        };
        let over = now.saturating_duration_since(spent.began) >= SECOND;
        let count = spent.by_kind.get(kind as usize);
        over || count.is_some_and(|count| *count < self.settings.per_second)
    }

    /// So many records that were worth an entry have none.
    pub fn leave_out(&mut self, records: u64) {
        self.left_out = self.left_out.saturating_add(records);
    }

    /// Records that were worth an entry and have none, since the start: at least so many.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn room(&mut self, kind: Kind, topic: &Name, now: Instant) -> bool {
        if self.spent.len() >= TOPICS_MAX && !self.spent.contains_key(topic) {
            return false;
        }
        let spent = self
            .spent
            .entry(Arc::clone(topic))
            .or_insert_with(|| Spent {
                began: now,
                by_kind: Default::default(),
            });
        if now.saturating_duration_since(spent.began) >= SECOND {
            (spent.began, spent.by_kind) = (now, Default::default());
        }
        let most = self.settings.per_second;
        match spent.by_kind.get_mut(kind as usize) {
            Some(count) if *count < most => {
                *count = count.saturating_add(1);
                true
            }
            _ => false,
        }
    }

    /// Forgets topics of which nothing was told for a while.
    pub fn tick(&mut self, now: Instant) {
        self.spent
            .retain(|_, spent| now.saturating_duration_since(spent.began) < SECOND);
    }

    /// The entry of something that was admitted.
    #[must_use]
    pub fn entry(&self, what: What<'_>, place: Place<'_>, said: Said<'_>) -> Entry {
        let redaction = self.settings.redaction.load();
        let mut fields = Fields {
            redaction: &redaction,
            all: Vec::new(),
        };
        let ids = self.ids(place, said);
        fields.text(semconv::SYSTEM, semconv::KAFKA);
        if let Some(cluster) = &self.cluster {
            fields.text(semconv::CLUSTER, cluster);
        }
        if let Some(name) = &self.settings.cluster_name {
            fields.text(semconv::CLUSTER_NAME, name);
        }
        fields.place(place);
        fields.what(what);
        fields.said(place, said, ids);
        Entry {
            at_ms: place.at.wall_ms,
            kind: what.kind(),
            sentence: what.sentence(place.sent),
            ids,
            fields: fields.all,
        }
    }

    /// Trace and span of a record: as the dataplane told, as it carries them, or as its position says where it carries none.
    fn ids(&self, place: Place<'_>, said: Said<'_>) -> Option<SpanIds> {
        if let Some(traced) = said.traced {
            return Some(traced.ids());
        }
        let shown = said.shown?;
        let of = |context: Traceparent| (context.trace_id.bytes(), context.span_id.bytes());
        if let Some(context) = shown.context {
            return Some(of(context));
        }
        if shown.traced_otherwise {
            return None;
        }
        let cluster = self.cluster.as_deref()?;
        let (trace_id, span_id) = derive(cluster, place.topic, place.partition, place.offset?)?;
        Some((trace_id.bytes(), span_id.bytes()))
    }
}

/// Fields of one entry.
struct Fields<'r> {
    redaction: &'r Redaction,
    all: Vec<(Cow<'static, str>, Field)>,
}

impl Fields<'_> {
    fn text(&mut self, name: &'static str, text: &str) {
        let text = self.redaction.text(text).into_owned();
        self.all.push((name.into(), Field::Text(text)));
    }

    fn int(&mut self, name: &'static str, number: impl TryInto<i64>) {
        let number = number.try_into().unwrap_or(i64::MAX);
        self.all.push((name.into(), Field::Int(number)));
    }

    fn seconds(&mut self, name: &'static str, span: Duration) {
        // As a fraction of whole microseconds it is written as short as it is.
        #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53 µs, 285 years")]
        let seconds = span.as_micros() as f64 / 1e6;
        self.all.push((name.into(), Field::Float(seconds)));
    }

    fn place(&mut self, place: Place<'_>) {
        let operation = if place.sent {
            semconv::SEND
        } else {
            semconv::FETCH
        };
        self.text(semconv::OPERATION_NAME, operation);
        self.text(semconv::DESTINATION, place.topic);
        self.text(semconv::PARTITION, &place.partition.to_string());
        if let Some(offset) = place.offset {
            self.int(semconv::OFFSET, offset);
        }
        if let Some(group) = place.group.filter(|group| !group.is_empty()) {
            self.text(semconv::GROUP, group);
        }
        if !place.client.is_empty() {
            self.text(semconv::CLIENT_ID, place.client);
        }
    }

    fn what(&mut self, what: What<'_>) {
        match what {
            What::SlowPublish(took, records) => {
                self.seconds(semconv::PUBLISH_SECONDS, took);
                self.int(semconv::BATCH_COUNT, records);
            }
            What::Failed(error, records) => {
                self.text(semconv::ERROR_TYPE, error);
                self.int(semconv::BATCH_COUNT, records);
            }
            What::SetAside(letter) => self.set_aside(letter),
            What::Duplicate(class) => self.text(semconv::DUPLICATE_CLASS, class),
            What::Schema(reason) => self.text(semconv::SCHEMA_FAILURE, reason),
            What::SlowDelivery | What::Sampled => {}
        }
    }

    fn set_aside(&mut self, letter: &SetAside) {
        let name = if letter.retry {
            semconv::RETRY_ORIGIN
        } else {
            semconv::ORIGIN
        };
        match (&letter.topic, letter.position) {
            (Some(topic), Some((partition, offset))) => {
                self.text(name, &format!("{topic}:{partition}:{offset}"));
            }
            (Some(topic), None) => self.text(name, topic),
            (None, _) => {}
        }
        self.text(semconv::FAILURE_CATEGORY, letter.category.as_str());
        if let Some(class) = &letter.exception_class {
            self.text(semconv::EXCEPTION_TYPE, class);
        }
    }

    fn said(&mut self, place: Place<'_>, said: Said<'_>, ids: Option<SpanIds>) {
        let told = said.traced.and_then(|traced| traced.correlation.as_deref());
        let carried = said.shown.and_then(|shown| shown.correlation.as_deref());
        let trace_id = ids.map(|(trace_id, _)| hex(&trace_id));
        // A record that the dataplane told of stands under its trace id where nothing else was said; a derived one under nothing.
        let stands = said.traced.filter(|traced| !traced.derived);
        let stands = stands.and(trace_id.as_deref());
        match told.or(carried).or(stands) {
            // An id of ours, and no text from outside.
            Some(id) if trace_id.as_deref() == Some(id) => {
                let name = semconv::CONVERSATION_ID.into();
                self.all.push((name, Field::Text(id.to_owned())));
            }
            Some(id) => self.text(semconv::CONVERSATION_ID, id),
            None => {}
        }
        let published = said.shown.map(|shown| shown.published_ms);
        let published = published.or(said.traced.and_then(|traced| traced.published_ms));
        if let Some(ms) = published.filter(|_| !place.sent)
            && let Ok(took) = u64::try_from(place.at.wall_ms.saturating_sub(ms))
        {
            self.seconds(semconv::END_TO_END_SECONDS, Duration::from_millis(took));
        }
        let size = said.shown.map(|shown| (shown.body_bytes, shown.tombstone));
        let size = size.or(said
            .traced
            .map(|traced| (traced.body_bytes, traced.tombstone)));
        if let Some((bytes, tombstone)) = size {
            self.int(semconv::BODY_SIZE, bytes);
            if tombstone {
                let name = semconv::TOMBSTONE.into();
                self.all.push((name, Field::Bool(true)));
            }
        }
        if let Some(shown) = said.shown {
            self.shown(shown);
        }
    }

    /// What was asked for; it was redacted where the record was read, by the rules that held then.
    fn shown(&mut self, shown: &RecordView) {
        if let Some(message) = &shown.exception_message {
            self.text(semconv::EXCEPTION_MESSAGE, message);
        }
        let headers = shown
            .headers
            .iter()
            .map(|one| (semconv::HEADER_PREFIX, one));
        let fields = shown.fields.iter().map(|one| (semconv::VALUE_PREFIX, one));
        for (prefix, (name, text)) in headers.chain(fields) {
            let text = self.redaction.text(text).into_owned();
            let name = format!("{prefix}{name}").into();
            self.all.push((name, Field::Text(text)));
        }
    }
}
