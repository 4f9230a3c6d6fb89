//! How fast error budgets burn, from what Prometheus recorded.
//!
//! Pure: the questions as text, the answers as bytes. Must not ask.
//!
//! Reference: Prometheus HTTP API v1, instant queries.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use super::{
    LEAST_BAD,
    recording::{OBJECTIVE, errors, events, good},
};

/// The burn rate from which a budget burns: as the alert `ErrorBudgetBurnOnCall`.
pub const BURNING: f64 = 4.0;

/// What must be asked, in this order.
#[must_use]
pub fn questions() -> [String; 4] {
    [
        OBJECTIVE.to_owned(),
        errors("1h"),
        format!("{} - {}", events("1h"), good("1h")),
        "cluster_sli_topic_group:throughline_sli_budget_left:ratio30d".to_owned(),
    ]
}

/// What one budget is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// `cluster`.
    pub cluster: String,
    /// `sli`.
    pub sli: String,
    /// `topic`, or empty.
    pub topic: String,
    /// `group`, or empty.
    pub group: String,
}

/// One budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Whose.
    pub series: Series,
    /// Share of good events asked for.
    pub objective: f64,
    /// Bad events over what the objective allows, last hour; `None` where there was no event.
    pub burn: Option<f64>,
    /// Bad events of the last hour.
    pub bad: f64,
    /// Share of the 30 days' budget that is left; `None` where it is not known yet.
    pub left: Option<f64>,
}

impl Budget {
    /// Whether it burns too fast to risk more.
    #[must_use]
    pub fn is_burning(&self) -> bool {
        self.burn.is_some_and(|burn| burn > BURNING) && self.bad >= f64::from(LEAST_BAD)
    }
}

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerError {
    /// It is not what Prometheus says.
    Unreadable,
    /// Prometheus says that something is wrong.
    Refused(String),
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => write!(
                f,
                "the answer is not one of Prometheus' HTTP API; is it the base of its address, without /graph?"
            ),
            Self::Refused(what) => write!(f, "it refuses: {what}"),
        }
    }
}

impl std::error::Error for AnswerError {}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Body {
    Success { data: Data },
    Error { error: String },
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

type Values = BTreeMap<Series, f64>;

fn values(answer: &[u8]) -> Result<Values, AnswerError> {
    let body = serde_json::from_slice(answer).map_err(|_| AnswerError::Unreadable)?;
    let data = match body {
        Body::Success { data } if data.kind == "vector" => data,
        Body::Success { .. } => return Err(AnswerError::Unreadable),
        Body::Error { error } => return Err(AnswerError::Refused(error)),
    };
    let each = data.result.into_iter().map(|mut sample| {
        let mut label = |name: &str| sample.metric.remove(name).unwrap_or_default();
        let series = Series {
            cluster: label("cluster"),
            sli: label("sli"),
            topic: label("topic"),
            group: label("group"),
        };
        let value = sample.value.1.parse();
        Ok((series, value.map_err(|_| AnswerError::Unreadable)?))
    });
    each.collect()
}

/// The budgets, from the answers to [`questions`], those that burn fastest first.
///
/// # Errors
/// Where an answer cannot be used.
pub fn budgets(answers: &[Vec<u8>; 4]) -> Result<Vec<Budget>, AnswerError> {
    let [objectives, errors, bad, left] = answers;
    let (objectives, errors) = (values(objectives)?, values(errors)?);
    let (bad, left) = (values(bad)?, values(left)?);
    let budget = |(series, objective): (Series, f64)| Budget {
        burn: errors.get(&series).map(|share| share / (1.0 - objective)),
        bad: bad.get(&series).copied().unwrap_or(0.0),
        left: left.get(&series).copied(),
        objective,
        series,
    };
    let mut all: Vec<_> = objectives.into_iter().map(budget).collect();
    all.sort_by(|a, b| {
        let of = |budget: &Budget| budget.burn.unwrap_or(-1.0);
        of(b).total_cmp(&of(a))
    });
    Ok(all)
}

/// A table for people, and for `grep`.
#[must_use]
pub fn table(budgets: &[Budget]) -> String {
    let head = [
        "CLUSTER",
        "SLI",
        "TOPIC",
        "GROUP",
        "OBJECTIVE",
        "BAD 1H",
        "BURN 1H",
        "LEFT 30D",
        "",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for budget in budgets {
        let Series {
            cluster,
            sli,
            topic,
            group,
        } = budget.series.clone();
        let or_dash = |text: String| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text
            }
        };
        rows.push([
            or_dash(cluster),
            sli,
            or_dash(topic),
            or_dash(group),
            format!("{} %", trimmed(budget.objective * 100.0, 4)),
            format!("{:.0}", budget.bad),
            budget
                .burn
                .map_or("-".to_owned(), |burn| format!("{}x", trimmed(burn, 2))),
            budget.left.map_or("-".to_owned(), |left| {
                format!("{} %", trimmed(left * 100.0, 1))
            }),
            if budget.is_burning() { "BURNING" } else { "" }.to_owned(),
        ]);
    }
    let mut widths = [0_usize; 9];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A number with at most so many digits behind the point.
fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    fn answer(rows: &[(&str, &str, f64)]) -> Vec<u8> {
        let result: Vec<_> = rows
            .iter()
            .map(|(sli, topic, value)| {
                json!({"metric": {"cluster": "c", "sli": sli, "topic": topic}, "value": [1.5, value.to_string()]})
            })
            .collect();
        json!({"status": "success", "data": {"resultType": "vector", "result": result}})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn a_budget_burns_over_four_times_its_rate_with_ten_bad_events() {
        let objective = answer(&[
            ("publish", "fast", 0.99),
            ("publish", "few", 0.99),
            ("publish", "slow", 0.99),
            ("publish", "still", 0.99),
        ]);
        let errors = answer(&[
            ("publish", "slow", 0.04),
            ("publish", "fast", 0.0401),
            ("publish", "few", 0.5),
        ]);
        let bad = answer(&[
            ("publish", "slow", 400.0),
            ("publish", "fast", 10.0),
            ("publish", "few", 9.0),
        ]);
        let left = answer(&[("publish", "fast", -0.25)]);
        let all = budgets(&[objective, errors, bad, left]).unwrap();
        let seen: Vec<_> = all
            .iter()
            .map(|b| (b.series.topic.as_str(), b.is_burning()))
            .collect();
        let expected = [
            ("few", false),
            ("fast", true),
            ("slow", false),
            ("still", false),
        ];
        assert_eq!(seen, expected);
        let table = table(&all);
        let fast = table.lines().nth(2).unwrap();
        let words: Vec<_> = fast.split_whitespace().collect();
        let expected = [
            "c", "publish", "fast", "-", "99", "%", "10", "4.01x", "-25", "%", "BURNING",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn what_is_no_answer_is_told_apart_from_a_refusal() {
        let fine = || answer(&[]);
        let ask = |first: &[u8]| budgets(&[first.to_vec(), fine(), fine(), fine()]);
        assert_eq!(ask(b"<html>"), Err(AnswerError::Unreadable));
        let matrix = br#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        assert_eq!(ask(matrix), Err(AnswerError::Unreadable));
        let refused = br#"{"status":"error","errorType":"timeout","error":"query timed out"}"#;
        assert_eq!(
            ask(refused),
            Err(AnswerError::Refused("query timed out".to_owned()))
        );
        assert_eq!(ask(&fine()), Ok(Vec::new()));
    }
}
