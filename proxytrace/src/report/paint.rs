//! Colours and weights of the report on a terminal.

use anstyle::{AnsiColor, Style};

use crate::model::Severity;

// Red and magenta alone can be read on white and on black with every palette that is common: yellow,
// green and cyan are faint on white, blue on black. All else is said by weight.

/// What stands at the left edge: arrows, bars.
pub(super) const FRAME: Style = Style::new().dimmed();
/// What is the evidence, and what failed.
pub(super) const FAILED: Style = AnsiColor::Red.on_default().bold();
/// What succeeded.
pub(super) const FINE: Style = Style::new();
/// Messages, and labels such as `note`.
pub(super) const STRONG: Style = Style::new().bold();
/// What may be skipped.
pub(super) const FAINT: Style = Style::new().dimmed();

/// Puts styles around text, or does not.
#[derive(Clone, Copy)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    pub(super) fn on(self, style: Style, text: &str) -> String {
        if self.0 { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// The word for a severity, and how it looks.
pub(super) fn severity(severity: Severity) -> (&'static str, Style) {
    match severity {
        Severity::Error => ("error", FAILED),
        Severity::Warning => ("warning", AnsiColor::Magenta.on_default().bold()),
        Severity::Note => ("note", STRONG),
    }
}
