//! Builds the tree.
//!
//! Nodes are keyed by position, because a program that copies headers puts one span id on several records: the earliest
//! owns it, the others are its copies. What has no parent among the records hangs under the root and says why. Must not
//! invent a parent, and must end on any input, cycles included.

use std::collections::{HashMap, HashSet};

use super::{Observed, Position};
use crate::propagation::{Evidence, SpanId, TraceId};

/// How a node hangs on its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// It is the root.
    Root,
    /// Our member names the parent's span, found by this evidence.
    Sent(Evidence),
    /// It carries the same span id as its parent: a program copied the headers.
    Copied,
    /// The headers of a dead letter name the parent's position.
    DeadLetter,
    /// It has the same trace id and names no parent.
    Trace,
    /// It has the same correlation id only.
    Correlation,
}

impl Link {
    /// As in the texts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Sent(evidence) => evidence.as_str(),
            Self::Copied => "copied",
            Self::DeadLetter => "dead_letter",
            Self::Trace => "trace",
            Self::Correlation => "correlation",
        }
    }
}

/// One record in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The record.
    pub observed: Observed,
    /// Index of the parent in [`Tree::nodes`]; `None` for the root.
    pub parent: Option<usize>,
    /// 0 for the root.
    pub depth: usize,
    /// How it hangs there.
    pub link: Link,
    /// When it was sent, ms: for a copy and for want of our member the record's own time.
    pub at_ms: i64,
    /// Time since the parent's; negative where clocks disagree, `None` where the parent is not known.
    pub hop_ms: Option<i64>,
    /// False where our member names a parent that is not among the records.
    pub parent_found: bool,
    /// The earlier record that has the same parent, topic, key and value.
    pub duplicate_of: Option<Position>,
}

/// The records of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Each behind its parent, siblings by time.
    pub nodes: Vec<Node>,
    /// The root's, else the first that a record carries.
    pub trace_id: Option<TraceId>,
    /// The root's, else the first there is.
    pub correlation_id: Option<String>,
}

/// Where a record hangs, before the order is known.
#[derive(Debug, Clone, Copy)]
struct Place {
    parent: Option<usize>,
    link: Link,
    found: bool,
}

impl Tree {
    /// Builds the tree of records that belong together; `None` without records. A position that is given twice counts once.
    #[must_use]
    pub fn build(mut records: Vec<Observed>) -> Option<Self> {
        // The order decides who owns a span id: a dead letter is never the first to carry it.
        records.sort_by(|a, b| a.position.cmp(&b.position));
        records.dedup_by(|a, b| a.position == b.position);
        records.sort_by_key(|record| (record.dead_letter.is_some(), record.record_ms));
        let mut places = places(&records);
        cut_cycles(&mut places);
        let root = root(&records, &places)?;
        hang_under_root(&records, &mut places, root);
        let order = preorder(&records, &places, root);
        let mut tree = Self {
            trace_id: None,
            correlation_id: None,
            nodes: nodes(records, &places, &order),
        };
        tree.forget_unused_ids();
        tree.mark_duplicates();
        let carried = tree.nodes.iter().filter(|node| !node.observed.derived);
        let mut ids = carried.filter_map(|node| node.observed.context);
        tree.trace_id = ids.next().map(|context| context.trace_id);
        let of = |node: &Node| node.observed.correlation_id.clone();
        tree.correlation_id = tree.nodes.iter().find_map(of);
        Some(tree)
    }

    /// Ids that follow from a position mean something only where another record names them.
    fn forget_unused_ids(&mut self) {
        let children = self.nodes.iter().filter(|node| node.names_its_parent());
        let used: HashSet<usize> = children.filter_map(|node| node.parent).collect();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            if node.observed.derived && !used.contains(&at) {
                node.observed.derived = false;
                node.observed.context = None;
            }
        }
    }

    /// Of siblings that name their parent, and of copies in their parent's own topic, the later ones.
    fn mark_duplicates(&mut self) {
        let mut first: HashMap<(usize, String, u64), usize> = HashMap::new();
        let mut later = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let Position { topic, .. } = &node.observed.position;
            let key = |parent| (parent, topic.clone(), node.observed.identity);
            // For copies of this one.
            first.insert(key(at), at);
            let Some(parent) = node.parent.filter(|_| node.names_its_parent()) else {
                continue;
            };
            match first.get(&key(parent)) {
                Some(original) if *original != parent || node.link == Link::Copied => {
                    later.push((at, *original));
                }
                _ => {
                    first.insert(key(parent), at);
                }
            }
        }
        for (at, original) in later {
            let of = self.nodes.get(original);
            let of = of.map(|node| node.observed.position.clone());
            if let Some(node) = self.nodes.get_mut(at) {
                node.duplicate_of = of;
            }
        }
    }
}

impl Node {
    fn names_its_parent(&self) -> bool {
        match self.link {
            Link::Sent(_) => self.parent_found,
            Link::Copied | Link::DeadLetter => true,
            Link::Root | Link::Trace | Link::Correlation => false,
        }
    }
}

type SpanKey = (TraceId, SpanId);

fn own_span(record: &Observed) -> Option<SpanKey> {
    let context = record.context?;
    Some((context.trace_id, context.span_id))
}

/// The parent of each record among the others.
fn places(records: &[Observed]) -> Vec<Place> {
    let mut owners: HashMap<SpanKey, usize> = HashMap::new();
    let mut positions: HashMap<&Position, usize> = HashMap::new();
    for (at, record) in records.iter().enumerate() {
        positions.insert(&record.position, at);
        if let Some(span) = own_span(record) {
            owners.entry(span).or_insert(at);
        }
    }
    let place = |(at, record): (usize, &Observed)| {
        let other = |found: Option<&usize>| found.copied().filter(|found| *found != at);
        let origin = record.dead_letter.as_ref().and_then(|d| d.origin.as_ref());
        if let Some(parent) = other(origin.and_then(|origin| positions.get(origin))) {
            return Place::under(parent, Link::DeadLetter);
        }
        let span = own_span(record);
        if let Some(parent) = other(span.and_then(|span| owners.get(&span))) {
            return Place::under(parent, Link::Copied);
        }
        let Some((trace_id, span_id)) = span else {
            return Place::ALONE;
        };
        let Some(sent) = record.sent else {
            return Place::ALONE;
        };
        let link = Link::Sent(sent.evidence);
        match sent.parent.filter(|parent| *parent != span_id) {
            None => Place::ALONE,
            Some(parent) => match other(owners.get(&(trace_id, parent))) {
                Some(parent) => Place::under(parent, link),
                None => Place {
                    parent: None,
                    link,
                    found: false,
                },
            },
        }
    };
    records.iter().enumerate().map(place).collect()
}

impl Place {
    const ALONE: Self = Self {
        parent: None,
        link: Link::Root,
        found: true,
    };

    const fn under(parent: usize, link: Link) -> Self {
        Self {
            parent: Some(parent),
            link,
            found: true,
        }
    }
}

/// Takes one parent away from every cycle. Headers can say anything.
fn cut_cycles(places: &mut [Place]) {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Seen {
        Not,
        Now,
        Before,
    }
    let mut seen = vec![Seen::Not; places.len()];
    for start in 0..places.len() {
        let mut path = Vec::new();
        let mut next = Some(start);
        while let Some(at) = next {
            match seen.get(at) {
                Some(Seen::Not) => {}
                Some(Seen::Now) => {
                    if let Some(place) = places.get_mut(at) {
                        *place = Place::ALONE;
                    }
                    break;
                }
                Some(Seen::Before) | None => break,
            }
            if let Some(mark) = seen.get_mut(at) {
                *mark = Seen::Now;
            }
            path.push(at);
            next = places.get(at).and_then(|place| place.parent);
        }
        for at in path {
            if let Some(mark) = seen.get_mut(at) {
                *mark = Seen::Before;
            }
        }
    }
}

/// When a record was sent, as far as its place in the tree is concerned: a copy carries its parent's send time.
fn at_ms(record: &Observed, link: Link) -> i64 {
    match link {
        Link::Copied | Link::DeadLetter => record.record_ms,
        _ => record.sent_ms(),
    }
}

/// The earliest of those without a parent, before those whose parent is missing.
fn root(records: &[Observed], places: &[Place]) -> Option<usize> {
    let all = records.iter().zip(places).enumerate();
    let free = all.filter(|(_, (_, place))| place.parent.is_none());
    free.min_by_key(|(_, (record, place))| {
        (!place.found, at_ms(record, place.link), &record.position)
    })
    .map(|(at, _)| at)
}

fn hang_under_root(records: &[Observed], places: &mut [Place], root: usize) {
    let trace_of = |at: usize| {
        let context = records.get(at).and_then(|record| record.context);
        context.map(|context| context.trace_id)
    };
    let its_trace = trace_of(root);
    for (at, place) in places.iter_mut().enumerate() {
        if at == root || place.parent.is_some() {
            continue;
        }
        place.parent = Some(root);
        if place.found {
            let same = its_trace.is_some() && trace_of(at) == its_trace;
            place.link = if same { Link::Trace } else { Link::Correlation };
        }
    }
}

/// (index, depth) of each, behind its parent, siblings by time.
fn preorder(records: &[Observed], places: &[Place], root: usize) -> Vec<(usize, usize)> {
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, place) in places.iter().enumerate() {
        if let Some(parent) = place.parent {
            children.entry(parent).or_default().push(at);
        }
    }
    let key = |at: &usize| {
        let record = records.get(*at)?;
        let place = places.get(*at)?;
        Some((at_ms(record, place.link), &record.position))
    };
    for siblings in children.values_mut() {
        siblings.sort_by(|a, b| key(b).cmp(&key(a)));
    }
    let mut order = Vec::new();
    let mut waiting = vec![(root, 0usize)];
    while let Some((at, depth)) = waiting.pop() {
        order.push((at, depth));
        let below = children.remove(&at).unwrap_or_default();
        let depth = depth.saturating_add(1);
        waiting.extend(below.into_iter().map(|child| (child, depth)));
    }
    order
}

fn nodes(records: Vec<Observed>, places: &[Place], order: &[(usize, usize)]) -> Vec<Node> {
    let mut records: Vec<Option<Observed>> = records.into_iter().map(Some).collect();
    let mut indices: HashMap<usize, usize> = HashMap::new();
    let mut nodes: Vec<Node> = Vec::new();
    for (at, depth) in order {
        let (Some(place), Some(record)) = (places.get(*at), records.get_mut(*at)) else {
            continue;
        };
        let Some(observed) = record.take() else {
            continue;
        };
        indices.insert(*at, nodes.len());
        let parent = place
            .parent
            .and_then(|parent| indices.get(&parent).copied());
        let at_ms = at_ms(&observed, place.link);
        let mut node = Node {
            observed,
            parent,
            depth: *depth,
            link: place.link,
            at_ms,
            hop_ms: None,
            parent_found: place.found,
            duplicate_of: None,
        };
        if node.names_its_parent()
            && let Some(parent) = parent.and_then(|parent| nodes.get(parent))
        {
            node.hop_ms = Some(at_ms.saturating_sub(parent.at_ms));
        }
        nodes.push(node);
    }
    nodes
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
