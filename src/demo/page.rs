//! Reads a sidecar's metrics page and groups as anybody would: over HTTP, from text.
//!
//! Here because the demo's figures must come from the wire and not from a value this process could hand over. Must not
//! interpret a figure.

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use serde_json::{Map, Value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longest wait for one page.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Largest page that is read, bytes.
const PAGE_BYTES_MAX: u64 = 16 << 20;
/// Deepest nesting of a JSON answer that is searched.
const DEPTH_MAX: usize = 16;

/// The body of `GET path`, where the answer is 200.
pub(super) async fn get(admin: SocketAddr, path: &str) -> io::Result<String> {
    match timeout(TIMEOUT, exchange(admin, path)).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    }
}

async fn exchange(admin: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    // 1.0, so that the body ends with the connection and is in one piece.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {admin}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(PAGE_BYTES_MAX).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer");
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).ok_or_else(malformed)?;
    if status == "200" {
        Ok(body.to_owned())
    } else {
        Err(io::Error::other(format!("status {status} for {path}")))
    }
}

/// One sample of a Prometheus text page.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Sample {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        let mut all = self.labels.iter();
        all.find(|(label, _)| label == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn value(&self) -> f64 {
        self.value
    }
}

/// A Prometheus text page.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Page(Vec<Sample>);

impl Page {
    /// Reads what can be read; lines of another form are left out.
    pub(super) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// Samples of this name that carry all of these labels.
    pub(super) fn find<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            let carries = |(label, value): &(&str, &str)| sample.label(label) == Some(value);
            sample.name == name && labels.iter().all(carries)
        })
    }
}

fn sample(line: &str) -> Option<Sample> {
    let line = line.trim();
    let (name, rest) = line.split_at_checked(line.find(['{', ' '])?)?;
    if name.is_empty() || name.starts_with('#') {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

type Labels = Vec<(String, String)>;

/// Labels from behind the opening brace, and what follows the closing one.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut all = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((all, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquote(quoted)?;
        all.push((name.to_owned(), value));
        rest = after;
    }
}

/// A label value up to its closing quote, and what follows that.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

/// (group, topic, partition).
pub(super) type Key = (String, String, i32);

/// What a sidecar says of one group on one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) committed: Option<i64>,
    pub(super) end: Option<i64>,
    pub(super) lag: Option<i64>,
    pub(super) delivered: Option<i64>,
}

/// Every object of `/api/v1/groups` that has a `partition`; `group` and `topic` may stand in it or in one around it.
pub(super) fn groups(text: &str) -> Result<BTreeMap<Key, Reported>, serde_json::Error> {
    let mut found = BTreeMap::new();
    collect(&serde_json::from_str(text)?, (None, None), 0, &mut found);
    Ok(found)
}

fn collect<'a>(
    value: &'a Value,
    (group, topic): (Option<&'a str>, Option<&'a str>),
    depth: usize,
    found: &mut BTreeMap<Key, Reported>,
) {
    if depth > DEPTH_MAX {
        return;
    }
    let inner = depth.saturating_add(1);
    match value {
        Value::Array(items) => {
            for item in items {
                collect(item, (group, topic), inner, found);
            }
        }
        Value::Object(fields) => {
            let text = |name| fields.get(name).and_then(Value::as_str);
            let around = (text("group").or(group), text("topic").or(topic));
            if let ((Some(group), Some(topic)), Some(partition)) = (around, partition(fields)) {
                let key = (group.to_owned(), topic.to_owned(), partition);
                found.insert(key, reported(fields));
            }
            for item in fields.values() {
                collect(item, around, inner, found);
            }
        }
        _ => {}
    }
}

fn partition(fields: &Map<String, Value>) -> Option<i32> {
    i32::try_from(fields.get("partition")?.as_i64()?).ok()
}

fn reported(fields: &Map<String, Value>) -> Reported {
    let number = |name: &str| fields.get(name).and_then(Value::as_i64);
    Reported {
        committed: number("committed"),
        end: number("end"),
        lag: number("lag_records"),
        delivered: number("delivered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_escapes_infinity_and_exemplars() {
        let page = Page::parse(
            "# TYPE a counter\na{topic=\"or\\\"d,e}rs\",group=\"g\"} 3\nb 1.5 1700000000\n\
             c_bucket{le=\"+Inf\"} 7 # {trace_id=\"x\"} 0.1\nd{x=\"} 4\n\nnonsense\n",
        );
        let a: Vec<_> = page.find("a", &[("group", "g")]).collect();
        assert_eq!(a.len(), 1);
        assert_eq!(
            (a[0].label("topic"), a[0].value()),
            (Some("or\"d,e}rs"), 3.0)
        );
        assert_eq!(page.find("a", &[("group", "h")]).count(), 0);
        assert_eq!(page.find("b", &[]).map(Sample::value).sum::<f64>(), 1.5);
        assert_eq!(page.find("c_bucket", &[("le", "+Inf")]).count(), 1);
        assert_eq!(page.0.len(), 3);
    }

    #[test]
    fn groups_are_found_flat_and_nested() {
        let flat = r#"[{"group":"g","topic":"t","partition":2,"committed":5,"end":7,"lag_records":2,"delivered":6}]"#;
        let nested = r#"{"cluster":"c","groups":[{"group":"g","state":"stable","topics":[{"topic":"t","partitions":
            [{"partition":2,"committed":5,"end":7,"lag_records":2,"delivered":6}]}]}]}"#;
        let expected = Reported {
            committed: Some(5),
            end: Some(7),
            lag: Some(2),
            delivered: Some(6),
        };
        for text in [flat, nested] {
            let found = groups(text).unwrap();
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[&("g".to_owned(), "t".to_owned(), 2)], expected);
        }
        assert!(groups("not json").is_err());
    }
}
