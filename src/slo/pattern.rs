//! Patterns of the configuration in Prometheus' own dialect (RE2).
//!
//! The configuration's patterns are searched for; a matcher of Prometheus matches the whole. Must not hand over a pattern that would mean
//! something else there: it is refused instead.

use std::fmt;

use regex_syntax::ast::{self, Ast, Visitor, parse::Parser};

/// Why a pattern cannot be used in a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untranslatable {
    /// As written.
    pub pattern: String,
    /// What Prometheus does not have.
    pub what: &'static str,
}

impl fmt::Display for Untranslatable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pattern, what } = self;
        write!(
            f,
            "match: {pattern} holds {what}, which Prometheus' expressions (RE2) do not have, allowed: the same without it"
        )
    }
}

impl std::error::Error for Untranslatable {}

/// What a matcher `=~` needs so that it finds what the pattern finds.
///
/// # Errors
/// Where the pattern holds what RE2 lacks or reads in another way.
pub(super) fn matcher(pattern: &str) -> Result<String, Untranslatable> {
    let refuse = |what| Untranslatable {
        pattern: pattern.to_owned(),
        what,
    };
    let ast = Parser::new()
        .parse(pattern)
        .map_err(|_| refuse("what is no expression"))?;
    ast::visit(&ast, Portable).map_err(refuse)?;
    Ok(format!(".*(?:{pattern}).*"))
}

/// Finds what RE2 does not have.
struct Portable;

impl Visitor for Portable {
    type Output = ();
    type Err = &'static str;

    fn finish(self) -> Result<(), Self::Err> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        use ast::AssertionKind::{
            EndLine, EndText, NotWordBoundary, StartLine, StartText, WordBoundary,
        };
        match ast {
            Ast::Flags(set) => flags(&set.flags),
            Ast::Group(group) => group.flags().map_or(Ok(()), flags),
            Ast::Literal(literal) => self::literal(literal),
            Ast::Assertion(assertion) => match assertion.kind {
                StartLine | EndLine | StartText | EndText | WordBoundary | NotWordBoundary => {
                    Ok(())
                }
                _ => Err("a half word boundary"),
            },
            Ast::ClassUnicode(class) => unicode(class),
            _ => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), Self::Err> {
        match item {
            ast::ClassSetItem::Bracketed(_) => Err("a class within a class"),
            ast::ClassSetItem::Literal(one) => literal(one),
            ast::ClassSetItem::Range(range) => {
                literal(&range.start)?;
                literal(&range.end)
            }
            ast::ClassSetItem::Unicode(class) => unicode(class),
            _ => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(
        &mut self,
        _: &ast::ClassSetBinaryOp,
    ) -> Result<(), Self::Err> {
        Err("an intersection or difference of classes")
    }
}

fn flags(flags: &ast::Flags) -> Result<(), &'static str> {
    for item in &flags.items {
        if let ast::FlagsItemKind::Flag(flag) = item.kind {
            match flag {
                ast::Flag::Unicode => return Err("the flag u"),
                ast::Flag::CRLF => return Err("the flag R"),
                ast::Flag::IgnoreWhitespace => return Err("the flag x"),
                _ => {}
            }
        }
    }
    Ok(())
}

fn literal(literal: &ast::Literal) -> Result<(), &'static str> {
    use ast::{HexLiteralKind, LiteralKind};
    match literal.kind {
        LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
        | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong) => {
            Err("\\u")
        }
        _ => Ok(()),
    }
}

/// RE2 knows general categories by one or two letters and scripts by name, nothing else.
fn unicode(class: &ast::ClassUnicode) -> Result<(), &'static str> {
    match &class.kind {
        ast::ClassUnicodeKind::OneLetter(_) => Ok(()),
        ast::ClassUnicodeKind::Named(name) if name.len() == 2 => Ok(()),
        _ => Err("a Unicode class of more than two letters"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_is_searched_for_becomes_what_the_whole_must_match() {
        for pattern in [
            "^orders$",
            "pay|bill",
            "^a\\.b-\\d+",
            "(?i)dlq",
            "[^_]x{2,}?",
            "\\pL\\p{Lu}",
        ] {
            assert_eq!(matcher(pattern).unwrap(), format!(".*(?:{pattern}).*"));
        }
    }

    #[test]
    fn what_prometheus_would_read_otherwise_is_refused() {
        for pattern in [
            "[a-z&&[^x]]",
            "[a[bc]]",
            "(?x) a b",
            "(?-u:a)",
            "(?R)a$",
            "\\b{start}a",
            "\\u0041",
            "[\\u{41}]",
            "\\p{Greek}",
            "(",
        ] {
            let fault = matcher(pattern).unwrap_err();
            assert!(fault.to_string().contains(pattern), "{fault}");
        }
    }
}
