//! Folds generated names (`console-consumer-48121`) into one label value, as configured.
//!
//! Only labels are folded; the engine keeps true names apart, because two groups of one label are still two groups. Must not
//! be called on the hot path.

use std::{collections::HashMap, sync::Arc};

use regex::Regex;

use crate::event::Name;

/// Most names whose label is remembered.
pub const MAX_FOLDED: usize = 20_000;

/// One entry of `names:`.
#[derive(Debug, Clone)]
pub struct Fold {
    /// Names it is for.
    pub pattern: Regex,
    /// The label value they get; `$1` stands for the first group of the pattern.
    pub label: Name,
}

impl Fold {
    fn of(&self, name: &str) -> Name {
        let Some(found) = self.pattern.captures(name) else {
            return Arc::clone(&self.label);
        };
        let mut label = String::new();
        found.expand(&self.label, &mut label);
        label.into()
    }
}

/// Names to label values.
#[derive(Debug)]
pub(super) struct Names {
    folds: Vec<Fold>,
    known: HashMap<Name, Name>,
}

impl Names {
    pub(super) fn new(folds: Vec<Fold>) -> Self {
        Self {
            folds,
            known: HashMap::new(),
        }
    }

    /// The label value of a name.
    pub(super) fn label(&mut self, name: &Name) -> Name {
        if self.folds.is_empty() {
            return Arc::clone(name);
        }
        if let Some(label) = self.known.get(name) {
            return Arc::clone(label);
        }
        let fold = self.folds.iter().find(|f| f.pattern.is_match(name));
        let label = fold.map_or_else(|| Arc::clone(name), |f| f.of(name));
        if self.known.len() >= MAX_FOLDED {
            self.known.clear();
        }
        self.known.insert(Arc::clone(name), Arc::clone(&label));
        label
    }
}
