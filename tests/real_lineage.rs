//! Pipelines of real programs that know nothing of tracing, and whether the parents that the sidecars found are the true ones.
//!
//! Why: lineage is a guess from evidence, and only the truth says how good it is. Every program of `tests/clients` writes
//! into each value which records it comes from; the sidecars must not look there (but for the business id, where a pipeline
//! configures one). The test reads all topics past the sidecars and compares. `--nocapture` prints the table of README.
//! THROUGHLINE_LINEAGE_RECORDS scales it: about 240 records each (500 by default), the shapes whose producers are timers or
//! are paced among them. THROUGHLINE_LINEAGE_ONLY names pipelines with commas, THROUGHLINE_LINEAGE_HOLD_US sets
//! `lineage.hold_us_max`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking, and prints what it measured"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers},
};
use serde::Deserialize;
use serde_json::Value;
use support::{
    clients::{
        Client::{self, FranzGo, Java, Librdkafka},
        Running,
    },
    kafka::{CLUSTER_ID, Kafka, Listener, Version},
    throughline::{Throughline, ThroughlineSpec},
};
use throughline::propagation::{Carried, CorrelationNames, Sent, SpanId, TraceId, derive};
use tokio::time::Instant;

const PARTITIONS: u32 = 3;
const RUN_LIMIT: Duration = Duration::from_secs(120);
const READ_LIMIT: Duration = Duration::from_secs(120);
/// Enough records for a share of them to mean something.
const SAMPLE_MIN: usize = 100;
/// Ends the names of shapes that only a business id leads through.
const BUSINESS_ID: &str = ", business id";
/// In the names of shapes whose sidecars believe more than they do by default.
const LOWERED: &str = ", threshold 0.5";
const PRECISION_MIN: f64 = 0.99;
/// Of records with one parent whose key no other delivered record has.
const RECALL_UNIQUE_KEY_MIN: f64 = 0.95;
const RECALL_BUSINESS_ID_MIN: f64 = 0.99;
/// Shapes with one parent per record, which has its parent's key, which no other record of its topic has.
const UNIQUE_KEY: [&str; 13] = [
    "one-to-one",
    "one-to-one, 4 threads",
    "batch",
    "batch, paced",
    "filter",
    "filter, paced",
    "fan-out",
    "fan-out, paced",
    "fan-out-varying",
    "fan-out-varying, paced",
    "dead-letter",
    "transaction",
    "timer with the keys of inputs, 2 s later",
];
/// What misses the bar of precision, and is known to.
///
/// A program that sends something with the key of its input, and again and again within a quarter of a second something of its
/// own with the same key, cannot be told from one that sends several for one.
const AT_ONCE: &str = " with the keys of inputs, at once";

/// One program between topics.
#[derive(Clone)]
struct Program {
    /// As the table says it.
    label: String,
    client: Client,
    shape: String,
    flags: Vec<String>,
    from: Vec<String>,
    into: String,
    /// Further topics it writes to, behind `into` in time.
    aside: Vec<String>,
    /// Inputs after which it ends.
    until: usize,
    /// Different orders among them, from 0 on; none where some were left out.
    orders: usize,
}

/// Programs that hang together.
#[derive(Clone)]
struct Pipeline {
    name: &'static str,
    /// Configuration of every sidecar.
    settings: Vec<(&'static str, &'static str)>,
    programs: Vec<Program>,
}

impl Pipeline {
    /// Starts with `count` records, each with a key of its own, written by franz-go in one burst.
    fn new(name: &'static str, count: usize) -> Self {
        Self::from(name, count, "")
    }

    /// As [`Pipeline::new`], with more flags for the source.
    fn from(name: &'static str, count: usize, flags: &str) -> Self {
        let pipeline = Self {
            name,
            settings: Vec::new(),
            programs: Vec::new(),
        };
        pipeline.add(&[], FranzGo, &format!("source --count {count} {flags}"), "")
    }

    fn with(mut self, key: &'static str, value: &'static str) -> Self {
        self.settings.push((key, value));
        self
    }

    /// A program behind the last one: its shape with flags, and what the table says besides.
    fn then(self, client: Client, shape: &str, besides: &str) -> Self {
        let last = self.programs.len() - 1;
        self.add(&[last], client, shape, besides)
    }

    /// A program that reads what the programs number `from` write.
    fn add(mut self, from: &[usize], client: Client, shape: &str, besides: &str) -> Self {
        let mut words = shape.split_whitespace().map(str::to_owned);
        let shape = words.next().expect("a shape");
        let inputs = from.iter().map(|at| &self.programs[*at]);
        let into = format!("{}-{}", self.name, self.programs.len());
        let mut program = Program {
            label: format!("{shape}{besides}"),
            client,
            shape,
            flags: words.collect(),
            from: inputs.clone().map(|input| input.into.clone()).collect(),
            aside: Vec::new(),
            into: into.clone(),
            // Of a join, one of each.
            until: inputs.clone().next().map_or(0, Program::makes),
            orders: inputs.clone().next().map_or(0, Program::orders_made),
        };
        if program.shape == "dead-letter" {
            for role in ["retry", "dead"] {
                let topic = format!("{into}-{role}");
                program.flags.extend([format!("--{role}"), topic.clone()]);
                program.aside.push(topic);
            }
        }
        self.programs.push(program);
        self
    }
}

/// A program under way, with the sidecar it knows nothing of.
struct Started {
    running: Running,
    sidecar: Throughline,
}

impl Program {
    fn flag(&self, name: &str) -> Option<usize> {
        let at = self.flags.iter().position(|flag| flag == name)?;
        self.flags.get(at + 1)?.parse().ok()
    }

    /// Of its orders, those that a program drops or buries.
    fn lost(&self) -> usize {
        match self.shape.as_str() {
            "filter" => self.orders.div_ceil(self.flag("--every").unwrap_or(4)),
            "dead-letter" => self.orders.div_ceil(20),
            _ => 0,
        }
    }

    /// Records that it writes to `into`.
    fn makes(&self) -> usize {
        let each = self.until.checked_div(self.orders).unwrap_or(0);
        match self.shape.as_str() {
            "source" => self.flag("--count").unwrap(),
            "timer" => self.until + self.flag("--count").unwrap(),
            "fan-out" => self.until * self.flag("--fan").unwrap_or(3),
            "fan-out-varying" => (0..self.until).map(|number| 1 + number % 3).sum(),
            "correlation" => self.until * self.flag("--fan").unwrap_or(1),
            _ => self.until - each * self.lost(),
        }
    }

    fn orders_made(&self) -> usize {
        match self.shape.as_str() {
            "source" => self.makes(),
            _ if self.lost() > 0 => 0,
            _ => self.orders,
        }
    }

    /// Whether it made the record itself, and did not copy it.
    fn made(&self, record: &Lying) -> bool {
        let number = record.truth.id.strip_prefix(&self.into);
        number.is_some_and(|number| number.starts_with('-'))
    }

    /// The topics it writes, in the order in which copies come to be.
    fn writes(&self) -> impl Iterator<Item = &str> {
        let all = std::iter::once(&self.into).chain(&self.aside);
        all.map(String::as_str)
    }

    fn start(&self, kafka: &Kafka, settings: &[(&str, &str)]) -> Started {
        let mut spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext));
        for (key, value) in settings {
            spec = spec.set(key, value);
        }
        if cfg!(debug_assertions) {
            // Unoptimized code is some twenty times slower than what these limits are made for.
            spec = spec.set("lineage.hold_us_max", "1000000");
            spec = spec.set("limits.edit_cpu_ms_per_second", "1000");
        }
        if let Ok(hold) = std::env::var("THROUGHLINE_LINEAGE_HOLD_US") {
            spec = spec.set("lineage.hold_us_max", &hold);
        }
        let sidecar = Throughline::start(spec);
        let (bootstrap, until) = (sidecar.bootstrap(), self.until.to_string());
        let mut arguments = vec!["pipe", "--bootstrap", &bootstrap, "--shape", &self.shape];
        arguments.extend(["--member", &self.into, "--group", &self.into]);
        arguments.extend(["--into", &self.into, "--until", &until]);
        for (flag, topic) in ["--topic", "--also"].iter().zip(&self.from) {
            arguments.extend([flag, topic.as_str()]);
        }
        arguments.extend(self.flags.iter().map(String::as_str));
        Started {
            running: self.client.start(&arguments),
            sidecar,
        }
    }
}

/// What the value of a record says.
#[derive(Deserialize)]
struct Truth {
    id: String,
    parents: Vec<String>,
    transaction: Option<String>,
}

/// A record as it lies in a topic.
struct Lying {
    truth: Truth,
    trace: TraceId,
    span: SpanId,
    /// None where no context was added.
    sent: Option<Sent>,
    correlation: Option<String>,
}

impl Lying {
    fn read(message: &BorrowedMessage<'_>) -> Self {
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        let headers = headers.map(|h| (h.key.as_bytes(), h.value));
        let carried = Carried::read(headers, &CorrelationNames::default());
        let context = carried.traceparent.map(|context| context.unwrap());
        let (trace, span) = context.map_or_else(
            || derive(CLUSTER_ID, topic, partition, offset).unwrap(),
            |context| (context.trace_id, context.span_id),
        );
        let sent = carried.sent();
        assert_eq!(
            sent.is_some(),
            context.is_some(),
            "{topic}-{partition}@{offset}"
        );
        Self {
            truth: serde_json::from_slice(message.payload().unwrap()).unwrap(),
            trace,
            span,
            sent,
            correlation: carried.correlation_id.map(str::to_owned),
        }
    }

    /// Everything in these topics.
    fn all(bootstrap: &str, topics: &[&str]) -> HashMap<String, Vec<Self>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "truth")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "20")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for topic in topics {
            for partition in 0..PARTITIONS {
                let partition = i32::try_from(partition).unwrap();
                list.add_partition_offset(topic, partition, Offset::Beginning)
                    .unwrap();
            }
        }
        consumer.assign(&list).unwrap();
        let (mut read, mut ended) = (HashMap::<_, Vec<_>>::new(), 0);
        let end = Instant::now() + READ_LIMIT;
        while ended < list.count() {
            assert!(Instant::now() < end, "{topics:?} are not read to their end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => read
                    .entry(message.topic().to_owned())
                    .or_default()
                    .push(Self::read(&message)),
                // Nobody writes any more: each end comes once.
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{topics:?}: {error}"),
                None => {}
            }
        }
        read
    }
}

/// What came of the records of one shape or kind.
#[derive(Clone, Copy, Default)]
struct Score {
    records: usize,
    /// Of them, with exactly one true parent.
    children: usize,
    /// Given a parent.
    named: usize,
    /// Given a true one.
    right: usize,
    /// With one true parent, and given it.
    found: usize,
}

impl Score {
    fn precision(&self) -> f64 {
        share(self.right, self.named)
    }

    fn recall(&self) -> f64 {
        share(self.found, self.children)
    }

    fn cells(&self) -> String {
        let Self {
            records,
            children,
            named,
            ..
        } = self;
        let recall = match children {
            0 => "-".to_owned(),
            _ => format!("{:.4}", self.recall()),
        };
        let precision = match named {
            0 => "-".to_owned(),
            _ => format!("{:.4}", self.precision()),
        };
        let wrong = self.wrong();
        format!("| {records} | {children} | {named} | {wrong} | {precision} | {recall} |")
    }

    fn wrong(&self) -> usize {
        self.named - self.right
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}

/// Sums of everything.
#[derive(Default)]
struct Report {
    shapes: BTreeMap<String, Score>,
    kinds: BTreeMap<&'static str, Score>,
    /// The same for what is known to miss its bar, and below the default threshold.
    kinds_apart: BTreeMap<&'static str, Score>,
    /// Parents named, by shape and kind.
    named_by: BTreeMap<String, BTreeMap<&'static str, usize>>,
    broken: Vec<String>,
    transactions: usize,
    clients: BTreeMap<String, BTreeSet<&'static str>>,
    records: usize,
    unindexed: BTreeMap<&'static str, f64>,
}

/// A record that some program wrote, and no copy of one.
struct Origin {
    id: String,
    trace: TraceId,
    correlation: Option<String>,
}

impl Origin {
    /// Whether what comes from it is of the same trace and correlation.
    fn goes_on_in(&self, child: &Lying) -> bool {
        let same = self.correlation.is_none() || self.correlation == child.correlation;
        self.trace == child.trace && same
    }
}

/// Every record of a pipeline so far.
#[derive(Default)]
struct Known {
    by_span: HashMap<SpanId, Origin>,
}

/// What a sidecar said of one record, held against the truth.
struct Verdict<'k> {
    kind: &'static str,
    /// It was given a parent.
    named: bool,
    parent: Option<&'k Origin>,
    right: bool,
    /// It has exactly one parent.
    child: bool,
}

impl Known {
    fn add(&mut self, program: &Program, lying: &[Lying]) {
        for record in lying.iter().filter(|record| program.made(record)) {
            let origin = Origin {
                id: record.truth.id.clone(),
                trace: record.trace,
                correlation: record.correlation.clone(),
            };
            let twice = self.by_span.insert(record.span, origin);
            assert!(
                twice.is_none(),
                "two records with the span of {}",
                record.truth.id
            );
        }
    }

    fn judge(&self, program: &Program, record: &Lying) -> Verdict<'_> {
        let truth = &record.truth;
        if !program.made(record) {
            // A copy keeps the context of its original, which stands for the parent.
            let parent = self.by_span.get(&record.span);
            return Verdict {
                kind: "header, copied",
                named: true,
                parent,
                right: parent.is_some_and(|parent| parent.id == truth.id),
                child: true,
            };
        }
        let span = record.sent.and_then(|sent| sent.parent);
        let parent = span.and_then(|span| self.by_span.get(&span));
        let evidence = record.sent.map(|sent| sent.evidence.as_str());
        Verdict {
            kind: evidence.unwrap_or("no context"),
            named: span.is_some(),
            parent,
            right: parent.is_some_and(|parent| truth.parents.contains(&parent.id)),
            child: truth.parents.len() == 1,
        }
    }
}

impl Report {
    fn run(&mut self, kafka: &Kafka, pipeline: &Pipeline) {
        let began = Instant::now();
        for topic in pipeline.programs.iter().flat_map(Program::writes) {
            kafka.create_topic(topic, PARTITIONS);
        }
        let start = |program: &Program| program.start(kafka, &pipeline.settings);
        let (source, others) = pipeline.programs.split_first().expect("a source");
        let others: Vec<Started> = others.iter().map(start).collect();
        if source.flags.iter().any(|flag| flag == "--delay-ms") {
            // Paced, records are to come one by one, and not what was written while the programs started.
            for started in &others {
                let assigned = |lines: &[Value]| {
                    let mut lines = lines.iter();
                    lines.find(|l| l["type"] == "assigned").map(drop)
                };
                started.running.wait_for("assigned", RUN_LIMIT, assigned);
            }
        }
        let started = std::iter::once(start(source)).chain(others);
        let up = began.elapsed();
        let mut sidecars = Vec::new();
        for (program, started) in pipeline.programs.iter().zip(started) {
            let output = started.running.finish(RUN_LIMIT);
            let errors: Vec<_> = output.of_type("error").collect();
            assert!(errors.is_empty(), "{}: {errors:?}", program.into);
            sidecars.push(started.sidecar);
        }
        let done = began.elapsed();
        for sidecar in sidecars {
            let metrics = sidecar.metrics();
            *self.unindexed.entry(pipeline.name).or_default() +=
                metrics.sum("throughline_lineage_unindexed_batches_total", &[]);
            sidecar.kill9();
        }
        let ended = began.elapsed();
        let mut known = Known::default();
        let before = self.records;
        let topics: Vec<&str> = pipeline.programs.iter().flat_map(Program::writes).collect();
        let lying = Lying::all(&kafka.bootstrap(Listener::Plaintext), &topics);
        for program in &pipeline.programs {
            for topic in program.writes() {
                let lying = lying.get(topic).map_or(&[][..], Vec::as_slice);
                self.count(program, lying, &mut known);
            }
        }
        println!(
            "{}: {} records, up after {up:.1?}, done after {done:.1?}, {ended:.1?} read after {:.1?}",
            pipeline.name,
            self.records - before,
            began.elapsed()
        );
    }

    fn count(&mut self, program: &Program, lying: &[Lying], known: &mut Known) {
        known.add(program, lying);
        let mut inputs: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
        for record in lying {
            let verdict = known.judge(program, record);
            self.add(program, &verdict);
            let parent = verdict.parent.filter(|_| verdict.right);
            if parent.is_some_and(|parent| !parent.goes_on_in(record)) {
                self.broken.push(format!("context of {}", record.truth.id));
            }
            if let Some(transaction) = &record.truth.transaction {
                let (given, found) = inputs.entry(transaction).or_default();
                given.extend(record.truth.parents.iter().map(String::as_str));
                found.extend(verdict.parent.map(|parent| parent.id.as_str()));
            }
        }
        for (transaction, (given, found)) in inputs {
            self.transactions += 1;
            if given != found {
                let text = format!("{transaction}: {} of {} inputs", found.len(), given.len());
                self.broken.push(text);
            }
        }
    }

    fn add(&mut self, program: &Program, verdict: &Verdict<'_>) {
        let Verdict {
            kind, named, right, ..
        } = *verdict;
        let label = &program.label;
        let kinds = if is_apart(label) {
            &mut self.kinds_apart
        } else {
            &mut self.kinds
        };
        let scores = [
            self.shapes.entry(label.clone()).or_default(),
            kinds.entry(kind).or_default(),
        ];
        for score in scores {
            score.records += 1;
            score.children += usize::from(verdict.child);
            score.named += usize::from(named);
            score.right += usize::from(right);
            score.found += usize::from(verdict.child && right);
        }
        if named {
            let kinds = self.named_by.entry(label.clone()).or_default();
            *kinds.entry(kind).or_default() += 1;
        }
        self.records += 1;
        let clients = self.clients.entry(label.clone()).or_default();
        clients.insert(program.client.name());
    }

    #[track_caller]
    fn assert_bars(&self) {
        assert_eq!(self.broken, Vec::<String>::new());
        for (kind, score) in &self.kinds {
            let precision = score.precision();
            assert!(
                precision >= PRECISION_MIN,
                "precision of {kind}: {precision}"
            );
            let wrong = if kind.starts_with("header") {
                score.wrong()
            } else {
                0
            };
            assert_eq!(wrong, 0, "wrong parents by {kind}");
        }
        for (shape, score) in &self.shapes {
            let (precision, recall) = (score.precision(), score.recall());
            let apart = is_apart(shape);
            if score.named >= SAMPLE_MIN && !apart {
                assert!(
                    precision >= PRECISION_MIN,
                    "precision of {shape}: {precision}"
                );
            }
            if shape.ends_with(BUSINESS_ID) {
                assert!(
                    recall >= RECALL_BUSINESS_ID_MIN,
                    "recall of {shape}: {recall}"
                );
            } else if UNIQUE_KEY.contains(&shape.as_str()) {
                assert!(
                    recall >= RECALL_UNIQUE_KEY_MIN,
                    "recall of {shape}: {recall}"
                );
            }
        }
    }

    fn table(&self) -> String {
        let mut text = String::from(
            "\n| shape | parents by | clients | records | with one parent | named | wrong | precision | recall |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for (shape, score) in &self.shapes {
            let by = self.named_by.get(shape).into_iter().flatten();
            let by: Vec<_> = by.map(|(kind, named)| format!("{kind} {named}")).collect();
            let clients: Vec<_> = self.clients[shape].iter().copied().collect();
            let (by, clients) = (by.join(", "), clients.join(", "));
            writeln!(text, "| {shape} | {by} | {clients} {}", score.cells()).unwrap();
        }
        for (title, kinds) in [
            ("evidence", &self.kinds),
            ("evidence, apart from the bars", &self.kinds_apart),
        ] {
            writeln!(
                text,
                "\n| {title} | records | with one parent | named | wrong | precision |\n|---|---|---|---|---|---|"
            )
            .unwrap();
            for (kind, score) in kinds {
                let cells = score.cells();
                let cells = cells
                    .trim_end_matches('|')
                    .rsplit_once('|')
                    .expect("cells")
                    .0;
                writeln!(text, "| {kind} {cells}|").unwrap();
            }
        }
        let (records, transactions) = (self.records, self.transactions);
        writeln!(text, "\n{records} records, {transactions} transactions").unwrap();
        writeln!(text, "unindexed batches: {:?}", self.unindexed).unwrap();
        text
    }
}

/// Whether the bars are not for this shape.
fn is_apart(shape: &str) -> bool {
    shape.ends_with(LOWERED) || shape.ends_with(AT_ONCE)
}

/// What sources are multiples of.
fn count() -> usize {
    let count = std::env::var("THROUGHLINE_LINEAGE_RECORDS");
    count.map_or(500, |count| count.parse().expect("a number"))
}

/// One parent per record, by key or by business id.
fn plain(n: usize) -> Vec<Pipeline> {
    const BUSINESS: &str = "[{json: /order}]";
    vec![
        Pipeline::new("unique-key", 3 * n)
            .then(Java, "one-to-one", "")
            .then(Librdkafka, "one-to-one", "")
            .then(FranzGo, "one-to-one", "")
            .then(Java, "one-to-one --threads 4", ", 4 threads")
            .then(FranzGo, "batch", ""),
        Pipeline::new("business-id", 3 * n)
            .with("lineage.business_ids", BUSINESS)
            .then(Librdkafka, "rekey", BUSINESS_ID)
            .then(FranzGo, "rekey", BUSINESS_ID)
            .then(Java, "rekey", BUSINESS_ID)
            .then(Librdkafka, "null-key", BUSINESS_ID)
            .then(FranzGo, "constant-key", BUSINESS_ID),
        Pipeline::new("dead-letters", 2 * n)
            .then(Java, "dead-letter", "")
            .then(Librdkafka, "dead-letter", "")
            .then(FranzGo, "dead-letter", "")
            .then(Java, "one-to-one", "")
            .then(Librdkafka, "one-to-one --threads 4", ", 4 threads"),
        Pipeline::new("transactions", 2 * n)
            .then(Java, "transaction", "")
            .then(FranzGo, "transaction", "")
            .then(Librdkafka, "transaction", "")
            .then(Java, "transaction", "")
            .then(FranzGo, "transaction", ""),
        Pipeline::new("joined", 2 * n)
            .add(&[0], Java, "one-to-one", "")
            .add(&[0], Librdkafka, "rekey", "")
            .add(&[1, 2], FranzGo, "fan-in", "")
            .add(&[3], Librdkafka, "one-to-one", "")
            .add(&[1, 4], Java, "fan-in", "")
            .add(&[2, 5], Librdkafka, "fan-in", ""),
    ]
}

/// Several records of one key, and none.
fn keys(n: usize) -> Vec<Pipeline> {
    let few = n / 3;
    vec![
        Pipeline::new("mixed", 2 * n)
            .then(Java, "batch", "")
            .then(Librdkafka, "filter", "")
            .then(FranzGo, "fan-out", "")
            .then(Java, "one-to-one", ", each key 3 times")
            .then(Librdkafka, "one-to-one", ", each key 3 times"),
        Pipeline::new("mixed-again", n)
            .then(FranzGo, "filter", "")
            .then(Librdkafka, "batch", "")
            .then(Java, "fan-out", "")
            .then(FranzGo, "one-to-one", ", each key 3 times"),
        Pipeline::new("varying", n)
            .then(Java, "batch", "")
            .then(Librdkafka, "fan-out-varying", ""),
        Pipeline::new("varying-java", n)
            .then(FranzGo, "batch", "")
            .then(Java, "fan-out-varying", ""),
        Pipeline::from("varying-paced", n, "--delay-ms 1").then(
            FranzGo,
            "fan-out-varying",
            ", paced",
        ),
        Pipeline::from("mixed-paced", n, "--delay-ms 1")
            .then(FranzGo, "batch", ", paced")
            .then(Java, "filter", ", paced")
            .then(Librdkafka, "fan-out", ", paced")
            .then(Java, "one-to-one", ", each key 3 times, paced")
            .then(FranzGo, "fan-out", ", each key 3 times, paced"),
        Pipeline::from("entity-key", 2 * n, &format!("--keys {few}"))
            .then(Librdkafka, "one-to-one", ", each key 6 times")
            .then(Java, "fan-out", ", each key 6 times")
            .then(FranzGo, "batch", ", each key 18 times"),
        Pipeline::from(
            "entity-key-paced",
            2 * n,
            &format!("--keys {few} --delay-ms 1"),
        )
        .then(Java, "one-to-one", ", each key 6 times, paced")
        .then(Librdkafka, "filter", ", each key 6 times, paced")
        .then(FranzGo, "fan-out", ", each key 5 times, paced")
        .then(Librdkafka, "fan-out", ", each key 15 times, paced")
        .then(FranzGo, "one-to-one", ", each key 45 times, paced"),
        Pipeline::new("keyless", n)
            .then(Java, "null-key", "")
            .then(Librdkafka, "null-key", "")
            .then(FranzGo, "constant-key", "")
            .then(Librdkafka, "constant-key", "")
            .then(Java, "constant-key", ""),
        Pipeline::from("keyless-lowered", n / 2, "--delay-ms 20")
            .with("lineage.parent_confidence", "0.5")
            .then(Java, "null-key --commit sync", LOWERED)
            .then(Java, "null-key --commit sync", LOWERED)
            .then(
                Java,
                &format!("timer --commit sync --count {}", n / 2),
                LOWERED,
            ),
    ]
}

/// Programs that send things of their own, and programs that copy a correlation id.
fn timers_and_ids(n: usize) -> Vec<Pipeline> {
    let timer = |more: &str| format!("timer --count {n} {more}");
    vec![
        Pipeline::from("timers", n, "--delay-ms 1")
            .then(FranzGo, &timer(""), "")
            .then(Java, &timer("--key tick"), "")
            .then(Librdkafka, &timer("--key tick"), "")
            .then(FranzGo, "one-to-one", ", a half with one key")
            .then(Java, &timer("--key k-1"), AT_ONCE),
        Pipeline::from("heartbeats", n, &format!("--delay-ms {}", 2000 / n + 1)).then(
            FranzGo,
            &timer(&format!("--keys {n} --first {n}")),
            " with the keys of inputs, 2 s later",
        ),
        Pipeline::from("device-timers", n, "--delay-ms 1").then(
            FranzGo,
            &timer(&format!("--keys {n}")),
            AT_ONCE,
        ),
        Pipeline::new("correlation-id", 2 * n)
            .then(Java, "correlation", "")
            .then(FranzGo, "correlation", "")
            .then(Librdkafka, "correlation --fan 2", ", fan-out")
            .then(Java, "correlation --fan 2", ", each id twice")
            .then(FranzGo, "correlation", ", each id 4 times"),
        Pipeline::from("correlation-id-paced", n, "--delay-ms 1")
            .then(Java, "correlation --fan 2", ", fan-out, paced")
            .then(Librdkafka, "correlation --fan 2", ", each id twice, paced")
            .then(FranzGo, "correlation --fan 2", ", each id 4 times, paced"),
    ]
}

#[test]
fn the_parents_that_sidecars_find_are_the_true_ones() {
    let count = count();
    let only = std::env::var("THROUGHLINE_LINEAGE_ONLY").unwrap_or_default();
    let kafka = Kafka::single(Version::V4_4_0);
    let mut report = Report::default();
    for pipeline in [plain(count), keys(count), timers_and_ids(count)].concat() {
        if only.is_empty() || only.split(',').any(|name| name == pipeline.name) {
            report.run(&kafka, &pipeline);
        }
    }
    println!("{}", report.table());
    report.assert_bars();
    if only.is_empty() {
        assert!(report.transactions >= 50, "{}", report.transactions);
        let languages: BTreeSet<_> = report.clients.values().flatten().collect();
        assert!(languages.len() >= 3, "{languages:?}");
        assert!(report.records >= 200 * count, "{}", report.records);
    }
}
