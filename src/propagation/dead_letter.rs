//! Whether a record is a dead letter, or set aside to be tried again, and which record it was.
//!
//! By the headers that frameworks write first, by the topic's name second. Messages and stack traces are never read: they
//! hold what the record held. Reference: `KafkaHeaders` of Spring for Apache Kafka (`kafka_dlt-*`, and `kafka_original-*` where
//! its retry topics end in one), `DeadLetterQueueReporter`
//! of Kafka Connect (KIP-298), Kafka Streams KIP-1034. Must not keep what is no topic, number or class name.

use super::Position;

/// Longest class name that is repeated, bytes.
const CLASS_BYTES_MAX: usize = 200;
/// Longest topic name Kafka allows, bytes.
const TOPIC_BYTES_MAX: usize = 249;
/// Ends of the names of dead-letter topics, behind one of `.`, `-` and `_`.
const SUFFIXES: [&str; 5] = ["dlq", "dlt", "dead-letter", "dead-letters", "deadletter"];
const RETRY: [&str; 1] = ["retry"];
const SEPARATORS: [char; 3] = ['-', '.', '_'];

/// A record that a program gave up on, or set aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// It is to be tried again: not given up yet.
    pub retry: bool,
    /// The record it was; `None` where the headers do not say.
    pub origin: Option<Position>,
    /// Class of the exception; `None` where the headers do not say.
    pub exception_class: Option<String>,
    /// Consumer group that read it; `None` where the headers do not say.
    pub group: Option<String>,
}

/// Headers of one framework.
#[derive(Debug, Default)]
struct Parts {
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    class: Option<String>,
    cause: Option<String>,
    group: Option<String>,
}

impl DeadLetter {
    /// Reads a record's headers. Of a header that stands there twice the last counts: each failure adds its own.
    pub fn read<'r>(
        topic: &str,
        headers: impl IntoIterator<Item = (&'r [u8], Option<&'r [u8]>)>,
    ) -> Option<Self> {
        Self::parse(topic, headers)
            .filter(|(_, is_one)| *is_one)
            .map(|(letter, _)| letter)
    }

    /// As [`Self::read`], and what is to be tried again: what goes to a topic named for that, or has Spring's headers of it.
    pub fn set_aside<'r>(
        topic: &str,
        headers: impl IntoIterator<Item = (&'r [u8], Option<&'r [u8]>)>,
    ) -> Option<Self> {
        let (letter, is_one) = Self::parse(topic, headers)?;
        let named = is_retry_topic(topic);
        let aside = is_one || named || letter.origin.is_some();
        aside.then_some(Self {
            retry: named || !is_one,
            ..letter
        })
    }

    /// What the headers say, and whether they, or the topic's name, say that it is a dead letter. `None` where it was given
    /// back.
    fn parse<'r>(
        topic: &str,
        headers: impl IntoIterator<Item = (&'r [u8], Option<&'r [u8]>)>,
    ) -> Option<(Self, bool)> {
        let mut parts = Parts::default();
        let mut is_one = is_dead_letter_topic(topic);
        for (key, value) in headers {
            let (Ok(key), Some(value)) = (str::from_utf8(key), value) else {
                continue;
            };
            is_one |= parts.take(key, value);
        }
        let origin = match (parts.topic, parts.partition, parts.offset) {
            (Some(topic), Some(partition), Some(offset)) => Some(Position {
                topic,
                partition,
                offset,
            }),
            _ => None,
        };
        // Given back to where it came from, with its headers: no dead letter any more.
        if origin.as_ref().is_some_and(|origin| origin.topic == topic) {
            return None;
        }
        let letter = Self {
            retry: false,
            origin,
            exception_class: parts.cause.or(parts.class),
            group: parts.group,
        };
        Some((letter, is_one))
    }
}

impl Parts {
    /// Whether the header says that the record is a dead letter.
    fn take(&mut self, key: &str, value: &[u8]) -> bool {
        match key {
            "kafka_dlt-original-topic" => set(&mut self.topic, topic_name(value)),
            "kafka_dlt-original-partition" => set(&mut self.partition, big_endian(value)),
            "kafka_dlt-original-offset" => set(&mut self.offset, big_endian_64(value)),
            "kafka_dlt-exception-fqcn" => set(&mut self.class, class_name(value)),
            // The class above is then the container's own wrapper.
            "kafka_dlt-exception-cause-fqcn" => set(&mut self.cause, class_name(value)),
            "kafka_dlt-original-consumer-group" => set(&mut self.group, group_name(value)),
            // Connect names its groups so.
            "__connect.errors.connector.name" => {
                let group = group_name(value).map(|name| format!("connect-{name}"));
                set(&mut self.group, group)
            }
            // On what goes to a retry topic too.
            "kafka_original-consumer-group" => !set(&mut self.group, group_name(value)),
            "kafka_original-topic" => !set(&mut self.topic, topic_name(value)),
            "kafka_original-partition" => !set(&mut self.partition, big_endian(value)),
            "kafka_original-offset" => !set(&mut self.offset, big_endian_64(value)),
            "kafka_exception-fqcn" => !set(&mut self.class, class_name(value)),
            "kafka_exception-cause-fqcn" => !set(&mut self.cause, class_name(value)),
            "__connect.errors.topic" | "__streams.errors.topic" | "__streams.errors.topic.name" => {
                set(&mut self.topic, topic_name(value))
            }
            "__connect.errors.partition"
            | "__streams.errors.partition"
            | "__streams.errors.partition.name" => set(&mut self.partition, number(value)),
            "__connect.errors.offset"
            | "__streams.errors.offset"
            | "__streams.errors.offset.name" => set(&mut self.offset, number(value)),
            "__connect.errors.exception.class.name"
            | "__streams.errors.exception"
            | "__streams.errors.exception.name" => set(&mut self.class, class_name(value)),
            _ => false,
        }
    }
}

fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    if value.is_some() {
        *place = value;
    }
    true
}

fn big_endian(value: &[u8]) -> Option<i32> {
    value.try_into().ok().map(i32::from_be_bytes)
}

fn big_endian_64(value: &[u8]) -> Option<i64> {
    value.try_into().ok().map(i64::from_be_bytes)
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    str::from_utf8(value).ok()?.parse().ok()
}

fn topic_name(value: &[u8]) -> Option<String> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let fits = (1..=TOPIC_BYTES_MAX).contains(&value.len()) && value.iter().all(is_name);
    let name = str::from_utf8(value).ok()?;
    fits.then(|| name.to_owned())
}

fn group_name(value: &[u8]) -> Option<String> {
    let fits = (1..=TOPIC_BYTES_MAX).contains(&value.len());
    let name = str::from_utf8(value).ok()?;
    (fits && !name.contains(char::is_control)).then(|| name.to_owned())
}

/// Streams writes the exception as text: the class, then perhaps a colon and a message, which is left out.
fn class_name(value: &[u8]) -> Option<String> {
    let text = str::from_utf8(value).ok()?;
    let class = text.split_once(':').map_or(text, |(class, _)| class).trim();
    let is_class = |c: char| c.is_alphanumeric() || "._$".contains(c);
    let fits = (1..=CLASS_BYTES_MAX).contains(&class.len()) && class.chars().all(is_class);
    fits.then(|| class.to_owned())
}

/// Whether a topic is named as dead-letter topics are: `*.dlq`, `*.DLT`, `*-dlt`, `*.dead-letter` and the like.
#[must_use]
pub fn is_dead_letter_topic(topic: &str) -> bool {
    before(topic, &SUFFIXES).is_some()
}

/// Whether a topic is named as those are that records are set aside into, for good or to be tried again.
#[must_use]
pub fn is_aside_topic(topic: &str) -> bool {
    is_dead_letter_topic(topic) || is_retry_topic(topic)
}

/// The topic whose records are set aside into this one, by its name: `orders` of `orders.dlq`, `orders-dlt`, `orders-retry-1000`.
#[must_use]
pub fn origin_topic(topic: &str) -> Option<&str> {
    let topic = without_number(topic);
    let rest = before(topic, &SUFFIXES).or_else(|| before(topic, &RETRY));
    rest.filter(|rest| !rest.is_empty())
}

/// Whether a topic is named as retry topics are: `*-retry`, `*.retry`, and with a number behind it as Spring's.
fn is_retry_topic(topic: &str) -> bool {
    before(without_number(topic), &RETRY).is_some()
}

fn without_number(topic: &str) -> &str {
    match topic.rsplit_once(SEPARATORS) {
        Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => topic,
    }
}

/// What stands before one of these suffixes, in any case, and the separator in front of it. Asked per batch: makes no copy.
fn before<'t>(topic: &'t str, suffixes: &[&str]) -> Option<&'t str> {
    suffixes.iter().find_map(|suffix| {
        let (rest, end) = topic.split_at_checked(topic.len().checked_sub(suffix.len())?)?;
        let rest = rest.strip_suffix(SEPARATORS)?;
        end.eq_ignore_ascii_case(suffix).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(topic: &str, headers: &[(&str, &[u8])]) -> Option<DeadLetter> {
        let headers = headers.iter().map(|(k, v)| (k.as_bytes(), Some(*v)));
        DeadLetter::read(topic, headers)
    }

    fn letter(offset: i64, class: &str) -> Option<DeadLetter> {
        Some(DeadLetter {
            retry: false,
            origin: Some(Position::new("orders", 3, offset)),
            exception_class: Some(class.to_owned()),
            group: None,
        })
    }

    #[test]
    fn every_framework_names_the_origin_its_way() {
        let spring: [(&str, &[u8]); 5] = [
            ("kafka_dlt-original-topic", b"orders"),
            ("kafka_dlt-original-partition", &[0, 0, 0, 3]),
            ("kafka_dlt-original-offset", &[0, 0, 0, 0, 0, 0, 1, 0]),
            ("kafka_dlt-exception-fqcn", b"org.springframework.Wrapper"),
            ("kafka_dlt-exception-cause-fqcn", b"org.acme.Bad$Order"),
        ];
        assert_eq!(read("x", &spring), letter(256, "org.acme.Bad$Order"));
        let connect: [(&str, &[u8]); 5] = [
            ("__connect.errors.topic", b"orders"),
            ("__connect.errors.partition", b"3"),
            ("__connect.errors.offset", b"5"),
            ("__connect.errors.offset", b"7"),
            ("__connect.errors.exception.class.name", b"org.acme.E"),
        ];
        assert_eq!(read("x", &connect), letter(7, "org.acme.E"));
        assert_eq!(read("orders", &connect), None, "given back");
        for end in ["", ".name"] {
            let name = |part: &str| format!("__streams.errors.{part}{end}");
            let (topic, partition, offset, class) = (
                name("topic"),
                name("partition"),
                name("offset"),
                name("exception"),
            );
            let streams: [(&str, &[u8]); 4] = [
                (&topic, b"orders"),
                (&partition, b"3"),
                (&offset, b"9"),
                (&class, b"org.acme.E: card 4111 declined"),
            ];
            assert_eq!(read("x", &streams), letter(9, "org.acme.E"));
        }
    }

    #[test]
    fn what_spring_sends_to_a_retry_topic_is_a_dead_letter_only_where_the_retries_end() {
        let headers: [(&str, &[u8]); 4] = [
            ("kafka_original-topic", b"orders"),
            ("kafka_original-partition", &[0, 0, 0, 3]),
            ("kafka_original-offset", &[0, 0, 0, 0, 0, 0, 1, 0]),
            ("kafka_exception-cause-fqcn", b"org.acme.E"),
        ];
        assert_eq!(read("orders-retry-0", &headers), None);
        let aside = |topic: &str, headers: &[(&str, &[u8])]| {
            let headers = headers.iter().map(|(k, v)| (k.as_bytes(), Some(*v)));
            DeadLetter::set_aside(topic, headers)
        };
        let retry = letter(256, "org.acme.E").map(|letter| DeadLetter {
            retry: true,
            ..letter
        });
        assert_eq!(aside("orders-retry-0", &headers), retry);
        assert_eq!(aside("orders-dlt", &headers), letter(256, "org.acme.E"));
        assert_eq!(aside("orders", &headers), None, "given back");
        for name in ["a-retry", "a.Retry", "a_retry-1000", "orders-retry-0"] {
            assert!(aside(name, &[]).is_some_and(|aside| aside.retry), "{name}");
        }
        let given_up: [(&str, &[u8]); 1] = [("kafka_dlt-original-topic", b"orders")];
        assert!(aside("orders-retry", &given_up).is_some_and(|aside| aside.retry));
        for name in ["retry", "a-retrying", "country", "a-10", "-", "retry-5"] {
            assert_eq!(aside(name, &[]), None, "{name}");
        }
        assert_eq!(read("orders-dlt", &headers), letter(256, "org.acme.E"));
    }

    #[test]
    fn damage_is_no_origin_but_still_a_dead_letter() {
        let headers: [(&str, &[u8]); 4] = [
            ("kafka_dlt-original-topic", b"or\x1bders"),
            ("kafka_dlt-original-partition", b"3"),
            ("kafka_dlt-original-offset", b""),
            ("kafka_dlt-exception-fqcn", b"not a class"),
        ];
        assert_eq!(read("x", &headers), Some(DeadLetter::default()));
        assert_eq!(read("orders", &[("seq", b"1")]), None);
    }

    #[test]
    fn dead_letter_topics_are_known_by_name() {
        for name in [
            "a.dlq",
            "a.DLT",
            "a-dlt",
            "a.b.dead-letter",
            "a_dlq",
            "a-dead-letters",
        ] {
            assert!(is_dead_letter_topic(name), "{name}");
        }
        for name in ["dlq", "orders", "adlt", "a.dlq.retry", "dead-letter-office"] {
            assert!(!is_dead_letter_topic(name), "{name}");
        }
    }
}
