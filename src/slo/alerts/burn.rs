//! Error budgets that burn: multiwindow, multi-burn-rate.
//!
//! A burn rate of 1 spends the budget of 30 days in 30 days. Every alert wants the rate in a long window, so that it matters, in a short one, so
//! that it ends when the trouble does, and ten bad events, so that one of ten at night wakes nobody.

use super::{
    super::{
        LEAST_BAD,
        recording::{OBJECTIVE, bare, errors, events, good},
    },
    Alert, Mute, ON_CALL, Of, Severity,
};

/// Indicators whose burn wakes somebody: what the application or its readers feel at once.
const PAGES: &str = "publish|delivery|lag|availability";

struct Burn {
    name: &'static str,
    factor: &'static str,
    /// Where the factor is out of reach: the share of the promised events that must be missing.
    missing: &'static str,
    windows: (&'static str, &'static str),
    holds: &'static str,
    /// A page is one for [`PAGES`] alone; for the others it goes to the channel.
    severity: Severity,
    description: &'static str,
}

const BURNS: [Burn; 5] = [
    Burn {
        name: "ErrorBudgetBurnFast",
        factor: "14.4",
        missing: "0.75",
        windows: ("1h", "5m"),
        holds: "2m",
        severity: Severity::Page,
        description: "2 % of the error budget of 30 days goes in an hour: {{ $value | humanizePercentage }} of the last hour's events are bad.",
    },
    Burn {
        name: "ErrorBudgetBurnHigh",
        factor: "6",
        missing: "0.5",
        windows: ("6h", "30m"),
        holds: "5m",
        severity: Severity::Page,
        description: "5 % of the error budget of 30 days goes in six hours: {{ $value | humanizePercentage }} of their events are bad.",
    },
    Burn {
        name: "ErrorBudgetBurnOnCall",
        factor: "4",
        missing: "0.4",
        windows: ("1h", "5m"),
        holds: "2m",
        severity: Severity::Channel,
        description: "The error budget burns more than four times as fast as it may: {{ $value | humanizePercentage }} of the last hour's events are bad.",
    },
    Burn {
        name: "ErrorBudgetBurnSlow",
        factor: "3",
        missing: "0.25",
        windows: ("1d", "2h"),
        holds: "15m",
        severity: Severity::Ticket,
        description: "10 % of the error budget of 30 days goes in a day: {{ $value | humanizePercentage }} of its events are bad.",
    },
    Burn {
        name: "ErrorBudgetBurnTrickle",
        factor: "1",
        missing: "0.1",
        windows: ("3d", "6h"),
        holds: "1h",
        severity: Severity::Ticket,
        description: "At this rate nothing is left of the error budget at the end of the 30 days: {{ $value | humanizePercentage }} of three days' events are bad.",
    },
];

pub(super) fn alerts() -> Vec<Alert> {
    let mut all = Vec::new();
    for burn in &BURNS {
        if burn.severity == Severity::Page {
            all.push(burn.alert(Severity::Page, &format!("{{sli=~\"{PAGES}\"}}")));
            all.push(burn.alert(Severity::Channel, &format!("{{sli!~\"{PAGES}\"}}")));
        } else {
            all.push(burn.alert(burn.severity, ""));
        }
    }
    all
}

impl Burn {
    fn alert(&self, severity: Severity, selector: &str) -> Alert {
        let (long, short) = self.windows;
        let limit = self.limit();
        let (long_errors, short_errors) = (errors(long), errors(short));
        let (all, good) = (events(long), good(long));
        let expr = format!(
            "{long_errors}{selector} > {limit}
and
{short_errors} > {limit}
and
{all} - {good} >= {LEAST_BAD}"
        );
        Alert {
            name: self.name,
            severity,
            holds: self.holds,
            expr: bare(&expr),
            of: Of::Topic,
            mute: Mute::ByIndicator,
            summary: "The {{ $labels.sli }} budget{{ if $labels.topic }} of topic {{ $labels.topic }}{{ end }}{{ if $labels.group }} for group {{ $labels.group }}{{ end }} in {{ $labels.cluster }} burns",
            description: self.description,
            board: ON_CALL,
        }
    }

    /// The share of bad events that is too much. Where the target is so low that no share would be (the factor times the budget is 1 or more), a
    /// share of the promised events that are missing stands in.
    fn limit(&self) -> String {
        let Self {
            factor, missing, ..
        } = self;
        format!("({factor} * (1 - {OBJECTIVE}) < 1 or 1 - (1 - {missing}) * {OBJECTIVE})")
    }
}
