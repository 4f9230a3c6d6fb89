//! Spans as a real OpenTelemetry Collector receives them, from real clients on a real broker.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use support::{
    chain::{self, Hop},
    clients::{Client, Record, bytes_of},
    collector::Span,
    deadline::poll_until,
    kafka::{Kafka, Listener, Version},
    stage::{Stage, named},
    throughline::{Throughline, ThroughlineSpec},
};

const LIMIT: Duration = Duration::from_secs(120);
const COUNT: usize = 60;
const CLIENT: i64 = 3;
const PRODUCER: i64 = 4;
const CONSUMER: i64 = 5;

fn produce(bootstrap: &str, client: Client, topic: &str) {
    let count = COUNT.to_string();
    let at = ["produce", "--bootstrap", bootstrap, "--topic", topic];
    let output = client.run(&[&at[..], &["--count", &count, "--now"]].concat());
    assert_eq!(output.of_type("error").count(), 0);
}

fn consume(bootstrap: &str, client: Client, topic: &str) {
    let group = format!("{topic}-readers");
    let count = COUNT.to_string();
    let at = ["consume", "--bootstrap", bootstrap, "--topic", topic];
    let how = ["--group", &group, "--until", &count];
    let output = client.run(&[&at[..], &how].concat());
    assert_eq!(output.records().len(), COUNT);
}

/// Kind, name, times and attributes of one span; `services` are the sidecars before and behind the topic.
fn assert_named(stage: &Stage, topic: &str, services: [&str; 2], span: &Span) {
    let [writer, reader] = services;
    assert!(
        span.start_ns <= span.end_ns && span.start_ns > 0,
        "{span:?}"
    );
    assert_eq!(span.scope, "throughline");
    assert_eq!(span.schema, "https://opentelemetry.io/schemas/1.44.0");
    let operation = span.text("messaging.operation.name");
    assert_eq!(span.name, format!("{operation} {topic}"));
    let (kind, service) = match operation.as_str() {
        "create" => (PRODUCER, writer),
        "send" => (CLIENT, writer),
        "process" => (CONSUMER, reader),
        "fetch" | "commit" => (CLIENT, reader),
        other => panic!("{other} is no operation: {span:?}"),
    };
    assert_eq!(
        (span.kind, span.service.as_str()),
        (kind, service),
        "{span:?}"
    );
    assert_eq!(span.text("messaging.system"), "kafka");
    let broker = stage.kafka.address(Listener::Plaintext, 1);
    let server = format!(
        "{}:{}",
        span.text("server.address"),
        span.text("server.port")
    );
    assert_eq!(server, broker, "the real broker's");
}

/// One trace per record, whole, from the producer's sidecar and the consumer's.
fn assert_whole_traces(stage: &Stage, topic: &str, spans: &[Span]) {
    let created = named(spans, "create");
    let by_id: BTreeMap<&str, &Span> = created.iter().map(|s| (s.span_id.as_str(), *s)).collect();
    assert_eq!(by_id.len(), COUNT, "one create span per record");
    let traces: BTreeSet<&str> = created.iter().map(|s| s.trace_id.as_str()).collect();
    assert_eq!(traces.len(), COUNT, "each record begins a trace");
    let known: BTreeSet<&str> = spans.iter().map(|s| s.span_id.as_str()).collect();
    for span in spans {
        let orphan = !span.parent.is_empty() && !known.contains(span.parent.as_str());
        assert!(!orphan, "no parent in the collector: {span:?}");
        assert!(traces.contains(span.trace_id.as_str()), "{span:?}");
        assert_named(stage, topic, ["writer", "reader"], span);
    }
    let linked = |operation: &str| -> BTreeSet<String> {
        let spans = named(spans, operation);
        spans
            .iter()
            .flat_map(|s| s.links.iter().map(|(_, id)| id.clone()))
            .collect()
    };
    let all: BTreeSet<String> = by_id.keys().map(ToString::to_string).collect();
    for operation in ["send", "fetch"] {
        assert_eq!(linked(operation), all, "{operation} links to every record");
    }
    for (operation, parents) in [("process", "create"), ("commit", "process")] {
        let of: BTreeSet<&str> = named(spans, operation)
            .iter()
            .map(|s| s.parent.as_str())
            .collect();
        let wanted: BTreeSet<&str> = named(spans, parents)
            .iter()
            .map(|s| s.span_id.as_str())
            .collect();
        assert_eq!(of, wanted, "one {operation} under each {parents}");
    }
    for process in named(spans, "process") {
        let record = by_id[process.parent.as_str()];
        for key in [
            "messaging.kafka.offset",
            "messaging.destination.partition.id",
        ] {
            assert_eq!(process.text(key), record.text(key), "{key}");
        }
        assert_eq!(
            process.text("messaging.consumer.group.name"),
            format!("{topic}-readers")
        );
    }
}

#[test]
fn one_trace_leads_from_the_produce_to_the_commit() {
    let stage = Stage::start();
    let (grpc, http) = (stage.collector.grpc(), stage.collector.http());
    for (client, endpoint, protocol) in [
        (Client::Java, &grpc, "grpc"),
        (Client::Librdkafka, &http, "http/protobuf"),
    ] {
        let topic = format!("orders-of-{}", client.name());
        stage.kafka.create_topic(&topic, 6);
        let writer = stage.sidecar("writer", endpoint, protocol);
        let reader = stage.sidecar("reader", endpoint, protocol);
        produce(&writer.bootstrap(), client, &topic);
        consume(&reader.bootstrap(), client, &topic);
        let spans = stage.spans(&topic, |spans| {
            let count = |operation| named(spans, operation).len();
            count("create") >= COUNT && count("commit") >= COUNT && count("fetch") > 0
        });
        assert_exemplars(&writer, &spans, &["throughline_produce_duration_seconds"]);
        let latencies = [
            "throughline_end_to_end_latency_seconds",
            "throughline_processing_duration_seconds",
        ];
        assert_exemplars(&reader, &spans, &latencies);
        // What was queued last leaves at the end.
        writer.terminate();
        reader.terminate();
        drop(spans);
        let spans = stage.spans(&topic, |_| true);
        assert_whole_traces(&stage, &topic, &spans);
    }
}

/// The page leads from each of these histograms to traces that the collector has.
fn assert_exemplars(sidecar: &Throughline, spans: &[Span], histograms: &[&str]) {
    let created: BTreeSet<(String, String)> = named(spans, "create")
        .iter()
        .map(|span| (span.trace_id.clone(), span.span_id.clone()))
        .collect();
    let page = sidecar.openmetrics();
    for histogram in histograms {
        let buckets = page.lines().filter(|line| line.starts_with(histogram));
        let exemplars: Vec<&str> = buckets
            .filter_map(|line| Some(line.split_once(" # {")?.1))
            .collect();
        assert!(!exemplars.is_empty(), "{histogram} has none:\n{page}");
        for exemplar in exemplars {
            let ids: Vec<&str> = exemplar.split('"').collect();
            let known = created.contains(&(ids[1].to_owned(), ids[3].to_owned()));
            assert!(known, "{histogram}: {exemplar} is no record that was sent");
        }
    }
}

/// The trace of a record that went through the chain: a create, a process and a commit for each hop, each under the one before.
fn assert_chained(spans: &[&Span], hops: &[Hop; 3]) {
    let of = |operation: &str, hop: &Hop| -> &Span {
        let mut found = spans.iter().filter(|span| {
            span.text("messaging.operation.name") == operation
                && span.text("messaging.destination.name") == hop.topic
        });
        let one = found
            .next()
            .unwrap_or_else(|| panic!("no {operation} of {hop:?}"));
        assert_eq!(found.count(), 0, "a second {operation} of {hop:?}");
        one
    };
    let mut parent = "";
    for hop in hops {
        assert_eq!(hop.trace_id, hops[0].trace_id, "{hops:?}");
        let (create, process) = (of("create", hop), of("process", hop));
        assert_eq!(
            (create.span_id.as_str(), create.parent.as_str()),
            (hop.span_id.as_str(), parent)
        );
        assert_eq!(process.parent, create.span_id, "{hop:?}");
        for span in [create, process] {
            assert_eq!(
                span.text("messaging.destination.partition.id"),
                hop.partition.to_string()
            );
            assert_eq!(span.text("messaging.kafka.offset"), hop.offset.to_string());
        }
        assert_eq!(of("commit", hop).parent, process.span_id, "{hop:?}");
        parent = &hop.span_id;
    }
    let first = of("create", &hops[0]).start_ns;
    let last = of("commit", &hops[2]).end_ns;
    assert!(
        spans
            .iter()
            .all(|span| span.start_ns >= first || is_of_batch(span))
    );
    assert!(first < last, "{first} {last}");
}

/// Spans of a batch stand in the trace of its first record.
fn is_of_batch(span: &Span) -> bool {
    ["send", "fetch"].contains(&span.text("messaging.operation.name").as_str())
}

#[test]
fn what_the_sidecar_does_beside_the_traffic_is_traced_where_that_is_asked_for() {
    let stage = Stage::start();
    let spec = ThroughlineSpec::new(&stage.kafka.bootstrap(Listener::Plaintext))
        .set("otlp.endpoint", &stage.collector.grpc())
        .set("otlp.diagnostics", "true");
    let sidecar = Throughline::start(spec);
    assert_eq!(sidecar.get("/nowhere").status, 404);
    let ours = |span: &Span| span.scope == "throughline.diagnostics";
    let of = |spans: &[Span], name: &str| spans.iter().find(|s| s.name == name).cloned();
    let both = |spans: &[Span]| of(spans, "probe").and(of(spans, "GET /nowhere")).is_some();
    let spans = stage.spans_where("the sidecar itself", ours, both);
    let asked = of(&spans, "GET /nowhere").unwrap();
    assert_eq!(
        (asked.kind, asked.text("url.path").as_str()),
        (2, "/nowhere")
    );
    assert_eq!(asked.text("http.response.status_code"), "404");
    let broker = stage.kafka.address(Listener::Plaintext, 1);
    let probe = of(&spans, "probe").unwrap();
    let at = (probe.text("server.address"), probe.text("server.port"));
    assert_eq!(format!("{}:{}", at.0, at.1), broker);
    sidecar.terminate();
}

#[test]
fn what_goes_wrong_has_spans_though_its_trace_is_not_recorded() {
    let stage = Stage::start();
    let topic = "refusing";
    stage.kafka.admin(&format!(
        "create-topic --topic {topic} --partitions 6 --replication 1 --config max.message.bytes=1000"
    ));
    let spec = ThroughlineSpec::new(&stage.kafka.bootstrap(Listener::Plaintext))
        .set("otlp.endpoint", &stage.collector.grpc())
        .set("otlp.protocol", "grpc")
        .set("sampling.traces_per_second_per_topic", "1");
    let sidecar = Throughline::start(spec);
    let bootstrap = sidecar.bootstrap();
    let at = ["produce", "--bootstrap", &bootstrap, "--topic", topic];
    let how = ["--count", "40", "--value-bytes", "4000", "--now"];
    let alone = ["--property", "batch.num.messages=1"];
    let output = Client::Librdkafka.run(&[&at[..], &how, &alone].concat());
    assert!(output.of_type("error").count() > 0, "some are too large");
    // What was queued last leaves at the end.
    sidecar.terminate();
    let kept = |spans: &[Span]| {
        let kept = spans
            .iter()
            .filter(|s| s.text("throughline.kept") == "error");
        kept.cloned().collect::<Vec<_>>()
    };
    let spans = stage.spans(topic, |spans| !named(&kept(spans), "send").is_empty());
    for span in kept(&spans) {
        assert_eq!(span.text("error.type"), "MESSAGE_TOO_LARGE", "{span:?}");
        assert_eq!(span.text("throughline.trace"), "partial", "{span:?}");
    }
    let created = named(&kept(&spans), "create").len();
    assert_eq!(created, named(&kept(&spans), "send").len(), "{spans:#?}");
    assert!(created < 40, "no more than there may be: {created}");
}

/// A dead letter as it lies in its topic: (trace id, span id) that it carries, where its own headers say that it came from.
fn dead_letters(stage: &Stage, topic: &str, count: usize) -> BTreeSet<(String, String, String)> {
    let direct = stage.kafka.bootstrap(Listener::Plaintext);
    let (group, until) = (format!("{topic}-witness"), count.to_string());
    let at = ["consume", "--bootstrap", &direct, "--topic", topic];
    let how = ["--group", &group, "--until", &until];
    let records = Client::Java.run(&[&at[..], &how].concat()).records();
    let read = |record: &Record| {
        let last = |name: &str| -> Vec<u8> {
            let mut all = record.headers.iter().rev();
            let found = all.find(|(key, _)| key == name);
            bytes_of(found.and_then(|(_, v)| v.as_deref()).expect(name))
        };
        let text = |name: &str| String::from_utf8(last(name)).expect("text");
        let context = text("traceparent");
        let ids: Vec<&str> = context.split('-').collect();
        let partition = last("kafka_dlt-original-partition");
        let offset = last("kafka_dlt-original-offset");
        let origin = format!(
            "{}:{}:{}",
            text("kafka_dlt-original-topic"),
            i32::from_be_bytes(partition.try_into().expect("4 bytes")),
            i64::from_be_bytes(offset.try_into().expect("8 bytes"))
        );
        (ids[1].to_owned(), ids[2].to_owned(), origin)
    };
    records.iter().map(read).collect()
}

#[test]
fn a_dead_letter_is_a_span_of_its_own_linked_to_the_record_that_it_was() {
    let stage = Stage::start();
    let grpc = stage.collector.grpc();
    let (from, into, dead) = ("given", "made", "given.dlq");
    for topic in [from, into, "given-retry", dead] {
        stage.kafka.create_topic(topic, 3);
    }
    let until = COUNT.to_string();
    let run = |client: Client, service: &str, arguments: &[&str]| {
        let sidecar = stage.sidecar(service, &grpc, "grpc");
        let at = sidecar.bootstrap();
        let output = client.run(&[&["pipe", "--bootstrap", &at], arguments].concat());
        assert_eq!(output.of_type("error").count(), 0);
        // What was queued last leaves at the end.
        sidecar.terminate();
    };
    let makes = ["--shape", "source", "--member", from, "--into", from];
    run(
        Client::FranzGo,
        "source",
        &[&makes[..], &["--count", &until]].concat(),
    );
    let fails = ["--shape", "dead-letter", "--topic", from, "--until", &until];
    let who = ["--member", into, "--group", into, "--into", into];
    let aside = ["--retry", "given-retry", "--dead", dead];
    run(
        Client::Java,
        "billing",
        &[&fails[..], &who, &aside].concat(),
    );
    let name = format!("send {dead}");
    let is_letter = |span: &Span| span.name == name && span.kind == PRODUCER;
    let letters = dead_letters(&stage, dead, COUNT / 20);
    let spans = stage.spans_where(dead, is_letter, |spans| spans.len() >= letters.len());
    let seen = spans.iter().map(|span| {
        assert_eq!(span.links.len(), 1, "{span:?}");
        let (trace, of) = span.links[0].clone();
        assert_eq!((&span.trace_id, &span.parent), (&trace, &of), "{span:?}");
        (trace, of, span.text("throughline.dead_letter.origin"))
    });
    assert_eq!(seen.collect::<BTreeSet<_>>(), letters);
    assert_eq!(spans.len(), letters.len(), "one each");
    let retried = |span: &Span| span.name == "send given-retry" && span.kind == PRODUCER;
    let retries = COUNT / 10;
    let spans = stage.spans_where("retries", retried, |spans| spans.len() >= retries);
    assert_eq!(spans.len(), retries, "one each");
    for span in &spans {
        assert_eq!(span.text("throughline.retry"), "true", "{span:?}");
        assert!(span.text("throughline.retry.origin").starts_with("given:"));
        assert_eq!(span.text("throughline.dead_letter"), "", "{span:?}");
    }
}

#[test]
fn one_trace_leads_through_three_hops_of_programs_that_are_not_instrumented() {
    const COUNT: usize = 120;
    let stage = Stage::start();
    let grpc = stage.collector.grpc();
    let sidecar = |service: &str| stage.sidecar(service, &grpc, "grpc");
    let events = chain::run(&stage.kafka, COUNT, sidecar);
    let commits = |spans: &[Span]| named(spans, "commit").len();
    let spans = stage.spans_where("the chain", |_| true, |spans| commits(spans) >= 3 * COUNT);
    let mut traces: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for span in &spans {
        traces.entry(&span.trace_id).or_default().push(span);
        let topic = span.text("messaging.destination.name");
        let at = events[0].iter().position(|hop| hop.topic == topic);
        let at = at.unwrap_or_else(|| panic!("of no topic of the chain: {span:?}"));
        let services = [chain::SERVICES[at], chain::SERVICES[at + 1]];
        assert_named(&stage, &topic, services, span);
    }
    assert_eq!(
        (events.len(), traces.len()),
        (COUNT, COUNT),
        "one trace for each record"
    );
    for hops in &events {
        assert_chained(&traces[hops[0].trace_id.as_str()], hops);
    }
    for (trace, spans) in &traces {
        let known: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
        let roots = spans.iter().filter(|span| span.parent.is_empty());
        assert_eq!(roots.count(), 1, "{trace}");
        for span in spans.iter().filter(|span| !span.parent.is_empty()) {
            assert!(known.contains(span.parent.as_str()), "no parent: {span:?}");
        }
    }
}

#[test]
fn a_collector_that_is_away_costs_spans_and_nothing_else_and_may_come_back() {
    let mut stage = Stage::start();
    stage.collector.stop();
    let sidecar = stage.sidecar("writer", &stage.collector.grpc(), "grpc");
    stage.kafka.create_topic("unseen", 6);
    produce(&sidecar.bootstrap(), Client::Java, "unseen");
    let lost = [("signal", "traces"), ("reason", "export")];
    poll_until("the loss is counted", LIMIT, || {
        let metrics = sidecar.metrics();
        let lost = metrics.sum("throughline_telemetry_dropped_total", &lost);
        let failures = metrics.sum("throughline_export_failures_total", &[("signal", "traces")]);
        (lost >= COUNT as f64 && failures >= 1.0).then_some(())
    });
    stage.collector.restart();
    stage.kafka.create_topic("seen", 6);
    produce(&sidecar.bootstrap(), Client::Java, "seen");
    let spans = stage.spans("seen", |spans| named(spans, "create").len() == COUNT);
    assert!(spans.iter().all(|span| span.service == "writer"));
    sidecar.terminate();
}

/// What somebody says who is no collector.
#[derive(Clone, Copy)]
enum Nonsense {
    Bytes(&'static [u8]),
    /// An answer that has no end.
    Flood,
    Silence,
}

fn no_collector(answer: Nonsense) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else {
                return;
            };
            match answer {
                Nonsense::Bytes(bytes) => drop(connection.write_all(bytes)),
                Nonsense::Flood => {
                    drop(connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
                    while connection.write_all(&[0; 65_536]).is_ok() {}
                }
                Nonsense::Silence => kept.push(connection),
            }
        }
    });
    address
}

#[test]
fn a_collector_that_answers_nonsense_or_never_costs_spans_and_nothing_else() {
    let kafka = Kafka::single(Version::V4_4_0);
    let no_protobuf = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ncontent-type: application/x-protobuf\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    let too_long = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n";
    let cases = [
        (
            "garbage",
            "grpc",
            Nonsense::Bytes(b"\x00\xff not HTTP/2 \x00\xff\x00\xff"),
        ),
        ("http1", "grpc", Nonsense::Bytes(no_protobuf)),
        (
            "garbage",
            "http/protobuf",
            Nonsense::Bytes(b"\x16\x03\x01 no HTTP\r\n\r\n"),
        ),
        ("too-long", "http/protobuf", Nonsense::Bytes(too_long)),
        ("flood", "http/protobuf", Nonsense::Flood),
        ("silence", "http/protobuf", Nonsense::Silence),
    ];
    for (name, protocol, answer) in cases {
        let topic = format!("{name}-{}", protocol.replace('/', "-"));
        kafka.create_topic(&topic, 6);
        let collector = no_collector(answer);
        let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext))
            .set("otlp.endpoint", &format!("http://{collector}"))
            .set("otlp.protocol", protocol)
            .set("sampling.traces_per_second_per_topic", "100000");
        let sidecar = Throughline::start(spec);
        produce(&sidecar.bootstrap(), Client::Librdkafka, &topic);
        let lost = [("signal", "traces"), ("reason", "export")];
        poll_until("the loss is counted", LIMIT, || {
            let lost = sidecar
                .metrics()
                .sum("throughline_telemetry_dropped_total", &lost);
            (lost >= COUNT as f64).then_some(())
        });
        produce(&sidecar.bootstrap(), Client::Librdkafka, &topic);
        sidecar.terminate();
    }
}
