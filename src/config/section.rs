//! Typed reading of one mapping.
//!
//! Here so that a section's file says only "this key, this default, this range". A value that is wrong becomes a fault and
//! the default stands in, so that reading goes on and finds the rest. Shapes were checked before (`schema`): a node of the
//! wrong shape reads as absent. Must not know a key.

use std::{cell::RefCell, fmt::Display, num::NonZeroUsize, ops::RangeInclusive, time::Duration};

use super::{
    fault::{Fault, Origin},
    schema::join,
    yaml::{Node, Scalar, Value, printable},
};

/// Most rules in one list; each may hold a compiled pattern, and each name is held against all.
const RULES_MAX: usize = 1_000;

/// The faults found so far, shared by all sections of one reading.
#[derive(Debug, Default)]
pub(super) struct Walk {
    faults: RefCell<Vec<Fault>>,
}

impl Walk {
    pub(super) fn fault(&self, fault: Fault) {
        self.faults.borrow_mut().push(fault);
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults.into_inner()
    }
}

/// One mapping, or its absence.
#[derive(Debug, Clone)]
pub(super) struct Section<'a> {
    path: String,
    node: Option<&'a Node>,
    walk: &'a Walk,
}

impl<'a> Section<'a> {
    pub(super) fn root(node: &'a Node, walk: &'a Walk) -> Self {
        Self {
            path: String::new(),
            node: Some(node),
            walk,
        }
    }

    fn child(&self, key: &str) -> Option<&'a Node> {
        self.node
            .and_then(|node| node.get(key))
            .filter(|node| !matches!(node.value, Value::Null))
    }

    /// The mapping under `key`.
    pub(super) fn section(&self, key: &str) -> Self {
        Self {
            path: join(&self.path, key),
            node: self.child(key),
            walk: self.walk,
        }
    }

    /// Whether the mapping is there at all, even empty.
    pub(super) fn present(&self) -> bool {
        self.node
            .is_some_and(|node| matches!(node.value, Value::Map(_)))
    }

    /// Whether something stands under `key`, right or wrong.
    pub(super) fn given(&self, key: &str) -> bool {
        self.child(key).is_some_and(|node| !node.says_nothing())
    }

    /// The mappings of the list under `key`.
    pub(super) fn rules(&self, key: &str) -> Vec<Self> {
        let Some(Value::List(items)) = self.child(key).map(|node| &node.value) else {
            return Vec::new();
        };
        if items.len() > RULES_MAX {
            let message = format!("has {} rules, allowed: {RULES_MAX}", items.len());
            self.fault(key, message);
            return Vec::new();
        }
        let rules = items.iter().enumerate();
        rules
            .filter(|(_, node)| matches!(node.value, Value::Map(_)))
            .map(|(index, node)| Self {
                path: format!("{}[{index}]", join(&self.path, key)),
                node: Some(node),
                walk: self.walk,
            })
            .collect()
    }

    /// Where `key` stands, or else the mapping it is missing from.
    pub(super) fn origin(&self, key: &str) -> Origin {
        let node = self.node.and_then(|node| node.get(key)).or(self.node);
        node.map_or(Origin::Absent, |node| node.origin.clone())
    }

    /// Reports a fault of `key`.
    pub(super) fn fault(&self, key: &str, message: impl Into<String>) {
        let path = join(&self.path, key);
        self.walk
            .fault(Fault::new(&self.origin(key), &path, message));
    }

    /// Reports that no source gives `key`.
    pub(super) fn absent(&self, key: &str, message: impl Into<String>) {
        let path = join(&self.path, key);
        self.walk.fault(Fault::new(&Origin::Absent, &path, message));
    }

    /// The value under `key`, if given and right.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        parse: impl Fn(&Scalar) -> Result<T, String>,
    ) -> Option<T> {
        let Some(Value::Scalar(scalar)) = self.child(key).map(|node| &node.value) else {
            return None;
        };
        match parse(scalar) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.fault(key, format!("`{}` {problem}", printable(&scalar.text)));
                None
            }
        }
    }

    /// The value under `key`, or `default` where it is absent or wrong.
    pub(super) fn or<T>(
        &self,
        key: &str,
        default: T,
        parse: impl Fn(&Scalar) -> Result<T, String>,
    ) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// As [`Self::optional`]; absence is a fault that names what is allowed.
    pub(super) fn required<T>(
        &self,
        key: &str,
        allowed: &str,
        parse: impl Fn(&Scalar) -> Result<T, String>,
    ) -> Option<T> {
        if !self.given(key) {
            self.fault(key, format!("is missing, allowed: {allowed}"));
        }
        self.optional(key, parse)
    }

    /// The values under `key`: the items of a list, or one text cut at its commas.
    pub(super) fn many<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let texts = self.scalars(key).into_iter().flatten();
        let cut = texts.flat_map(|(text, origin)| {
            let parts = text.split(',').map(str::trim);
            parts.map(move |part| (part, origin))
        });
        self.parsed(key, cut.collect(), parse)
    }

    /// The values under `key`, which may hold commas: the items of a list, or one text. `None` where nothing stands there.
    pub(super) fn each<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let texts = self.scalars(key)?;
        if texts.len() > RULES_MAX {
            let message = format!("has {} values, allowed: {RULES_MAX}", texts.len());
            self.fault(key, message);
            return None;
        }
        Some(self.parsed(key, texts, parse))
    }

    fn scalars(&self, key: &str) -> Option<Vec<(&'a str, &'a Origin)>> {
        let text = |node: &'a Node| match &node.value {
            Value::Scalar(scalar) => Some((scalar.text.as_str(), &node.origin)),
            _ => None,
        };
        Some(match self.child(key)? {
            Node {
                value: Value::List(items),
                ..
            } => items.iter().filter_map(text).collect(),
            node => text(node).into_iter().collect(),
        })
    }

    fn parsed<T>(
        &self,
        key: &str,
        texts: Vec<(&str, &Origin)>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut values = Vec::with_capacity(texts.len());
        for (text, origin) in texts {
            match parse(text) {
                Ok(value) => values.push(value),
                Err(problem) => {
                    let message = format!("`{}` {problem}", printable(text));
                    self.walk
                        .fault(Fault::new(origin, &join(&self.path, key), message));
                }
            }
        }
        values
    }
}

/// Text that stands for itself; `check` says what is wrong with it.
pub(super) fn text<T, E: Display>(
    parse: impl Fn(&str) -> Result<T, E>,
) -> impl Fn(&Scalar) -> Result<T, String> {
    move |scalar| parse(&scalar.text).map_err(|error| error.to_string())
}

/// A whole number in decimal digits.
pub(super) fn integer<T>(range: RangeInclusive<u64>) -> impl Fn(&Scalar) -> Result<T, String>
where
    T: TryFrom<u64>,
{
    move |scalar| {
        let allowed = format!("allowed: {} to {}", range.start(), range.end());
        let digits = !scalar.quoted
            && !scalar.text.is_empty()
            && scalar.text.bytes().all(|b| b.is_ascii_digit());
        if !digits {
            let negative = scalar
                .text
                .strip_prefix('-')
                .is_some_and(|t| t.parse::<u64>().is_ok());
            let problem = if negative {
                "is out of range"
            } else {
                "is not a whole number"
            };
            return Err(format!("{problem}, {allowed}"));
        }
        let number = scalar.text.parse::<u64>().ok();
        let in_range = number.filter(|number| range.contains(number));
        in_range
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("is out of range, {allowed}"))
    }
}

/// As [`integer`], for what cannot be zero; the range begins at 1 or above.
pub(super) fn count(
    range: RangeInclusive<u64>,
) -> impl Fn(&Scalar) -> Result<NonZeroUsize, String> {
    let parse = integer::<usize>(range);
    move |scalar| {
        NonZeroUsize::new(parse(scalar)?).ok_or_else(|| "is zero, allowed: 1 or more".to_owned())
    }
}

/// A decimal number.
pub(super) fn decimal(scalar: &Scalar) -> Option<f64> {
    if scalar.quoted || !scalar.text.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    scalar
        .text
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite())
}

/// A time span in seconds, fractions allowed.
pub(super) fn seconds(range: RangeInclusive<f64>) -> impl Fn(&Scalar) -> Result<Duration, String> {
    move |scalar| {
        let allowed = format!("allowed: {} to {} seconds", range.start(), range.end());
        let number = decimal(scalar).ok_or_else(|| format!("is not a number, {allowed}"))?;
        if !range.contains(&number) {
            return Err(format!("is out of range, {allowed}"));
        }
        Duration::try_from_secs_f64(number).map_err(|_| format!("is out of range, {allowed}"))
    }
}

/// `true` or `false`.
pub(super) fn boolean(scalar: &Scalar) -> Result<bool, String> {
    match scalar.text.as_str() {
        "true" if !scalar.quoted => Ok(true),
        "false" if !scalar.quoted => Ok(false),
        _ => Err("is not a boolean, allowed: true, false".to_owned()),
    }
}

/// One of the given words.
pub(super) fn choice<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Scalar) -> Result<T, String> {
    move |scalar| {
        let found = words.iter().find(|(word, _)| *word == scalar.text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            format!("is not known, allowed: {}", allowed.join(", "))
        })
    }
}
