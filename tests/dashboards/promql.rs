//! Reads PromQL as far as dashboards are judged by it: selectors with what encloses them, and the labels that are kept.
//!
//! Not a parser: whether an expression is valid is promtool's to say. Brackets and quotes are matched here, so that a broken
//! expression is not half read in silence.

use regex::Regex;

/// `name{matchers}[range]`, and the function it is the argument of.
#[derive(Debug)]
pub(crate) struct Selector {
    pub(crate) name: String,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) range: Option<String>,
    pub(crate) function: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) operator: String,
    pub(crate) value: String,
}

#[derive(Debug, Default)]
pub(crate) struct Expression {
    pub(crate) selectors: Vec<Selector>,
    /// Labels after `by`, `on`, `group_left` and the like.
    pub(crate) grouping: Vec<String>,
    /// Labels that `label_replace` makes.
    pub(crate) introduced: Vec<String>,
}

const GROUPINGS: &[&str] = &[
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];
const KEYWORDS: &[&str] = &["and", "or", "unless", "bool", "offset"];
const AGGREGATIONS: &[&str] = &["sum", "min", "max", "avg", "count", "group"];

pub(crate) fn read(text: &str) -> Result<Expression, String> {
    let tokens = tokens(text)?;
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        open: Vec::new(),
        name: None,
        found: Expression::default(),
    };
    while reader.step()? {}
    if !reader.open.is_empty() {
        return Err(format!("a bracket is not closed: {text}"));
    }
    if reader.found.selectors.is_empty() {
        return Err(format!("selects nothing: {text}"));
    }
    let label = Regex::new(r#", "([a-z_]+)", "[^"]*", "", ""\)"#).expect("regex");
    reader.found.introduced = label
        .captures_iter(text)
        .map(|found| found[1].to_owned())
        .collect();
    Ok(reader.found)
}

fn tokens(text: &str) -> Result<Vec<String>, String> {
    let token = Regex::new(concat!(
        r#"^(?:"(?:[^"\\]|\\.)*"|[A-Za-z_:][A-Za-z0-9_:]*|[0-9][0-9.]*(?:e-?[0-9]+)?[a-z]*"#,
        r"|\$[A-Za-z_]+|=~|!~|!=|==|<=|>=|[-+*/%^<>={}()\[\],@]|\s+)"
    ))
    .expect("regex");
    let (mut rest, mut all) = (text, Vec::new());
    while !rest.is_empty() {
        let Some(found) = token.find(rest) else {
            return Err(format!("no PromQL from here on: {rest}"));
        };
        if !found.as_str().trim().is_empty() {
            all.push(found.as_str().to_owned());
        }
        rest = &rest[found.end()..];
    }
    Ok(all)
}

struct Reader<'a> {
    tokens: &'a [String],
    at: usize,
    /// What stands before each bracket that is open.
    open: Vec<Option<String>>,
    name: Option<String>,
    found: Expression,
}

impl Reader<'_> {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn next(&mut self) -> Option<String> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn until(&mut self, end: &str) -> Result<Vec<String>, String> {
        let mut inner = Vec::new();
        loop {
            match self.next() {
                None => return Err(format!("{end} is missing")),
                Some(token) if token == end => return Ok(inner),
                Some(token) => inner.push(token),
            }
        }
    }

    fn step(&mut self) -> Result<bool, String> {
        let Some(token) = self.next() else {
            return Ok(false);
        };
        let first = token.chars().next().unwrap_or(' ');
        match token.as_str() {
            "(" => self.open.push(self.name.take()),
            ")" => {
                self.open.pop().ok_or("a bracket is closed twice")?;
            }
            "[" => {
                self.until("]")?;
            }
            "{" => {
                self.at -= 1;
                self.selector(String::new())?;
            }
            "}" | "]" => return Err(format!("{token} stands alone")),
            word if GROUPINGS.contains(&word) && self.peek() == "(" => {
                self.at += 1;
                let labels = self.until(")")?;
                let labels = labels.into_iter().filter(|label| label != ",");
                self.found.grouping.extend(labels);
            }
            word if KEYWORDS.contains(&word) || GROUPINGS.contains(&word) => {}
            word if first.is_alphabetic() || first == '_' => {
                if self.peek() == "(" || AGGREGATIONS.contains(&word) {
                    self.name = Some(token);
                } else {
                    self.selector(token)?;
                }
            }
            _ => {}
        }
        Ok(true)
    }

    fn selector(&mut self, name: String) -> Result<(), String> {
        let mut matchers = Vec::new();
        if self.peek() == "{" {
            self.at += 1;
            let inner = self.until("}")?;
            for matcher in inner.split(|token| token == ",") {
                let [label, operator, value] = matcher else {
                    return Err(format!("no matcher: {matcher:?}"));
                };
                matchers.push(Matcher {
                    label: label.clone(),
                    operator: operator.clone(),
                    value: value.trim_matches('"').to_owned(),
                });
            }
        }
        let mut range = None;
        if self.peek() == "[" {
            self.at += 1;
            range = Some(self.until("]")?.concat());
        }
        let function = self.open.last().cloned().flatten();
        self.found.selectors.push(Selector {
            name,
            matchers,
            range,
            function,
        });
        Ok(())
    }
}
