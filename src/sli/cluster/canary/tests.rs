//! Tables of what is told and when, and what becomes of each record.

use super::*;

const SETTINGS: Settings = Settings {
    interval: Duration::from_secs(1),
    late: Duration::from_millis(500),
    lost: Duration::from_secs(10),
};
const LEADER: i32 = 7;

/// A canary with one partition that is led, whose reading begins at offset 100.
struct Stage {
    canary: Canary,
    began: Instant,
    now: Instant,
}

fn led(partition: i32, leader: Option<i32>) -> Led {
    Led {
        partition,
        leader,
        preferred: LEADER,
    }
}

impl Stage {
    fn new() -> Self {
        let began = Instant::now();
        let mut canary = Canary::new(SETTINGS);
        canary.lay(began, &[led(0, Some(LEADER))]);
        assert_eq!(canary.unplaced(LEADER), [0]);
        canary.place(began, 0, 0, 100);
        assert_eq!(canary.positions(LEADER), [(0, 100)]);
        Self {
            canary,
            began,
            now: began,
        }
    }

    /// Goes to this many ms after the beginning, in turns as the program takes them.
    fn at(&mut self, ms: u64) {
        let until = self.began + Duration::from_millis(ms);
        while self.now < until {
            self.now = until.min(self.now + Duration::from_millis(100));
            self.canary.turn(self.now);
        }
        self.canary.turn(self.now);
    }

    /// Sends what is due and gives its numbers.
    fn send(&mut self) -> Vec<u64> {
        let due = self.canary.due(self.now, LEADER);
        due.into_iter().flat_map(|(_, numbers)| numbers).collect()
    }

    fn acknowledge(&mut self, numbers: &[u64], offset: i64) {
        let of = (LEADER, 0);
        self.canary.acknowledged(self.now, of, numbers, offset);
    }

    fn refuse(&mut self, numbers: &[u64], for_good: bool) {
        let fault = Fault::Refused;
        self.canary
            .not_acknowledged(self.now, 0, numbers, fault, for_good);
    }

    fn look(&mut self, numbers: &[u64], next: i64, end: i64) {
        let positions = self.canary.positions(LEADER);
        let from = positions.first().map_or(-1, |(_, at)| *at);
        let looked = Looked {
            numbers,
            from,
            next,
            end,
        };
        self.canary.looked(self.now, 0, looked);
    }

    /// What was judged, the topic being the same still.
    fn verdicts(&mut self) -> Vec<Verdict> {
        self.canary.confirm(self.now);
        self.canary.verdicts()
    }

    /// How many of the verdicts so far are so.
    fn count(&mut self, is: impl Fn(&Verdict) -> bool) -> usize {
        self.verdicts().iter().filter(|one| is(one)).count()
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_record_that_comes_back_is_in_time_or_late_by_when_it_was_due() {
    for (back, late) in [(200, false), (500, false), (501, true), (5_000, true)] {
        let mut stage = Stage::new();
        stage.at(0);
        assert_eq!(stage.send(), [0]);
        stage.acknowledge(&[0], 100);
        assert_eq!(
            stage.verdicts(),
            [
                Verdict::Sent(LEADER),
                Verdict::Acknowledged(LEADER, Duration::ZERO)
            ]
        );
        stage.at(back);
        stage.verdicts();
        stage.look(&[0], 101, 101);
        let mut expected = vec![Verdict::CameBack(LEADER, ms(back))];
        expected.extend(late.then_some(Verdict::Late(LEADER)));
        assert_eq!(stage.verdicts(), expected, "back after {back}");
        // Read again: it was judged.
        stage.look(&[0], 101, 101);
        assert_eq!(stage.verdicts(), []);
    }
}

#[test]
fn one_record_is_due_per_interval_and_partition_spread_over_it() {
    let mut stage = Stage::new();
    let all: Vec<Led> = (0..4)
        .map(|partition| led(partition, Some(LEADER)))
        .collect();
    stage.canary.lay(stage.began, &all);
    for partition in 1..4 {
        stage.canary.place(stage.began, partition, 0, 0);
    }
    let mut sent = Vec::new();
    for turn in 0..20 {
        stage.at(turn * 100);
        let due = stage.canary.due(stage.now, LEADER);
        sent.extend(
            due.into_iter()
                .map(|(partition, _)| (turn * 100, partition)),
        );
    }
    let wanted = [
        (0, 0),
        (300, 1),
        (500, 2),
        (800, 3),
        (1_000, 0),
        (1_300, 1),
        (1_500, 2),
        (1_800, 3),
    ];
    assert_eq!(sent, wanted);
}

#[test]
fn a_record_that_was_acknowledged_and_read_past_is_lost_at_once() {
    let mut stage = Stage::new();
    stage.at(0);
    stage.send();
    stage.acknowledge(&[0], 100);
    stage.at(100);
    stage.verdicts();
    // Somebody else's record stands behind where ours was to be.
    stage.look(&[], 102, 102);
    assert_eq!(stage.verdicts(), [Verdict::Lost(LEADER)]);
    // It turns up after all: late, and the count of lost stays.
    stage.look(&[0], 103, 103);
    let took = ms(100);
    assert_eq!(
        stage.verdicts(),
        [
            Verdict::Recovered(LEADER),
            Verdict::CameBack(LEADER, took),
            Verdict::Late(LEADER)
        ]
    );
}

#[test]
fn a_record_is_missing_from_the_end_only_where_a_later_look_says_so() {
    let mut stage = Stage::new();
    stage.at(0);
    stage.send();
    stage.acknowledge(&[0], 100);
    stage.canary.allow(false, true);
    let lost = |one: &Verdict| matches!(one, Verdict::Lost(_));
    // Rights were taken away: nothing can be said.
    assert_eq!(
        stage.count(|one| *one == Verdict::Unknown(Doubt::NoRights)),
        1
    );
    let mut stage = Stage::new();
    stage.at(0);
    stage.send();
    stage.acknowledge(&[0], 100);
    // The last look was before the deadline: nobody can read the partition, which is no loss.
    stage.at(9_900);
    stage.look(&[], 100, 100);
    stage.at(30_000);
    assert_eq!(stage.count(lost), 0);
    assert!(stage.canary.overdue(stage.now)[&LEADER] >= 1);
    // The partition can be read again, and ends before the record.
    stage.look(&[], 100, 100);
    stage.at(30_100);
    assert_eq!(stage.count(lost), 1);
}

#[test]
fn a_record_behind_an_open_transaction_is_overdue_and_not_lost() {
    let mut stage = Stage::new();
    stage.at(0);
    stage.send();
    stage.acknowledge(&[0], 100);
    for at in 1..60 {
        stage.at(at * 1_000);
        // It may be there: the partition ends behind it, and no reader gets so far.
        stage.look(&[], 100, 130);
    }
    assert_eq!(stage.count(|one| matches!(one, Verdict::Lost(_))), 0);
    stage.look(&[0], 101, 130);
    assert_eq!(stage.count(|one| *one == Verdict::Late(LEADER)), 1);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_and_fails_at_its_deadline() {
    let mut stage = Stage::new();
    stage.at(0);
    let mut attempts = 0;
    for at in 0..=102 {
        stage.at(at * 100);
        if stage.send().contains(&0) {
            attempts += 1;
            stage.refuse(&[0], false);
        }
    }
    assert!((8..=14).contains(&attempts), "{attempts} attempts in 10 s");
    let failed = Verdict::Failed(LEADER, Fault::Refused);
    assert_eq!(stage.count(|one| *one == failed), 1);
    // What is refused for good is not tried again.
    let mut stage = Stage::new();
    stage.at(0);
    stage.send();
    stage.refuse(&[0], true);
    assert_eq!(stage.verdicts(), [Verdict::Sent(LEADER), failed]);
    stage.at(900);
    assert_eq!(stage.send(), [0u64; 0]);
}

#[test]
fn a_record_written_twice_is_judged_once_and_one_that_was_read_did_not_fail() {
    let mut stage = Stage::new();
    stage.at(0);
    stage.send();
    // The answer was lost; it is sent again, and both copies are read.
    stage.refuse(&[0], false);
    stage.at(200);
    assert_eq!(stage.send(), [0]);
    stage.look(&[0], 101, 102);
    stage.look(&[0], 102, 102);
    stage.at(300);
    stage.acknowledge(&[0], 101);
    let judged: Vec<Verdict> = stage.verdicts();
    assert_eq!(
        judged,
        [
            Verdict::Sent(LEADER),
            Verdict::CameBack(LEADER, ms(200)),
            Verdict::Acknowledged(LEADER, ms(300))
        ]
    );
    // One that was read and whose answer never comes.
    stage.at(1_000);
    assert_eq!(stage.send(), [1]);
    stage.look(&[1], 103, 103);
    stage.at(1_900);
    stage.refuse(&[1], false);
    stage.at(20_000);
    let failed = stage.verdicts();
    let failed = failed
        .iter()
        .filter(|one| matches!(one, Verdict::Failed(..)));
    // Those after it were never answered; it was read.
    assert_eq!(failed.count(), 9);
}

#[test]
fn records_come_back_in_any_order_and_foreign_ones_are_nothing() {
    let mut stage = Stage::new();
    for at in [0, 1_000, 2_000] {
        stage.at(at);
        stage.send();
    }
    stage.verdicts();
    stage.look(&[2, 99, 0, 1], 104, 104);
    let back: Vec<u128> = stage
        .verdicts()
        .iter()
        .filter_map(|one| match one {
            Verdict::CameBack(_, took) => Some(took.as_millis()),
            _ => None,
        })
        .collect();
    assert_eq!(back, [0, 2_000, 1_000]);
}

#[test]
fn records_deleted_before_they_were_read_are_lost_exactly() {
    let mut stage = Stage::new();
    for (at, number) in [(0, 0), (1_000, 1), (2_000, 2), (3_000, 3)] {
        stage.at(at);
        assert_eq!(stage.send(), [number]);
    }
    stage.acknowledge(&[0, 1, 2], 100);
    stage.verdicts();
    stage.canary.out_of_range(0);
    assert_eq!(stage.canary.unplaced(LEADER), [0]);
    stage.canary.place(stage.now, 0, 102, 104);
    assert_eq!(
        stage.verdicts(),
        [Verdict::Lost(LEADER), Verdict::Lost(LEADER)]
    );
    assert_eq!(stage.canary.positions(LEADER), [(0, 102)]);
    stage.look(&[2, 3], 104, 104);
    stage.acknowledge(&[3], 103);
    assert_eq!(stage.count(|one| matches!(one, Verdict::Lost(_))), 0);
}

#[test]
fn an_end_that_moved_back_loses_what_stood_behind_it() {
    let mut stage = Stage::new();
    stage.at(0);
    stage.send();
    stage.acknowledge(&[0], 100);
    stage.at(900);
    stage.canary.out_of_range(0);
    // An unclean election: the log ends at 60 now.
    stage.canary.place(stage.now, 0, 0, 60);
    assert_eq!(stage.canary.positions(LEADER), [(0, 0)]);
    assert_eq!(stage.count(|one| matches!(one, Verdict::Lost(_))), 0);
    stage.at(11_000);
    stage.look(&[], 60, 60);
    stage.at(11_100);
    assert_eq!(stage.count(|one| *one == Verdict::Lost(LEADER)), 1);
}

#[test]
fn a_topic_created_again_or_a_partition_gone_loses_nothing() {
    let mut stage = Stage::new();
    stage.at(0);
    stage.send();
    stage.acknowledge(&[0], 100);
    stage.verdicts();
    // Another topic of the name: written at its beginning, which stands before where the other one was read.
    stage.at(1_000);
    stage.send();
    stage.acknowledge(&[1], 0);
    assert!(stage.canary.suspects());
    let judged = stage.canary.verdicts();
    assert!(!judged.contains(&Verdict::Lost(LEADER)), "{judged:?}");
    stage.canary.renew();
    let gone = Verdict::Unknown(Doubt::TopicDeleted);
    assert_eq!(stage.verdicts(), [gone, gone]);
    stage
        .canary
        .lay(stage.now, &[led(0, Some(LEADER)), led(1, None)]);
    assert_eq!(stage.canary.unplaced(LEADER), [0]);
    // A partition more begins on its own; one less takes its record along.
    stage.at(1_400);
    stage.canary.place(stage.now, 0, 0, 0);
    stage.at(1_700);
    stage.canary.lay(stage.now, &[led(0, Some(LEADER))]);
    let sent = Verdict::Sent(LEADER);
    assert_eq!(stage.verdicts(), [sent, sent, gone]);
}

#[test]
fn a_partition_without_a_leader_fails_its_records() {
    let mut stage = Stage::new();
    stage.canary.lay(stage.began, &[led(0, None)]);
    stage.at(0);
    stage.at(10_000);
    assert_eq!(stage.send(), [0u64; 0]);
    let failed = Verdict::Failed(LEADER, Fault::NoLeader);
    assert_eq!(stage.count(|one| *one == failed), 1);
    // The leader is back: what is still out is sent, and is late.
    stage.canary.lay(stage.now, &[led(0, Some(LEADER))]);
    assert_eq!(stage.send().len(), 10);
}

#[test]
fn while_we_stand_still_nothing_is_late() {
    let mut stage = Stage::new();
    stage.at(0);
    stage.send();
    stage.acknowledge(&[0], 100);
    stage.verdicts();
    // Stopped and continued: no turn for five seconds.
    stage.now += ms(5_000);
    stage.canary.turn(stage.now);
    stage.look(&[0], 101, 101);
    let judged = stage.verdicts();
    assert!(judged.contains(&Verdict::Unknown(Doubt::StoodStill)));
    assert!(!judged.iter().any(|one| matches!(one, Verdict::Late(_))));
}

#[test]
fn without_the_right_to_read_only_the_acknowledgement_is_judged() {
    let mut stage = Stage::new();
    stage.canary.allow(true, false);
    stage.at(0);
    stage.send();
    stage.acknowledge(&[0], 100);
    stage.at(900);
    assert_eq!(
        stage.verdicts(),
        [
            Verdict::Sent(LEADER),
            Verdict::Acknowledged(LEADER, Duration::ZERO)
        ]
    );
    stage.at(1_000);
    stage.send();
    stage.at(12_000);
    let failed = Verdict::Failed(LEADER, Fault::NotAnswered);
    assert!(stage.verdicts().contains(&failed));
    stage.canary.allow(false, false);
    stage.verdicts();
    stage.at(20_000);
    assert_eq!(stage.verdicts(), []);
}

#[test]
fn what_is_out_is_bounded() {
    let mut canary = Canary::new(Settings {
        lost: Duration::from_secs(3_600),
        interval: ms(100),
        ..SETTINGS
    });
    let began = Instant::now();
    canary.lay(began, &[led(0, None)]);
    for turn in 0..3_000 {
        canary.turn(began + ms(100 * turn));
    }
    let judged = canary.verdicts();
    let sent = judged.iter().filter(|one| **one == Verdict::Sent(LEADER));
    assert_eq!(sent.count(), 2_000);
    let too_many = Verdict::Unknown(Doubt::TooMany);
    assert_eq!(judged.iter().filter(|one| **one == too_many).count(), 1_000);
}
