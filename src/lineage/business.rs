//! Business ids: what the user says identifies the thing a record is about.
//!
//! An order number in a header, in a JSON field or anywhere in the value, equal in what was delivered and in what is sent,
//! whatever the topics call it. Must not keep the text: it is hashed where it stands.

use std::hash::{BuildHasher, RandomState};

/// Largest value that is searched or parsed, bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Where a business id stands.
#[derive(Debug, Clone)]
pub enum BusinessId {
    /// In a header of this name, compared without regard to case.
    Header(String),
    /// In a JSON value, by its pointer (RFC 6901).
    Json(String),
    /// In the value: the first group of this expression, or all of what it matches.
    Regex(regex::bytes::Regex),
}

/// All of them, with the hash that stands for their values.
#[derive(Debug, Clone, Default)]
pub struct BusinessIds {
    rules: Vec<BusinessId>,
    hasher: RandomState,
}

impl BusinessIds {
    /// From the configuration.
    #[must_use]
    pub fn new(rules: Vec<BusinessId>) -> Self {
        Self {
            rules,
            hasher: RandomState::new(),
        }
    }

    /// Whether there are any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The hashes of what a record holds, without duplicates.
    #[must_use]
    pub fn of<'r>(
        &self,
        headers: impl Iterator<Item = (&'r [u8], Option<&'r [u8]>)> + Clone,
        value: Option<&[u8]>,
    ) -> Vec<u64> {
        let mut found = Vec::new();
        let value = value.filter(|v| v.len() <= VALUE_BYTES_MAX);
        let mut json: Option<Option<serde_json::Value>> = None;
        for rule in &self.rules {
            match rule {
                BusinessId::Header(name) => {
                    let same = |key: &[u8]| key.eq_ignore_ascii_case(name.as_bytes());
                    let values = headers.clone().filter(|(key, _)| same(key));
                    for (_, value) in values {
                        self.add(&mut found, value.unwrap_or_default());
                    }
                }
                BusinessId::Json(pointer) => {
                    let parse = || value.and_then(|v| serde_json::from_slice(v).ok());
                    let parsed = json.get_or_insert_with(parse).as_ref();
                    match parsed.and_then(|v| v.pointer(pointer)) {
                        Some(serde_json::Value::String(text)) => {
                            self.add(&mut found, text.as_bytes());
                        }
                        Some(serde_json::Value::Number(number)) => {
                            self.add(&mut found, number.to_string().as_bytes());
                        }
                        _ => {}
                    }
                }
                BusinessId::Regex(expression) => {
                    let groups = value.and_then(|v| expression.captures(v));
                    if let Some(groups) = groups
                        && let Some(hit) = groups.get(1).or_else(|| groups.get(0))
                    {
                        self.add(&mut found, hit.as_bytes());
                    }
                }
            }
        }
        found
    }

    fn add(&self, found: &mut Vec<u64>, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let hash = self.hasher.hash_one(text);
        if !found.contains(&hash) {
            found.push(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_id_is_the_same_in_a_header_in_json_and_in_text() {
        let ids = BusinessIds::new(vec![
            BusinessId::Header("Order-Id".to_owned()),
            BusinessId::Json("/order/id".to_owned()),
            BusinessId::Regex(regex::bytes::Regex::new(r"order=(\d+)").unwrap()),
        ]);
        let none = [].into_iter();
        let header = [(&b"order-id"[..], Some(&b"7"[..]))].into_iter();
        let by_header = ids.of(header, None);
        assert_eq!(by_header.len(), 1);
        for value in [
            &br#"{"order":{"id":"7"}}"#[..],
            br#"{"order":{"id":7}}"#,
            b"a order=7;",
        ] {
            assert_eq!(ids.of(none.clone(), Some(value)), by_header);
        }
        for value in [&b"{"[..], b"", b"[]", br#"{"order":{"id":null}}"#] {
            assert!(ids.of(none.clone(), Some(value)).is_empty());
        }
        let both = [(&b"order-id"[..], Some(&b"7"[..]))].into_iter();
        assert_eq!(ids.of(both, Some(b"order=7")), by_header);
    }
}
