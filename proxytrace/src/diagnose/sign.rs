//! One sign of something, in one chain or several, before equal ones are put together.

use crate::model::{Chain, ChainId, RequestId, Severity};

use super::catalogue::{Kind, explain};

/// Equal code, severity and message make one finding.
#[derive(Clone, Debug)]
pub(super) struct Sign {
    pub(super) kind: &'static Kind,
    pub(super) severity: Severity,
    pub(super) chains: Vec<ChainId>,
    pub(super) requests: Vec<RequestId>,
    pub(super) message: String,
    pub(super) advice: String,
    /// Whether it is a hypothesis, however complete the capture.
    pub(super) possible: bool,
}

impl Sign {
    /// A sign in one chain. `code` is of the catalogue.
    pub(super) fn of(code: &str, chain: &Chain, message: String) -> Self {
        Self { chains: vec![chain.id], ..Self::general(code, message) }
    }

    /// A sign that belongs to no chain yet.
    pub(super) fn general(code: &str, message: String) -> Self {
        let kind = explain(code).expect("rules use codes of the catalogue");
        Self {
            kind,
            severity: kind.severity,
            chains: Vec::new(),
            requests: Vec::new(),
            message,
            advice: kind.advice.to_owned(),
            possible: false,
        }
    }

    pub(super) fn with(self, requests: Vec<RequestId>) -> Self {
        Self { requests, ..self }
    }

    pub(super) fn at_most(self, severity: Severity) -> Self {
        Self { severity: self.severity.min(severity), ..self }
    }

    pub(super) fn raised_to(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    pub(super) fn possibly(self) -> Self {
        Self { possible: true, ..self }
    }

    pub(super) fn advising(self, advice: &str) -> Self {
        Self { advice: advice.to_owned(), ..self }
    }
}
