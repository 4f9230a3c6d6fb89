//! The availability SLI: of the requests the application sent, and the connections it tried, how many did the brokers serve in
//! time and without a fault of theirs?
//!
//! Which error is whose fault and how long a request may take is decided where the protocol is known; here only the verdict
//! falls. Must not know request names beyond comparing them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{measure::Reason, verdicts::Out};
use crate::event::{Answer, Facts, FaultClass, Name, Side, Unanswered};

/// Most operations whose time limit is remembered; protocols have about 100.
const MAX_OPERATIONS: usize = 256;
/// An election or a load may take this long before it is an outage: longer than Kafka needs to notice a lost broker
/// (`broker.session.timeout.ms`, 9 s) and than the first use of a cluster, which creates its internal topics.
const SETTLING_MAX: Duration = Duration::from_secs(10);
/// Most (client, operation) that wait for something to settle; past it the broker is blamed at once.
const MAX_SETTLING: usize = 1_000;

/// Since when a client has been told nothing but "not yet", and when last.
#[derive(Debug)]
struct Wait {
    since: Instant,
    last: Instant,
}

/// Judges answers; remembers how long each operation may take, for those that get none.
#[derive(Debug, Default)]
pub(super) struct Availability {
    limits: HashMap<&'static str, Option<Duration>>,
    settling: HashMap<(Name, &'static str), Wait>,
}

impl Availability {
    /// Takes one answer to this client.
    pub(super) fn answered(&mut self, answer: &Answer, client: &Name, out: &mut Out<'_>) {
        if self.limits.len() < MAX_OPERATIONS {
            self.limits.insert(answer.operation, answer.time_limit);
        }
        if matches!(&answer.facts, Facts::Produced(p) if p.acks == 0) {
            // Sent without asking for an answer: there is no request to judge.
            return;
        }
        let series = out.availability();
        let late = answer.time_limit.is_some_and(|l| answer.duration > l);
        let class = answer.error.map(|failure| failure.class);
        let settles = class == Some(FaultClass::Settling)
            && self.is_settling(client, answer.operation, out.now.mono);
        if class.is_none() && !self.settling.is_empty() {
            self.settling
                .remove(&(Arc::clone(client), answer.operation));
        }
        match class {
            Some(FaultClass::Settling) if settles => {
                out.unknown(&series, Reason::Settling, 1);
            }
            Some(FaultClass::Broker | FaultClass::Settling) => out.judge(&series, 0, 1),
            Some(FaultClass::Unknown) => out.unknown(&series, Reason::UnknownError, 1),
            _ if late => out.judge(&series, 0, 1),
            Some(FaultClass::Client) | None => out.judge(&series, 1, 0),
        }
    }

    /// Forgets who has stopped asking.
    pub(super) fn tick(&mut self, now: Instant) {
        self.settling
            .retain(|_, wait| now.saturating_duration_since(wait.last) < SETTLING_MAX);
    }

    /// Whether this client has heard "not yet" for a short while only.
    fn is_settling(&mut self, client: &Name, operation: &'static str, now: Instant) -> bool {
        let room = self.settling.len() < MAX_SETTLING;
        let key = (Arc::clone(client), operation);
        if !room && !self.settling.contains_key(&key) {
            return false;
        }
        let wait = self.settling.entry(key).or_insert(Wait {
            since: now,
            last: now,
        });
        wait.last = now;
        now.saturating_duration_since(wait.since) <= SETTLING_MAX
    }

    /// A broker could not be reached.
    pub(super) fn unreachable(out: &mut Out<'_>) {
        let series = out.availability();
        out.judge(&series, 0, 1);
    }

    /// A connection ended with requests open.
    pub(super) fn closed(&self, side: Side, unanswered: &[Unanswered], out: &mut Out<'_>) {
        let series = out.availability();
        for request in unanswered {
            if matches!(&request.facts, Facts::Produced(p) if p.acks == 0) {
                continue;
            }
            match side {
                Side::Broker => out.judge(&series, 0, 1),
                Side::Proxy => out.unknown(&series, Reason::ProxyClosed, 1),
                // The client hung up: because it was waiting too long, or because it was done.
                Side::Client if self.overdue(request) => out.judge(&series, 0, 1),
                Side::Client => out.unknown(&series, Reason::ClientClosed, 1),
            }
        }
    }

    fn overdue(&self, request: &Unanswered) -> bool {
        self.limits
            .get(request.operation)
            .copied()
            .flatten()
            .is_some_and(|limit| request.waited > limit)
    }
}
