//! `throughline trace`: reads what belongs to one event from Kafka and prints its tree.
//!
//! Here because it joins what finds records (`kafka::control`) with what understands their headers (`propagation`, `trace`).
//! Must not print a key or value, write to Kafka, or bind a port.

use std::{
    io::{self, IsTerminal},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry_sdk::trace::SpanData;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{FAILED, settings, settings::Signal};
use crate::{
    cli::{Streams, Trace, TraceFormat, TracedEvent, USAGE_ERROR},
    config::Config,
    export::otlp,
    kafka::{
        control::{PartitionReader, Progress, ReadError, ReadRecord, Span, Unread, Window},
        wire::search::Needles,
    },
    propagation::{Carried, CorrelationNames},
    span::{self, Rebuilt},
    trace::{self, Node, Observed, Position, Reading, Tree},
};

/// What the spans are said to be of, unless configured.
const SERVICE: &str = "throughline trace";
/// Time for one dial, and for one answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often progress is written to a terminal.
const TICK: Duration = Duration::from_millis(500);
/// How often it is written elsewhere.
const SLOW_TICK: Duration = Duration::from_secs(5);
/// Lines about what was not read; the rest is counted.
const UNREAD_LINES_MAX: usize = 10;

/// What belongs to the event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wanted {
    /// 32 lower-case hexadecimal digits.
    trace_id: Option<String>,
    correlation_id: Option<String>,
}

impl Wanted {
    fn by_correlation(id: &str) -> Self {
        // What carried no correlation id was given its trace id as one: one id finds both.
        let is_trace_id =
            id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        Self {
            trace_id: is_trace_id.then(|| id.to_owned()),
            correlation_id: Some(id.to_owned()),
        }
    }

    fn by_record(record: &Observed) -> Self {
        Self {
            trace_id: record.context.map(|context| context.trace_id.to_string()),
            correlation_id: record.correlation_id.clone(),
        }
    }

    fn needles(&self) -> Needles {
        let (trace_id, correlation) = (self.trace_id.as_deref(), self.correlation_id.as_deref());
        let correlation = correlation.filter(|id| Some(*id) != trace_id);
        let both = [trace_id, correlation];
        Needles::new(both.into_iter().flatten().map(str::as_bytes))
    }

    /// A string can stand anywhere in a record; only these headers count.
    fn takes(&self, record: &ReadRecord, names: &CorrelationNames) -> bool {
        let carried = Carried::read(headers(record), names);
        let trace_id = carried.traceparent.and_then(Result::ok);
        let trace_id = trace_id.map(|context| context.trace_id.to_string());
        let correlation = carried.correlation_id;
        let is_trace = trace_id.is_some() && trace_id == self.trace_id;
        let is_correlated = correlation.is_some()
            && [&self.correlation_id, &self.trace_id]
                .map(Option::as_deref)
                .contains(&correlation);
        is_trace || is_correlated
    }
}

fn headers(record: &ReadRecord) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + Clone {
    let all = record.headers.iter();
    all.map(|(key, value)| (key.as_slice(), value.as_deref()))
}

fn observed(record: &ReadRecord, names: &CorrelationNames, cluster_id: Option<&str>) -> Observed {
    let position = Position::new(&record.topic, record.partition, record.offset);
    let read = Observed::read(position, record.timestamp, headers(record), names);
    Observed {
        identity: record.identity,
        aborted: record.aborted,
        ..read.or_derived(cluster_id)
    }
}

/// Runs the command and gives the exit status.
///
/// # Errors
/// Only those of writing.
pub(super) async fn trace(
    config: &Config,
    wanted: &Trace,
    streams: &mut Streams<'_>,
) -> io::Result<u8> {
    let access = match settings::access(config) {
        Ok(access) => access,
        Err(fault) => {
            writeln!(streams.err, "{fault}")?;
            return Ok(USAGE_ERROR);
        }
    };
    let collector = settings::otlp(config, Signal::Traces);
    if wanted.format == TraceFormat::Otlp && collector.is_none() {
        writeln!(
            streams.err,
            "--format otlp: nobody named a collector; give --otlp-endpoint URL, or set otlp.endpoint or \
             OTEL_EXPORTER_OTLP_ENDPOINT, and leave otlp.traces on"
        )?;
        return Ok(USAGE_ERROR);
    }
    let bootstrap = settings::bootstrap(config);
    let found = match PartitionReader::connect(bootstrap, access, TIMEOUT).await {
        Ok(reader) => Box::pin(follow(reader, config, wanted, streams)).await?,
        Err(fault) => Err(fault.to_string()),
    };
    let (tree, reading, cluster_id) = match found {
        Ok(found) => found,
        Err(why) => {
            writeln!(streams.err, "{why}")?;
            return Ok(FAILED);
        }
    };
    let text = match wanted.format {
        TraceFormat::Tree => trace::text(&tree, &reading),
        TraceFormat::Json => trace::json(&tree, &reading),
        TraceFormat::Mermaid => trace::mermaid(&tree, &reading),
        TraceFormat::Otlp => match send(&tree, cluster_id.as_deref(), collector).await {
            Ok(said) => said,
            Err(why) => {
                writeln!(streams.err, "{why}")?;
                return Ok(FAILED);
            }
        },
    };
    streams.out.write_all(text.as_bytes())?;
    Ok(0)
}

/// Sends a span for each record; what is said then, or why they are not there.
async fn send(
    tree: &Tree,
    cluster_id: Option<&str>,
    collector: Option<otlp::Settings>,
) -> Result<String, String> {
    let Some(mut collector) = collector else {
        return Err("nobody named a collector".to_owned());
    };
    settings::call(&mut collector, SERVICE);
    let records = tree.nodes.iter().map(|node| of_node(tree, node));
    let records: Vec<Rebuilt<'_>> = records.collect();
    let spans = span::rebuilt(&records, cluster_id)
        .ok_or("the operating system gives no randomness for span ids")?;
    let (count, traces) = (spans.len(), trace_ids(&spans));
    let sent = otlp::deliver(&collector, spans).await;
    sent.map_err(|fault| fault.to_string())?;
    Ok(format!(
        "{count} span{} sent; trace {}\n",
        if count == 1 { "" } else { "s" },
        traces.join(", ")
    ))
}

fn of_node<'t>(tree: &'t Tree, node: &'t Node) -> Rebuilt<'t> {
    let record = &node.observed;
    let above = node.parent.and_then(|at| tree.nodes.get(at));
    // Dead letters too carry what they were given as what they were.
    let copied = above.is_some_and(|above| above.observed.context == record.context);
    Rebuilt {
        position: &record.position,
        context: record.context,
        created: (record.sent.is_some() || record.derived) && !copied,
        sent_from: record.sent.and_then(|sent| sent.parent),
        parent: node.parent,
        evidence: node.link.as_str(),
        at_ms: node.at_ms,
        correlation: record.correlation_id.as_deref(),
        dead_letter: record.dead_letter.as_ref(),
        duplicate_of: node.duplicate_of.as_ref(),
        aborted: record.aborted,
    }
}

/// The traces that the spans are in, the root's first.
fn trace_ids(spans: &[SpanData]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for span in spans {
        let id = span.span_context.trace_id().to_string();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// The tree and the cluster's id, or why there is none.
type Followed = Result<(Tree, Reading, Option<String>), String>;

async fn follow(
    mut reader: PartitionReader,
    config: &Config,
    wanted: &Trace,
    streams: &mut Streams<'_>,
) -> io::Result<Followed> {
    let names = settings::correlation_names(&config.context);
    let now_ms = now_ms();
    let within_ms = i64::try_from(wanted.within.as_millis()).unwrap_or(i64::MAX);
    let back = Window {
        from: now_ms.saturating_sub(within_ms).max(0),
        to: None,
    };
    let cluster_id = reader.cluster_id().map(str::to_owned);
    let mut records = Vec::new();
    let mut lacking = None;
    let (what, windows) = match &wanted.event {
        TracedEvent::Trace(id) => {
            let trace_id = Some(id.clone());
            let what = Wanted {
                trace_id,
                ..Wanted::default()
            };
            (what, vec![back])
        }
        TracedEvent::Correlation(id) => (Wanted::by_correlation(id), vec![back]),
        TracedEvent::Position {
            topic,
            partition,
            offset,
        } => {
            let record = match first(&mut reader, topic, *partition, *offset).await {
                Ok(record) => record,
                Err(why) => return Ok(Err(why)),
            };
            lacking = Observed::lack(headers(&record), &names);
            let record = observed(&record, &names, cluster_id.as_deref());
            let windows = windows(&record, within_ms, now_ms);
            let what = Wanted::by_record(&record);
            records.push(record);
            (what, windows)
        }
    };
    let asked = records.first().map(|record| record.position.clone());
    let partitions = partitions(&reader, wanted);
    if partitions.is_empty() && records.is_empty() {
        return Ok(Err(
            "no topic matches; check --topics and this program's right to describe topics"
                .to_owned(),
        ));
    }
    let (spans, mut unread) = reader.plan(&partitions, &windows).await;
    let scanned = scan(&mut reader, spans, &what, &names, streams).await?;
    unread.extend(scanned.unread);
    let unread = lines(&unread, &scanned.progress);
    for line in &unread {
        writeln!(streams.err, "not read: {line}")?;
    }
    let found = scanned.found.iter();
    records.extend(found.map(|record| observed(record, &names, cluster_id.as_deref())));
    // What a sidecar saw consumed is the parent of others even so: nobody else is here to be followed.
    if let (Some(lack), [alone]) = (lacking, records.as_slice()) {
        return Ok(Err(format!(
            "{} cannot be followed: {lack}",
            alone.position
        )));
    }
    let reading = Reading { asked, unread };
    Ok(Tree::build(records)
        .map(|tree| (tree, reading, cluster_id))
        .ok_or_else(|| nothing(within_ms)))
}

/// What is said where no record was found.
fn nothing(within_ms: i64) -> String {
    let within = trace::millis(within_ms);
    let within = within.trim_start_matches('+');
    format!(
        "nothing found in the last {within}; take a larger --within, check --topics, and that producers run behind a sidecar \
         with context.mode: inject"
    )
}

/// The record that was asked for.
async fn first(
    reader: &mut PartitionReader,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<ReadRecord, String> {
    let read = reader.record(topic, partition, offset).await;
    let record = read.map_err(|fault: ReadError| fault.to_string())?;
    record.ok_or_else(|| {
        format!(
            "{topic}:{partition}:{offset} holds no record: compacted away, or the end of a transaction; take another offset"
        )
    })
}

/// Around both times of a record: the topic's may be that of the event, long before it was sent.
fn windows(record: &Observed, within_ms: i64, now_ms: i64) -> Vec<Window> {
    let around = |at: i64| {
        let to = at.saturating_add(within_ms);
        Window {
            from: at.saturating_sub(within_ms).max(0),
            to: (to < now_ms).then_some(to),
        }
    };
    let (record_ms, sent_ms) = (record.record_ms, record.sent_ms());
    if record_ms.abs_diff(sent_ms) <= within_ms.unsigned_abs() {
        let (early, late) = (record_ms.min(sent_ms), record_ms.max(sent_ms));
        let from = around(early).from;
        return vec![Window {
            from,
            ..around(late)
        }];
    }
    vec![around(record_ms), around(sent_ms)]
}

fn partitions(reader: &PartitionReader, wanted: &Trace) -> Vec<(Arc<str>, i32)> {
    let topics = reader.topics().iter().filter(|topic| match &wanted.topics {
        Some(pattern) => pattern.is_match(&topic.name),
        None => !topic.internal,
    });
    topics
        .flat_map(|topic| {
            let all = topic.partitions.iter();
            all.map(|(partition, _)| (Arc::clone(&topic.name), *partition))
        })
        .collect()
}

/// What a scan gave.
struct Scanned {
    found: Vec<ReadRecord>,
    unread: Vec<Unread>,
    progress: Arc<Progress>,
}

/// Scans, and says on stderr how far it is.
async fn scan(
    reader: &mut PartitionReader,
    spans: Vec<Span>,
    what: &Wanted,
    names: &CorrelationNames,
    streams: &mut Streams<'_>,
) -> io::Result<Scanned> {
    let progress = Arc::<Progress>::default();
    let began = Instant::now();
    let keep = {
        let (what, names) = (what.clone(), names.clone());
        move |record: &ReadRecord| what.takes(record, &names)
    };
    let scan = reader.scan(spans, what.needles(), keep, Arc::clone(&progress));
    tokio::pin!(scan);
    let on_terminal = io::stderr().is_terminal();
    let period = if on_terminal { TICK } else { SLOW_TICK };
    let mut ticks = interval_at(began + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut shown = false;
    let (found, unread) = loop {
        tokio::select! {
            done = &mut scan => break done,
            _ = ticks.tick() => {
                let line = so_far(&progress, began.elapsed());
                if on_terminal {
                    // Over the line before.
                    write!(streams.err, "\r{line}\u{1b}[K")?;
                    streams.err.flush()?;
                    shown = true;
                } else {
                    writeln!(streams.err, "{line}")?;
                }
            }
        }
    };
    if shown {
        write!(streams.err, "\r\u{1b}[K")?;
    }
    writeln!(streams.err, "{}", summary(&progress, began.elapsed()))?;
    Ok(Scanned {
        found,
        unread,
        progress,
    })
}

/// Records per second, whole.
fn rate(records: u64, elapsed: Duration) -> u64 {
    let micros = elapsed.as_micros().max(1);
    let rate = u128::from(records)
        .saturating_mul(1_000_000)
        .checked_div(micros);
    rate.and_then(|rate| u64::try_from(rate).ok()).unwrap_or(0)
}

fn so_far(progress: &Progress, elapsed: Duration) -> String {
    let records = progress.records.load(Relaxed);
    let (passed, planned) = (
        progress.passed.load(Relaxed),
        progress.planned.load(Relaxed),
    );
    let share = passed.saturating_mul(100).checked_div(planned);
    format!(
        "{} % scanned: {records} records, {} records/s",
        share.unwrap_or(0).min(100),
        rate(records, elapsed)
    )
}

fn summary(progress: &Progress, elapsed: Duration) -> String {
    let records = progress.records.load(Relaxed);
    let megabytes = progress.bytes.load(Relaxed) / 1_000_000;
    format!(
        "{records} records scanned in {}.{:03} s ({} records/s, {megabytes} MB)",
        elapsed.as_secs(),
        elapsed.subsec_millis(),
        rate(records, elapsed)
    )
}

/// What was not read, a line each.
fn lines(unread: &[Unread], progress: &Progress) -> Vec<String> {
    let mut lines: Vec<String> = unread
        .iter()
        .take(UNREAD_LINES_MAX)
        .map(|Unread { span, reason }| format!("{}:{}: {reason}", span.topic, span.partition))
        .collect();
    let more = unread.len().saturating_sub(UNREAD_LINES_MAX);
    if more > 0 {
        lines.push(format!("{more} more partitions"));
    }
    let unreadable = progress.unreadable.load(Relaxed);
    if unreadable > 0 {
        lines.push(format!(
            "{unreadable} batches: damaged, too large once decompressed, or written before Kafka 0.11"
        ));
    }
    let not_kept = progress.not_kept.load(Relaxed);
    if not_kept > 0 {
        lines.push(format!(
            "{not_kept} more records of this event; take a smaller --within or fewer --topics"
        ));
    }
    lines
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(headers: &[(&str, &str)]) -> ReadRecord {
        let owned = |text: &str| text.as_bytes().to_vec();
        ReadRecord {
            topic: "orders".into(),
            partition: 0,
            offset: 7,
            timestamp: 1_000_000,
            aborted: false,
            identity: 3,
            headers: headers
                .iter()
                .map(|(key, value)| (owned(key), Some(owned(value))))
                .collect(),
        }
    }

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_headers_that_name_the_event_count() {
        let names = CorrelationNames::default();
        let by_id = Wanted::by_correlation(ID);
        for (headers, takes) in [
            (&[("traceparent", PARENT)][..], true),
            (&[("correlation-id", ID)], true),
            (&[("X-Correlation-ID", ID)], true),
            (&[("note", ID)], false),
            (&[("traceparent", "00-1")], false),
        ] {
            assert_eq!(by_id.takes(&record(headers), &names), takes, "{headers:?}");
        }
        let plain = Wanted::by_correlation("order-7");
        assert_eq!(plain.trace_id, None);
        assert!(plain.takes(&record(&[("correlation-id", "order-7")]), &names));
        assert!(!plain.takes(&record(&[("correlation-id", "order-77")]), &names));
        assert!(!plain.takes(&record(&[("traceparent", PARENT)]), &names));
    }

    #[test]
    fn both_times_of_a_record_are_searched_around() {
        let names = CorrelationNames::default();
        let near = observed(&record(&[("correlation-id", "a")]), &names, None);
        assert_eq!(
            windows(&near, 10, 2_000_000),
            [Window {
                from: 999_990,
                to: Some(1_000_010)
            }]
        );
        assert_eq!(
            windows(&near, 10, 1_000_005)[0].to,
            None,
            "the window is still open"
        );
        let mut far = near;
        far.sent = Some(crate::propagation::Sent {
            at_ms: 5_000_000,
            parent: None,
            evidence: crate::propagation::Evidence::Root,
        });
        let both = windows(&far, 10, 9_000_000);
        assert_eq!(both.len(), 2);
        assert_eq!(both[1].from, 4_999_990);
        far.record_ms = 4_999_995;
        let one = windows(&far, 10, 9_000_000);
        assert_eq!(
            (one.len(), one[0].from, one[0].to),
            (1, 4_999_985, Some(5_000_010))
        );
    }

    #[test]
    fn rates_and_shares_do_not_divide_by_zero() {
        let progress = Progress::default();
        assert_eq!(
            so_far(&progress, Duration::ZERO),
            "0 % scanned: 0 records, 0 records/s"
        );
        progress.records.store(3_000_000, Relaxed);
        assert_eq!(
            summary(&progress, Duration::from_millis(1_500)),
            "3000000 records scanned in 1.500 s (2000000 records/s, 0 MB)"
        );
    }
}
