//! The availability SLI: of the requests the application sent, and the connections it tried, how many did the brokers serve in
//! time and without a fault of theirs?
//!
//! Which error is whose fault and how long a request may take is decided where the protocol is known; here only the verdict
//! falls. Must not know request names beyond comparing them.

use std::{collections::HashMap, time::Duration};

use super::{measure::Reason, verdicts::Out};
use crate::event::{Answer, Facts, FaultClass, Side, Unanswered};

/// Most operations whose time limit is remembered; protocols have about 100.
const MAX_OPERATIONS: usize = 256;

/// Judges answers; remembers how long each operation may take, for those that get none.
#[derive(Debug, Default)]
pub(super) struct Availability {
    limits: HashMap<&'static str, Option<Duration>>,
}

impl Availability {
    /// Takes one answer.
    pub(super) fn answered(&mut self, answer: &Answer, out: &mut Out<'_>) {
        if self.limits.len() < MAX_OPERATIONS {
            self.limits.insert(answer.operation, answer.time_limit);
        }
        if matches!(&answer.facts, Facts::Produced(p) if p.acks == 0) {
            // Sent without asking for an answer: there is no request to judge.
            return;
        }
        let series = out.availability();
        let late = answer.time_limit.is_some_and(|l| answer.duration > l);
        match answer.error.map(|failure| failure.class) {
            Some(FaultClass::Broker) => out.judge(&series, 0, 1),
            Some(FaultClass::Unknown) => out.unknown(&series, Reason::UnknownError, 1),
            _ if late => out.judge(&series, 0, 1),
            Some(FaultClass::Client) | None => out.judge(&series, 1, 0),
        }
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
