//! The live view: a table redrawn in place on a terminal, one plain line a second anywhere else.
//!
//! Here because both show the same figures. Must not compute any, and writes only to the writer it was given.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::figures::Figures;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";
/// Lines are cut by the terminal while a frame is drawn, so that a narrow one does not upset the count of lines.
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";
const CLEAR_BELOW: &str = "\x1b[J";

/// How things may be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    /// Redraw in place.
    pub(super) live: bool,
    /// Use colour.
    pub(super) color: bool,
    /// Lines of the last frame.
    drawn: usize,
}

impl Screen {
    pub(super) const fn new(live: bool, color: bool) -> Self {
        Self {
            live,
            color,
            drawn: 0,
        }
    }

    /// Writes the figures after `elapsed`; `what` says what the pipeline is doing.
    pub(super) fn show(
        &mut self,
        out: &mut dyn Write,
        elapsed: Duration,
        what: &str,
        figures: &Figures,
    ) -> io::Result<()> {
        let seconds = elapsed.as_secs();
        if !self.live {
            writeln!(out, "{seconds:>3}s {what}: {}", line(figures))?;
            return out.flush();
        }
        let lines = self.frame(seconds, what, figures);
        if self.drawn > 0 {
            write!(out, "\x1b[{}A\r", self.drawn)?;
        }
        write!(out, "{CLEAR_BELOW}{WRAP_OFF}")?;
        for text in &lines {
            writeln!(out, "{text}")?;
        }
        write!(out, "{WRAP_ON}")?;
        self.drawn = lines.len();
        out.flush()
    }

    fn frame(&self, seconds: u64, what: &str, figures: &Figures) -> Vec<String> {
        let mut lines = vec![
            format!("{} {what}", self.bold(&format!("{seconds} s"))),
            String::new(),
            self.bold(&format!(
                "{:<20}{:>10}{:>10}{:>14}",
                "TOPIC", "PRODUCED", "PER S", "PUBLISH SLI"
            )),
        ];
        lines.extend(figures.topics.iter().map(|topic| {
            format!(
                "{:<20}{:>10}{:>10}{:>14}",
                topic.topic,
                count(topic.produced),
                rate(topic.per_second),
                share(topic.publish)
            )
        }));
        lines.push(String::new());
        lines.push(self.bold(&format!(
            "{:<12}{:>10}{:>8}{:>8}{:>9}{:>11}{:>10}{:>11}{:>13}",
            "GROUP",
            "DELIVERED",
            "PER S",
            "LAG",
            "LAG S",
            "FETCH P50",
            "P95",
            "COMMIT P95",
            "LATENCY SLI"
        )));
        lines.extend(figures.groups.iter().map(|group| {
            format!(
                "{:<12}{:>10}{:>8}{:>8}{:>9}{:>11}{:>10}{:>11}{:>13}",
                group.group,
                count(group.delivered),
                rate(group.per_second),
                count(group.lag_records),
                group.lag_seconds.map_or_else(none, |s| format!("{s:.1}")),
                bound(group.fetched_p50),
                bound(group.fetched_p95),
                bound(group.committed_p95),
                share(group.latency)
            )
        }));
        lines.push(String::new());
        lines.push(format!(
            "dead letters {}   availability {}",
            count(figures.dead_letters),
            share(figures.availability)
        ));
        let note =
            "latency: publish to fetched and to committed, last 10 s, upper bound of the bucket";
        lines.push(self.paint(DIM, note));
        lines.extend(figures.silent.iter().map(|fault| self.bad(fault)));
        lines
    }

    pub(super) fn bold(&self, text: &str) -> String {
        self.paint(BOLD, text)
    }

    pub(super) fn good(&self, text: &str) -> String {
        self.paint(GREEN, text)
    }

    pub(super) fn bad(&self, text: &str) -> String {
        self.paint(RED, text)
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.color {
            format!("{color}{text}{PLAIN}")
        } else {
            text.to_owned()
        }
    }
}

/// All figures in one line.
fn line(figures: &Figures) -> String {
    let topics: Vec<_> = figures
        .topics
        .iter()
        .map(|topic| format!("{} {}/s", topic.topic, rate(topic.per_second)))
        .collect();
    let groups: Vec<_> = figures
        .groups
        .iter()
        .map(|group| {
            format!(
                "{} {}/s lag {} ({} s) p95 {} sli {}",
                group.group,
                rate(group.per_second),
                count(group.lag_records),
                group.lag_seconds.map_or_else(none, |s| format!("{s:.1}")),
                bound(group.fetched_p95),
                share(group.latency)
            )
        })
        .collect();
    let mut text = format!(
        "{} | {} | dead letters {}",
        topics.join(", "),
        groups.join(", "),
        count(figures.dead_letters)
    );
    for fault in &figures.silent {
        text.push_str(" | ");
        text.push_str(fault);
    }
    text
}

fn none() -> String {
    "-".to_owned()
}

pub(super) fn count(value: Option<f64>) -> String {
    value.map_or_else(none, |v| format!("{v:.0}"))
}

fn rate(value: Option<f64>) -> String {
    value.map_or_else(none, |v| format!("{v:.1}"))
}

/// A share, cut and not rounded: 99.999 % is not 100 %.
pub(super) fn share(value: Option<f64>) -> String {
    value.map_or_else(none, |v| format!("{:.2} %", (v * 10_000.0).floor() / 100.0))
}

/// An upper bound in microseconds.
fn bound(value: Option<u64>) -> String {
    match value.map(Duration::from_micros) {
        None => none(),
        Some(bound) if bound == Duration::from_micros(u64::MAX) => "unbounded".to_owned(),
        Some(bound) => format!("<={bound:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::figures::{GroupFigures, TopicFigures};

    fn figures() -> Figures {
        Figures {
            topics: vec![TopicFigures {
                topic: "orders",
                produced: Some(712.0),
                per_second: Some(30.04),
                publish: Some(0.99999),
            }],
            groups: vec![GroupFigures {
                group: "billing",
                delivered: Some(700.0),
                per_second: None,
                lag_records: Some(12.0),
                lag_seconds: Some(0.44),
                fetched_p50: Some(25_000),
                fetched_p95: Some(u64::MAX),
                committed_p95: None,
                latency: Some(1.0),
            }],
            dead_letters: Some(3.0),
            availability: None,
            silent: vec!["inventory: refused".to_owned()],
        }
    }

    #[test]
    fn a_pipe_gets_one_line_without_control_characters() {
        let mut out = Vec::new();
        let mut screen = Screen::new(false, false);
        let at = Duration::from_secs(12);
        screen.show(&mut out, at, "running", &figures()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            " 12s running: orders 30.0/s | billing -/s lag 12 (0.4 s) p95 unbounded sli 100.00 % | dead letters 3 | inventory: refused\n"
        );
    }

    #[test]
    fn a_terminal_is_redrawn_over_exactly_the_lines_of_before() {
        let mut out = Vec::new();
        let mut screen = Screen::new(true, false);
        screen
            .show(&mut out, Duration::ZERO, "running", &figures())
            .unwrap();
        let first = String::from_utf8(std::mem::take(&mut out)).unwrap();
        screen
            .show(&mut out, Duration::ZERO, "running", &figures())
            .unwrap();
        let second = String::from_utf8(out).unwrap();
        let up = format!(
            "\x1b[{}A\r",
            first.lines().count() - usize::from(first.ends_with("[?7h"))
        );
        assert!(second.starts_with(&up), "{second:?}");
        assert!(first.contains("99.99 %") && first.contains("<=25ms"));
        assert!(!first.contains(BOLD), "colour was declined");
    }
}
