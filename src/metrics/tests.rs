//! Behaviour of the registry and its recorder.

use std::time::Duration;

use super::*;

fn metrics(max_series: usize) -> Metrics {
    Metrics::new(&Settings {
        max_series,
        latency_bounds: vec![0.1, 0.5, 1.0],
        push: false,
    })
    .unwrap()
}

fn pushing(max_series: usize) -> Metrics {
    Metrics::new(&Settings {
        max_series,
        latency_bounds: vec![0.1, 0.5, 1.0],
        push: true,
    })
    .unwrap()
}

fn value(metrics: &Metrics, name: &str, wanted: &[(&str, &str)]) -> Option<f64> {
    let gathered = metrics.gather();
    let (family, series) = gathered.iter().find(|(f, _)| f.name == name)?;
    series
        .get_metric()
        .iter()
        .find(|m| {
            wanted.iter().all(|(n, v)| {
                m.get_label()
                    .iter()
                    .any(|l| l.name() == *n && l.value() == *v)
            })
        })
        .map(|m| match family.kind {
            Kind::Counter => m.get_counter().get_value(),
            _ => m.get_gauge().get_value(),
        })
}

#[test]
fn every_family_of_the_catalogue_can_be_registered_and_served() {
    let metrics = metrics(100);
    metrics
        .serve_dataplane(Arc::default(), |_| "Fetch")
        .unwrap();
    metrics
        .serve_process(&Build {
            version: "1".into(),
            commit: "c".into(),
        })
        .unwrap();
    assert_eq!(
        value(&metrics, "throughline_build_info", &[("commit", "c")]),
        Some(1.0)
    );
    assert_eq!(
        value(
            &metrics,
            "throughline_proxy_bypassed_total",
            &[("reason", "address")]
        ),
        Some(0.0)
    );
}

#[test]
fn names_past_the_cap_go_to_other_and_are_counted() {
    let metrics = metrics(2);
    let mut recorder = metrics.recorder(Instant::now());
    let name = "throughline_produced_records_total";
    let capped = "throughline_series_capped_total";
    recorder.add(Id::ProducedRecords, &["a"], 10);
    // There before it moves: a rate over it starts at 0.
    assert_eq!(value(&metrics, capped, &[("family", name)]), Some(0.0));
    for topic in ["b", "c", "d"] {
        recorder.add(Id::ProducedRecords, &[topic], 10);
    }
    assert_eq!(value(&metrics, name, &[("topic", "a")]), Some(10.0));
    assert_eq!(value(&metrics, name, &[("topic", "c")]), None);
    assert_eq!(value(&metrics, name, &[("topic", "_other")]), Some(20.0));
    assert_eq!(value(&metrics, capped, &[("family", name)]), Some(2.0));
}

#[test]
fn an_sli_pair_past_the_cap_is_not_made_at_all() {
    let metrics = metrics(3);
    let mut recorder = metrics.recorder(Instant::now());
    recorder.add_pair(&["publish", "a", "", ""], 0, 0);
    recorder.add_pair(&["publish", "b", "", ""], 5, 5);
    let events = "throughline_sli_events_total";
    let good = "throughline_sli_good_events_total";
    assert_eq!(value(&metrics, events, &[("topic", "a")]), Some(0.0));
    assert_eq!(value(&metrics, good, &[("topic", "a")]), Some(0.0));
    for name in [events, good] {
        assert_eq!(value(&metrics, name, &[("topic", "b")]), None);
        assert_eq!(value(&metrics, name, &[("topic", "_other")]), None);
    }
    assert_eq!(
        value(
            &metrics,
            "throughline_series_capped_total",
            &[("family", events)]
        ),
        Some(1.0)
    );
}

#[test]
fn a_counter_without_traffic_for_an_hour_vanishes_and_frees_its_place() {
    let metrics = metrics(2);
    let start = Instant::now();
    let mut recorder = metrics.recorder(start);
    recorder.add(Id::ProducedRecords, &["a"], 1);
    recorder.add(Id::ProducedRecords, &["b"], 1);
    recorder.set_now(start + Duration::from_secs(3000));
    recorder.add(Id::ProducedRecords, &["b"], 1);
    recorder.set_now(start + IDLE_LIMIT);
    recorder.expire();
    recorder.add(Id::ProducedRecords, &["c"], 1);
    let name = "throughline_produced_records_total";
    assert_eq!(value(&metrics, name, &[("topic", "a")]), None);
    assert_eq!(value(&metrics, name, &[("topic", "b")]), Some(2.0));
    assert_eq!(value(&metrics, name, &[("topic", "c")]), Some(1.0));
}

#[test]
fn gauges_not_named_any_more_vanish_at_once() {
    let metrics = metrics(100);
    let mut recorder = metrics.recorder(Instant::now());
    recorder.replace(
        Id::ConsumerLagRecords,
        [(["a", "g"], 1.0), (["b", "g"], 2.0)],
    );
    recorder.replace(Id::ConsumerLagRecords, [(["b", "g"], 0.0)]);
    let name = "throughline_consumer_lag_records";
    assert_eq!(value(&metrics, name, &[("topic", "a")]), None);
    assert_eq!(value(&metrics, name, &[("topic", "b")]), Some(0.0));
    assert_eq!(recorder.series(), 1);
}

#[test]
fn a_histogram_takes_many_observations_at_once_and_its_count_is_the_sum_of_its_buckets() {
    let metrics = metrics(100);
    let mut recorder = metrics.recorder(Instant::now());
    let labels = ["t", "g", "fetched"];
    recorder.observe(Id::EndToEndLatency, &labels, 0.5, 1000);
    recorder.observe(Id::EndToEndLatency, &labels, 0.51, 1);
    recorder.observe(Id::EndToEndLatency, &labels, 9.0, 2);
    let gathered = metrics.gather();
    let (_, family) = gathered
        .iter()
        .find(|(f, _)| f.name == "throughline_end_to_end_latency_seconds")
        .unwrap();
    let histogram = family.get_metric()[0].get_histogram();
    let counts: Vec<u64> = histogram
        .get_bucket()
        .iter()
        .map(proto::Bucket::cumulative_count)
        .collect();
    assert_eq!(counts, [0, 1000, 1001]);
    assert_eq!(histogram.get_sample_count(), 1003);
    assert!((histogram.get_sample_sum() - 518.51).abs() < 1e-9);
}

#[test]
fn without_a_push_there_is_nothing_to_push_and_nothing_more_is_kept() {
    let metrics = metrics(100);
    let mut recorder = metrics.recorder(Instant::now());
    assert!(!recorder.pushes());
    recorder.observe(Id::ProduceDuration, &["t"], 0.2, 1);
    recorder.add(Id::SentMessages, &["send", "t", "", ""], 1);
    let pushed = metrics.gather_pushed();
    assert!(pushed.families.is_empty() && pushed.exponentials.is_empty());
    // Three bounds, the rest, sum and count of the one histogram.
    assert_eq!(recorder.series(), 6);
}

#[test]
fn what_is_only_pushed_is_not_on_the_page_and_obeys_the_cap() {
    let metrics = pushing(6);
    let mut recorder = metrics.recorder(Instant::now());
    assert!(recorder.pushes());
    recorder.observe(Id::OperationDuration, &["send", "a", "", ""], 0.2, 1);
    recorder.add(Id::SentMessages, &["send", "a", "", ""], 3);
    recorder.observe(Id::OperationDuration, &["send", "b", "", ""], 0.2, 1);
    let shown = metrics.gather();
    assert!(shown.iter().all(|(family, _)| !family.only_pushed()));
    let capped = [("family", Id::OperationDuration.family().name)];
    assert_eq!(
        value(&metrics, "throughline_series_capped_total", &capped),
        Some(1.0)
    );
    let pushed = metrics.gather_pushed();
    let (_, sent) = pushed
        .families
        .iter()
        .find(|(id, _)| *id == Id::SentMessages)
        .unwrap();
    assert_eq!(sent.get_metric()[0].get_counter().get_value(), 3.0);
    let (_, durations) = pushed
        .exponentials
        .iter()
        .find(|(id, _)| *id == Id::OperationDuration)
        .unwrap();
    let mut topics: Vec<&str> = durations
        .iter()
        .map(|series| series.labels[3].value())
        .collect();
    topics.sort_unstable();
    assert_eq!(topics, ["_other", "a"]);
}

#[test]
fn an_exponential_histogram_has_the_count_and_the_sum_of_the_page_and_goes_with_its_series() {
    let metrics = pushing(100);
    let start = Instant::now();
    let mut recorder = metrics.recorder(start);
    for (value, count) in [(0.1, 3), (0.7, 1), (0.003, 1000), (0.1, 1)] {
        recorder.observe(Id::ProduceDuration, &["t"], value, count);
    }
    let series = || -> Vec<Exponential> {
        let pushed = metrics.gather_pushed();
        let found = pushed.exponentials.into_iter();
        let mut found = found.filter(|(id, _)| *id == Id::ProduceDuration);
        let (_, series) = found.next().unwrap();
        series.into_iter().map(|one| one.histogram).collect()
    };
    let shown = metrics.gather();
    let (_, page) = shown
        .iter()
        .find(|(f, _)| f.name == "throughline_produce_duration_seconds")
        .unwrap();
    let page = page.get_metric()[0].get_histogram();
    let [exponential] = series().try_into().unwrap();
    assert_eq!(exponential.count(), page.get_sample_count());
    assert_eq!(exponential.sum().to_bits(), page.get_sample_sum().to_bits());
    recorder.set_now(start + IDLE_LIMIT);
    recorder.expire();
    assert!(series().is_empty());
}
