//! Log lines with a structure, on stderr.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::{Map, Value};

use super::options::{LogFormat, LogLevel};
use crate::report;

/// Writes log lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    pub(super) format: LogFormat,
    pub(super) level: LogLevel,
}

/// What is said beside the message, by name.
pub(super) type Fields<'a> = &'a [(&'a str, &'a dyn Field)];

/// What a line can say: in JSON, numbers are numbers.
pub(super) trait Field {
    fn value(&self) -> Value;
}

macro_rules! fields {
    ($($of:ty),*) => {
        $(impl Field for $of {
            fn value(&self) -> Value {
                Value::from(self.to_owned())
            }
        })*
    };
}

fields!(&str, String, bool, u64, usize, f64);

impl Log {
    pub(super) fn error(self, message: &str, fields: Fields<'_>) {
        self.write(LogLevel::Error, message, fields);
    }

    pub(super) fn warn(self, message: &str, fields: Fields<'_>) {
        self.write(LogLevel::Warn, message, fields);
    }

    pub(super) fn info(self, message: &str, fields: Fields<'_>) {
        self.write(LogLevel::Info, message, fields);
    }

    pub(super) fn debug(self, message: &str, fields: Fields<'_>) {
        self.write(LogLevel::Debug, message, fields);
    }

    fn write(self, level: LogLevel, message: &str, fields: Fields<'_>) {
        if level > self.level {
            return;
        }
        let now = jiff::Timestamp::now().to_string();
        let line = line(self.format, &now, level, message, fields);
        // Where nobody reads, there is nobody to tell.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// A line, its end included.
fn line(
    format: LogFormat,
    time: &str,
    level: LogLevel,
    message: &str,
    fields: Fields<'_>,
) -> String {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let ours: [(&str, &dyn Field); 3] = [("time", &time), ("level", &level), ("msg", &message)];
    let all = ours.iter().chain(fields).map(|(name, field)| (*name, field.value()));
    match format {
        LogFormat::Json => {
            let object: Map<String, Value> =
                all.map(|(name, value)| (name.to_owned(), value)).collect();
            json(&Value::Object(object)) + "\n"
        }
        LogFormat::Logfmt => {
            let mut line = String::new();
            for (name, value) in all {
                let separator = if line.is_empty() { "" } else { " " };
                let value = match value {
                    Value::String(text) if is_plain(&text) => text,
                    // 1, where JSON has 1.0.
                    Value::Number(number) if number.is_f64() => {
                        number.as_f64().map_or_else(String::new, |number| number.to_string())
                    }
                    // As JSON has it is as logfmt has it.
                    other => json(&other),
                };
                let _ = write!(line, "{separator}{name}={value}");
            }
            line + "\n"
        }
    }
}

/// Whether logfmt takes it without quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !['"', '=', '\\'].contains(&c))
}

/// As all JSON here: nothing in it is obeyed by a terminal.
fn json(value: &Value) -> String {
    let mut bytes = Vec::new();
    // Memory refuses nothing.
    let _ = report::json::value(value, &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_is_quoted() {
        let line = |format| {
            let fields: Fields<'_> = &[
                ("share", &0.05),
                ("from", &1.0),
                ("lost", &2_u64),
                ("why", &"a \"b\"\n=c"),
                ("none", &""),
            ];
            line(format, "T", LogLevel::Warn, "share lowered", fields)
        };
        assert_eq!(
            line(LogFormat::Logfmt),
            "time=T level=warn msg=\"share lowered\" share=0.05 from=1 lost=2 why=\"a \\\"b\\\"\\n=c\" none=\"\"\n"
        );
        let json: Value = serde_json::from_str(&line(LogFormat::Json)).unwrap();
        assert_eq!((&json["level"], &json["why"]), (&"warn".into(), &"a \"b\"\n=c".into()));
        assert_eq!((&json["share"], &json["lost"]), (&0.05.into(), &2.into()));
    }

    #[test]
    fn nothing_in_a_line_is_obeyed() {
        let text = "\u{1b}[2J\u{9b}2J\r\nlevel=error\u{202e}\u{2028}\u{7f}\0ä";
        for format in [LogFormat::Logfmt, LogFormat::Json] {
            let fields: Fields<'_> = &[("command", &text)];
            let line = line(format, "T", LogLevel::Debug, "build", fields);
            assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
            let obeyed = |c: char| c.is_control() || ['\u{202e}', '\u{2028}'].contains(&c);
            assert!(!line.trim_end().contains(obeyed), "{line:?}");
            assert!(line.contains('ä'), "{line}");
        }
    }
}
