//! Collects figures by row and path, prints medians, ranges and ratios.

use std::collections::BTreeMap;

/// Figures of one run.
pub(crate) struct Table {
    rounds: usize,
    rows: Vec<String>,
    values: BTreeMap<(String, &'static str), Vec<f64>>,
}

impl Table {
    pub(crate) fn new(rounds: usize) -> Self {
        Self {
            rounds,
            rows: Vec::new(),
            values: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, row: &str, path: &'static str, value: f64) {
        if !self.rows.iter().any(|r| r == row) {
            self.rows.push(row.to_owned());
        }
        self.values
            .entry((row.to_owned(), path))
            .or_default()
            .push(value);
    }

    /// One column per path, and one per ratio: the first by the second.
    pub(crate) fn markdown(
        &self,
        paths: &[&'static str],
        ratios: &[(&'static str, &'static str)],
    ) -> String {
        let mut out = format!(
            "Medians of {} interleaved rounds, [lowest to highest].\n\n| |",
            self.rounds
        );
        for path in paths {
            out += &format!(" {path} |");
        }
        for (of, base) in ratios {
            out += &format!(" {of} / {base} |");
        }
        out += "\n|---|";
        out += &"---|".repeat(paths.len() + ratios.len());
        out += "\n";
        for row in &self.rows {
            out += &format!("| {row} |");
            for path in paths {
                out += &self.cell(row, path);
            }
            for (of, base) in ratios {
                out += &self.ratio(row, of, base);
            }
            out += "\n";
        }
        out
    }

    fn sorted(&self, row: &str, path: &'static str) -> Vec<f64> {
        let mut values = self
            .values
            .get(&(row.to_owned(), path))
            .cloned()
            .unwrap_or_default();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self, row: &str, path: &'static str) -> Option<f64> {
        let values = self.sorted(row, path);
        values.get(values.len() / 2).copied()
    }

    fn cell(&self, row: &str, path: &'static str) -> String {
        let values = self.sorted(row, path);
        match (self.median(row, path), values.first(), values.last()) {
            (Some(median), Some(low), Some(high)) if values.len() > 1 => {
                format!(
                    " {} [{} to {}] |",
                    figure(median),
                    figure(*low),
                    figure(*high)
                )
            }
            (Some(median), ..) => format!(" {} |", figure(median)),
            _ => " |".to_owned(),
        }
    }

    fn ratio(&self, row: &str, of: &'static str, base: &'static str) -> String {
        match (self.median(row, of), self.median(row, base)) {
            (Some(ours), Some(theirs)) if theirs > 0.0 => format!(" {:.2} |", ours / theirs),
            _ => " |".to_owned(),
        }
    }
}

fn figure(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}
