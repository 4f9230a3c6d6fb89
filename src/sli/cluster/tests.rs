//! Tables of looks and what follows from them.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::{
    event::{Name, Stamp},
    sli::{Measure, Objectives, Reason, Sink, Sli},
};

const WALL: i64 = 1_700_000_000_000;

/// Sums verdicts.
#[derive(Default)]
struct Sums(Vec<(Sli, String, u64, u64)>, Vec<(Sli, Reason, u64)>);

impl Sink for Sums {
    fn record(&mut self, measure: Measure<'_>) {
        match measure {
            Measure::Judged { series, good, bad } => {
                self.0
                    .push((series.sli, series.group.to_string(), good, bad));
            }
            Measure::Unknown {
                series,
                reason,
                count,
            } => self.1.push((series.sli, reason, count)),
            other => panic!("{other:?}"),
        }
    }
}

impl Sums {
    fn of(&self, sli: Sli) -> (u64, u64) {
        let all = self.0.iter().filter(|(s, ..)| *s == sli);
        all.fold((0, 0), |(g, b), (_, _, good, bad)| (g + good, b + bad))
    }

    fn unknown(&self, sli: Sli) -> Vec<(Reason, u64)> {
        let all = self.1.iter().filter(|(s, ..)| *s == sli);
        all.map(|(_, reason, count)| (*reason, *count)).collect()
    }
}

/// One topic with one partition, and one group.
struct Stage {
    watched: Watched,
    began: Instant,
    sums: Sums,
    id: u8,
    members: Option<u32>,
    simple: bool,
    unsettled: Option<u64>,
    start: i64,
    retention: Option<RetentionSeen>,
}

/// What a partition holds: (offset, publish time in ms since `WALL`); behind the last, markers.
type Records<'r> = &'r [(i64, i64)];

impl Stage {
    fn new() -> Self {
        let settings = Settings {
            delivery_deadline: Duration::from_secs(60),
            abandoned_after: Duration::from_secs(3_600),
        };
        let began = Instant::now();
        Self {
            watched: Watched::new(settings, Objectives::new(Vec::new()), began),
            began,
            sums: Sums::default(),
            id: 1,
            members: Some(1),
            simple: false,
            unsettled: None,
            start: 0,
            retention: None,
        }
    }

    fn snapshot(
        &self,
        second: u64,
        committed: Option<i64>,
        end: i64,
        stable: i64,
    ) -> ClusterSnapshot {
        let topic: Name = "orders".into();
        let partition = PartitionSeen {
            partition: 0,
            leader: Some(1),
            replicas: 3,
            in_sync: 2,
            start: Some(self.start),
            stable: Some(stable),
            end: Some(end),
            disk: DiskSeen::Used(0.5),
        };
        ClusterSnapshot {
            at: Stamp {
                mono: self.began + Duration::from_secs(second),
                wall_ms: WALL + i64::try_from(second * 1_000).unwrap(),
            },
            brokers: vec![BrokerSeen {
                node: "1".into(),
                up: true,
            }],
            topics: vec![TopicSeen {
                name: topic.clone(),
                id: [self.id; 16],
                internal: false,
                partitions: vec![partition],
                retention: self.retention,
            }],
            groups: vec![GroupSeen {
                name: "billing".into(),
                members: self.members,
                simple: self.simple,
                positions: committed.map(|offset| vec![((topic, 0), offset)]),
                unsettled: self.unsettled.iter().copied().collect(),
            }],
        }
    }

    /// A look at which every record that is wanted is found.
    fn look(&mut self, second: u64, committed: i64, end: i64, records: Records<'_>) -> ClusterView {
        let snapshot = self.snapshot(second, Some(committed), end, end);
        let wanted = self.watched.wanted(&snapshot);
        let found: Vec<Found> = wanted
            .into_iter()
            .map(|wanted| {
                let range = wanted.from..wanted.until;
                let first = records.iter().find(|(offset, _)| range.contains(offset));
                let seen = first.map_or(Seen::Nothing, |(offset, at)| Seen::Record {
                    offset: *offset,
                    published_ms: WALL + at,
                });
                Found { wanted, seen }
            })
            .collect();
        self.watched.take(&snapshot, &found, &mut self.sums)
    }
}

fn lag(view: &ClusterView) -> (u64, f64, Option<f64>) {
    let row = &view.group_topics[0];
    (
        row.lag_records,
        row.lag_seconds_lower,
        row.lag_seconds_upper,
    )
}

fn state(view: &ClusterView) -> Option<GroupState> {
    view.groups[0].state
}

#[test]
fn lag_is_the_age_of_the_first_record_that_is_there() {
    let mut stage = Stage::new();
    // Offsets 10 and 11 are holes.
    let records = [(9, 1_000), (12, 5_000), (13, 6_000)];
    let view = stage.look(20, 10, 14, &records);
    assert_eq!(lag(&view), (2, 15.0, Some(15.0)));
    assert_eq!(stage.sums.of(Sli::Lag), (1, 0));
    // Asked once: nothing changed.
    let snapshot = stage.snapshot(30, Some(10), 14, 14);
    assert_eq!(stage.watched.wanted(&snapshot), []);
    let view = stage.watched.take(&snapshot, &[], &mut stage.sums);
    assert_eq!(lag(&view), (2, 25.0, Some(25.0)));
    let view = stage.look(40, 10, 14, &records);
    assert_eq!(lag(&view), (2, 35.0, Some(35.0)));
    assert_eq!(stage.sums.of(Sli::Lag), (2, 1));
    assert_eq!(stage.sums.of(Sli::Broker), (3, 0));
    assert_eq!((view.under_replicated, view.offline), (1, 0));
}

#[test]
fn what_a_share_group_has_settled_behind_its_first_open_record_is_no_lag() {
    let mut stage = Stage::new();
    stage.unsettled = Some(2);
    let records = [(10, 5_000), (11, 6_000), (12, 7_000), (13, 8_000)];
    let view = stage.look(20, 10, 14, &records);
    assert_eq!(
        lag(&view),
        (2, 15.0, Some(15.0)),
        "10 and one other are open"
    );
    stage.unsettled = Some(0);
    assert_eq!(lag(&stage.look(30, 10, 14, &records)), (0, 0.0, Some(0.0)));
    // A broker that does not tell: all that may be open.
    stage.unsettled = Some(u64::MAX);
    assert_eq!(
        lag(&stage.look(40, 10, 14, &records)),
        (4, 35.0, Some(35.0))
    );
}

#[test]
fn markers_at_the_tail_are_no_lag_until_records_follow() {
    let mut stage = Stage::new();
    assert_eq!(lag(&stage.look(0, 10, 12, &[])), (0, 0.0, Some(0.0)));
    assert_eq!(state(&stage.look(100, 10, 12, &[])), Some(GroupState::Ok));
    // Only what came since is looked at.
    let snapshot = stage.snapshot(110, Some(10), 15, 15);
    let wanted = stage.watched.wanted(&snapshot);
    assert_eq!((wanted[0].from, wanted[0].until), (12, 15));
    stage.watched.take(&snapshot, &[], &mut stage.sums);
    let view = stage.look(120, 10, 15, &[(13, 110_000)]);
    assert_eq!(lag(&view), (2, 10.0, Some(10.0)));
}

#[test]
fn what_was_not_looked_at_is_an_interval_and_no_verdict_until_it_is_bad() {
    let mut stage = Stage::new();
    for second in [0, 10, 20, 40] {
        let end = if second < 10 { 5 } else { 9 };
        let snapshot = stage.snapshot(second, Some(5), end, end);
        stage.watched.wanted(&snapshot);
        let view = stage.watched.take(&snapshot, &[], &mut stage.sums);
        let expected = match second {
            0 => (0, 0.0, Some(0.0)),
            second => (4, second as f64 - 10.0, None),
        };
        assert_eq!(lag(&view), expected, "{second}");
    }
    assert_eq!(stage.sums.of(Sli::Lag), (1, 1));
    assert_eq!(
        stage.sums.unknown(Sli::Lag),
        [(Reason::NotExamined, 1), (Reason::NotExamined, 1)]
    );
}

#[test]
fn a_publish_time_in_the_future_is_unknown() {
    let mut stage = Stage::new();
    let view = stage.look(1, 5, 6, &[(5, 60_000)]);
    assert_eq!(lag(&view), (1, 0.0, None));
    assert_eq!(stage.sums.unknown(Sli::Lag), [(Reason::NegativeSkew, 1)]);
}

#[test]
fn delivery_is_judged_at_the_deadline_and_never_twice() {
    let mut stage = Stage::new();
    // What was there before is not this observer's to judge.
    stage.look(0, 0, 100, &[(0, 0)]);
    stage.look(10, 0, 150, &[(0, 0)]);
    assert_eq!(stage.sums.of(Sli::Delivery), (0, 0));
    stage.look(60, 120, 150, &[(120, 5_000)]);
    assert_eq!(stage.sums.of(Sli::Delivery), (0, 0));
    stage.look(70, 130, 150, &[(130, 5_000)]);
    assert_eq!(stage.sums.of(Sli::Delivery), (30, 20));
    stage.look(80, 150, 150, &[]);
    assert_eq!(stage.sums.of(Sli::Delivery), (30, 20));
    // Going back over what was delivered does not undo it.
    stage.look(90, 200, 200, &[]);
    stage.look(100, 10, 200, &[(10, 0)]);
    stage.look(160, 10, 200, &[(10, 0)]);
    assert_eq!(stage.sums.of(Sli::Delivery), (80, 20));
}

#[test]
fn states_do_not_make_the_known_mistakes() {
    let mut stage = Stage::new();
    let backlog: Vec<(i64, i64)> = (0..1_000).map(|o| (o, o * 100)).collect();
    // Behind by more than the threshold, and moving, with tiny dips in a lag that grows.
    for (second, committed, end) in [(40, 0, 400), (50, 60, 450), (60, 61, 500), (70, 110, 548)] {
        let view = stage.look(second, committed, end, &backlog);
        assert_eq!(state(&view), Some(GroupState::Warn), "{second}");
    }
    // It stands still.
    let view = stage.look(200, 110, 548, &backlog);
    assert_eq!(state(&view), Some(GroupState::Stalled));
    let drain = view.group_topics[0].drain_seconds;
    assert_eq!(drain, Some(f64::INFINITY));
    // Its members are gone.
    stage.members = Some(0);
    let view = stage.look(210, 110, 548, &backlog);
    assert_eq!(state(&view), Some(GroupState::Stopped));
    // They are back, and it works the rest off in one go: a burst, then silence.
    stage.members = Some(1);
    let view = stage.look(220, 548, 548, &[]);
    assert_eq!(state(&view), Some(GroupState::Ok));
    let view = stage.look(4_000, 548, 548, &[]);
    assert_eq!(state(&view), Some(GroupState::Ok));
    // Back to where it was before.
    let view = stage.look(4_010, 100, 548, &backlog);
    assert_eq!(state(&view), Some(GroupState::Rewinding));
    let view = stage.look(4_020, 548, 548, &[]);
    assert_eq!(state(&view), Some(GroupState::Ok));
    // Nobody for an hour.
    stage.members = Some(0);
    for second in [4_030, 7_640] {
        stage.look(second, 548, 600, &[(548, 4_025_000)]);
    }
    let judged = stage.sums.of(Sli::Lag);
    let view = stage.look(7_650, 548, 600, &[(548, 4_025_000)]);
    assert_eq!(state(&view), Some(GroupState::Abandoned));
    assert_eq!(
        stage.sums.of(Sli::Lag),
        judged,
        "abandoned groups have no SLI"
    );
}

#[test]
fn a_group_that_nobody_joins_lives_while_it_commits() {
    let mut stage = Stage::new();
    (stage.members, stage.simple) = (Some(0), true);
    for step in 0..10 {
        let second = 1_000 * u64::try_from(step).unwrap();
        let view = stage.look(second, step * 10, step * 10, &[]);
        assert_eq!(state(&view), Some(GroupState::Ok), "{second}");
    }
}

#[test]
fn retention_takes_what_is_lost_and_not_what_is_lag() {
    let mut stage = Stage::new();
    stage.retention = Some(RetentionSeen {
        trims: true,
        age_ms: Some(100_000),
    });
    let view = stage.look(20, 5, 100, &[(5, 10_000)]);
    assert_eq!(stage.sums.of(Sli::Retention), (0, 1));
    assert_eq!(view.topics[0].retention_used, Some(0.95));
    // A minute has not passed.
    stage.look(40, 5, 100, &[(5, 10_000)]);
    assert_eq!(stage.sums.of(Sli::Retention), (0, 1));
    let view = stage.look(60, 5, 100, &[(5, 10_000)]);
    // It stands still: 50 of 100 s old, a second a second.
    assert_eq!(view.group_topics[0].loss_seconds, Some(50.0));
    stage.start = 60;
    let view = stage.look(120, 5, 100, &[(60, 50_000)]);
    assert_eq!(lag(&view), (40, 70.0, Some(70.0)));
    assert_eq!(view.group_topics[0].newly_lost, 55);
    let view = stage.look(130, 5, 100, &[(60, 50_000)]);
    assert_eq!(view.group_topics[0].newly_lost, 0);
    // What is never deleted cannot overtake anybody.
    stage.retention = Some(RetentionSeen {
        trims: false,
        age_ms: None,
    });
    let view = stage.look(200, 60, 100, &[(60, 50_000)]);
    assert_eq!(view.group_topics[0].loss_seconds, Some(f64::INFINITY));
    assert_eq!(stage.sums.of(Sli::Retention).0, 1);
}

#[test]
fn a_topic_created_again_begins_anew() {
    let mut stage = Stage::new();
    stage.look(0, 90, 100, &[(90, 0)]);
    stage.look(10, 90, 100, &[(90, 0)]);
    stage.id = 2;
    // A position of the old topic is no lag in the new one.
    let view = stage.look(20, 90, 5, &[]);
    assert!(view.group_topics.is_empty());
    assert_eq!(stage.sums.unknown(Sli::Lag), [(Reason::BeyondEnd, 1)]);
    let view = stage.look(30, 2, 5, &[(2, 25_000)]);
    assert_eq!(lag(&view), (3, 5.0, Some(5.0)));
    assert_eq!(view.group_topics[0].newly_lost, 0);
}

#[test]
fn an_open_transaction_is_lag_of_those_who_read_behind_it() {
    let mut stage = Stage::new();
    let view = {
        let snapshot = stage.snapshot(0, Some(10), 20, 10);
        assert_eq!(stage.watched.wanted(&snapshot), []);
        stage.watched.take(&snapshot, &[], &mut stage.sums)
    };
    assert_eq!(lag(&view), (0, 0.0, Some(0.0)));
    let snapshot = stage.snapshot(10, Some(12), 20, 10);
    stage.watched.wanted(&snapshot);
    let view = stage.watched.take(&snapshot, &[], &mut stage.sums);
    assert_eq!(lag(&view).0, 8);
}

#[test]
fn positions_that_are_not_told_are_unknown_and_gone_from_the_view() {
    let mut stage = Stage::new();
    stage.look(0, 10, 20, &[(10, 0)]);
    let snapshot = stage.snapshot(10, None, 20, 20);
    stage.watched.wanted(&snapshot);
    let view = stage.watched.take(&snapshot, &[], &mut stage.sums);
    assert!(view.group_topics.is_empty());
    assert_eq!(state(&view), None);
    assert_eq!(stage.sums.unknown(Sli::Lag), [(Reason::NotAnswered, 1)]);
}

#[test]
fn rates_are_measured_while_there_is_a_backlog() {
    let mut stage = Stage::new();
    let backlog: Vec<(i64, i64)> = (0..10_000).map(|o| (o, o)).collect();
    let view = stage.look(0, 0, 10_000, &backlog);
    assert_eq!(view.group_topics[0].replay, None);
    stage.look(10, 1_000, 10_000, &backlog);
    let view = stage.look(20, 1_500, 10_000, &backlog);
    let replay = view.group_topics[0].replay.unwrap();
    assert_eq!((replay.low, replay.high), (100.0, 200.0));
    assert!((100.0..200.0).contains(&replay.likely), "{replay:?}");
    // 75 a second in the last 20 s, 8,500 to go.
    let drain = view.group_topics[0].drain_seconds.unwrap();
    assert!((drain - 8_500.0 / 75.0).abs() < 0.001, "{drain}");
}
