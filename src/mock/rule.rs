//! A provider's refusals as a table: what is wrong, and with which status and which machine-readable words it is
//! told.

use super::prompt::{Incoming, Invalid, Rejection};

/// One thing that a provider refuses.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// What the log and the tests call it.
    pub name: &'static str,
    pub check: fn(&Incoming<'_>) -> Option<Wrong>,
    pub status: u16,
    pub kind: Option<&'static str>,
    pub code: Option<&'static str>,
}

/// What is wrong in one request.
#[derive(Debug)]
pub struct Wrong {
    pub param: Option<String>,
    pub message: String,
}

/// A rule that is told with 400 and nothing but words.
pub const fn rule(name: &'static str, check: fn(&Incoming<'_>) -> Option<Wrong>) -> Rule {
    Rule { name, check, status: 400, kind: None, code: None }
}

/// The first rule that the request breaks.
pub fn hold(rules: &[Rule], incoming: &Incoming<'_>) -> Result<(), Rejection> {
    for rule in rules {
        if let Some(Wrong { param, message }) = (rule.check)(incoming) {
            return Err(Rejection::Invalid(Invalid {
                rule: rule.name,
                status: Some(rule.status),
                message,
                param,
                code: rule.code,
                kind: rule.kind,
                detail: None,
            }));
        }
    }
    Ok(())
}

impl Rule {
    #[must_use]
    pub const fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    #[must_use]
    pub const fn kind(self, kind: &'static str) -> Self {
        Self { kind: Some(kind), ..self }
    }

    #[must_use]
    pub const fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

impl Wrong {
    pub fn new(message: impl Into<String>) -> Self {
        Self { param: None, message: message.into() }
    }

    pub fn at(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), message: message.into() }
    }
}
