//! Which kind of failure an exception is, by its class name.
//!
//! The table of the configuration comes first, then this one; the first pattern that matches counts. Messages are never looked
//! at: they hold what the record held. Must not guess: what no pattern names is unknown.

use std::sync::OnceLock;

use regex::Regex;

use crate::event::Category;

/// Frameworks' own classes first, whose package names would match otherwise; then words of the class name itself.
const TABLE: [(&str, Category); 5] = [
    (
        r"^org\.apache\.kafka\.connect\.errors\.RetriableException$",
        Category::Transient,
    ),
    (
        r"^org\.apache\.kafka\.connect\.errors\.(Data|SchemaBuilder|SchemaProjector)Exception$",
        Category::Persistent,
    ),
    (r"^org\.apache\.kafka\.connect\.errors\.", Category::Unknown),
    (
        r"(?i)(time-?d?-?out|connect|socket|network|unavailable|throttl|toomanyrequests|retr[iy]a|transient|lock|disconnect|leadernotavailable|notleader)[^.]*$",
        Category::Transient,
    ),
    (
        r"(?i)(seriali[sz]|conver(sion|t)|pars(e|ing)|json|avro|protobuf|schema|validat|constraint|invalid|illegal|malformed|format|nullpointer|classcast|indexoutof|arithmetic|unsupported|notfound|unauthori[sz]ed|forbidden|duplicate)[^.]*$",
        Category::Persistent,
    ),
];

/// [`TABLE`], compiled when the first class is seen: most sidecars never see one, and compiling takes more memory than the rest of a start.
fn own() -> &'static [(Regex, Category)] {
    static OWN: OnceLock<Vec<(Regex, Category)>> = OnceLock::new();
    OWN.get_or_init(|| {
        let all = TABLE.iter();
        all.filter_map(|(pattern, category)| Some((Regex::new(pattern).ok()?, *category)))
            .collect()
    })
}

/// Patterns that are tried before our own.
#[derive(Debug, Default)]
pub(crate) struct Categories(Vec<(Regex, Category)>);

impl Categories {
    /// These before our own.
    pub(crate) fn new(first: Vec<(Regex, Category)>) -> Self {
        Self(first)
    }

    /// Of an exception class.
    pub(crate) fn of(&self, class: &str) -> Category {
        let mut all = self.0.iter().chain(own());
        let found = all.find(|(pattern, _)| pattern.is_match(class));
        found.map_or(Category::Unknown, |(_, category)| *category)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_as_frameworks_throw_them_fall_into_their_kind() {
        let categories = Categories::default();
        assert_eq!(own().len(), TABLE.len(), "every pattern compiles");
        for (class, kind) in [
            ("java.net.SocketTimeoutException", Category::Transient),
            ("java.net.ConnectException", Category::Transient),
            (
                "org.apache.kafka.common.errors.TimeoutException",
                Category::Transient,
            ),
            (
                "org.springframework.dao.CannotAcquireLockException",
                Category::Transient,
            ),
            (
                "org.apache.kafka.connect.errors.RetriableException",
                Category::Transient,
            ),
            (
                "org.apache.kafka.connect.errors.ConnectException",
                Category::Unknown,
            ),
            (
                "org.apache.kafka.connect.errors.DataException",
                Category::Persistent,
            ),
            (
                "org.apache.kafka.common.errors.SerializationException",
                Category::Persistent,
            ),
            (
                "org.apache.kafka.common.errors.RecordDeserializationException",
                Category::Persistent,
            ),
            ("java.lang.NullPointerException", Category::Persistent),
            (
                "com.fasterxml.jackson.core.JsonParseException",
                Category::Persistent,
            ),
            ("java.lang.IllegalArgumentException", Category::Persistent),
            ("org.acme.connect.OrderRefused", Category::Unknown),
            ("java.lang.RuntimeException", Category::Unknown),
        ] {
            assert_eq!(categories.of(class), kind, "{class}");
        }
        let own = vec![(Regex::new("OrderRefused").unwrap(), Category::Persistent)];
        let categories = Categories::new(own);
        assert_eq!(
            categories.of("org.acme.connect.OrderRefused"),
            Category::Persistent
        );
    }
}
