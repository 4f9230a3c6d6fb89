//! What a record may come from where that is not certain, or besides the one that is: to be linked, not to be its parent.
//!
//! Must not claim anything.

use tokio::time::Instant;

use super::{CANDIDATES_MAX, Deliveries, Index, Marks, Produced, Target, confidence, newest};
use crate::{
    event::{Candidate, Candidates, Name, Origin},
    propagation::{Evidence, SpanId},
};

/// Linked at most; the rest is counted.
const LINKED_MAX: usize = 8;

impl Deliveries {
    /// Records that one about to be sent may come from besides `parent`, newest first: something speaks for them,
    /// and nothing was sent for them to this topic yet.
    #[must_use]
    pub fn candidates(
        &self,
        target: Target,
        produced: Produced<'_>,
        parent: Option<SpanId>,
        now: Instant,
    ) -> Candidates {
        let mut index = self.lock();
        index.ask();
        let mut found = Candidates::default();
        for (evidence, id) in index.hints(&self.marks(target, produced, now)) {
            let Some(entry) = index.peek(id) else {
                continue;
            };
            let Some(run) = index.run_of(entry) else {
                continue;
            };
            let span = entry.context.span_id;
            let known = |c: &Candidate| c.origin.context.span_id == span;
            if Some(span) == parent || found.linked.iter().any(known) {
                continue;
            }
            if found.linked.len() >= LINKED_MAX {
                found.more = found.more.saturating_add(1);
                continue;
            }
            found.linked.push(Candidate {
                evidence,
                origin: Origin {
                    topic: Name::clone(&run.topic),
                    partition: run.partition,
                    offset: entry.offset,
                    context: entry.context,
                    confidence: confidence(evidence),
                },
            });
        }
        found
    }
}

impl Index {
    /// What speaks for an entry that nothing was sent for to this topic yet, strongest first.
    fn hints(&self, sent: &Marks<'_>) -> Vec<(Evidence, u64)> {
        let same_correlation = newest(&self.by_correlation, sent.correlation);
        let same_key = newest(&self.by_key, sent.key);
        let mut all: Vec<(Evidence, u64)> = Vec::new();
        all.extend(
            same_correlation
                .into_iter()
                .flatten()
                .map(|id| (Evidence::Header, id)),
        );
        for hash in sent.business {
            let same = self.by_business.newest(*hash, CANDIDATES_MAX);
            all.extend(
                same.into_iter()
                    .flatten()
                    .map(|id| (Evidence::BusinessId, id)),
            );
        }
        all.extend(same_key.into_iter().flatten().map(|id| (Evidence::Key, id)));
        if self.unsettled_records == 1 {
            let mut waiting = self.unsettled.values();
            let run = waiting.find_map(|waiting| waiting.front());
            let id = run.and_then(|run| Some(self.run(*run)?.unsettled));
            all.extend(id.map(|id| (Evidence::SoleInFlight, id)));
        }
        all.retain(|(_, id)| {
            self.peek(*id)
                .is_some_and(|entry| entry.claimed(sent.target).is_none())
        });
        all
    }
}
