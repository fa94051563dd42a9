//! Log lines with a structure, on stderr.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};

use serde_json::{Map, Value};

use super::options::{LogFormat, LogLevel};

/// Writes log lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    pub(super) format: LogFormat,
    pub(super) level: LogLevel,
}

/// What is said beside the message, by name.
pub(super) type Fields<'a> = &'a [(&'a str, &'a dyn Display)];

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
    let ours: [(&str, &dyn Display); 3] = [("time", &time), ("level", &level), ("msg", &message)];
    let all = ours.iter().chain(fields).map(|(name, value)| (*name, value.to_string()));
    match format {
        LogFormat::Json => {
            let object: Map<String, Value> =
                all.map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
            format!("{}\n", Value::Object(object))
        }
        LogFormat::Logfmt => {
            let mut line = String::new();
            for (name, value) in all {
                let separator = if line.is_empty() { "" } else { " " };
                let is_plain = !value.is_empty()
                    && value
                        .chars()
                        .all(|c| c.is_ascii_graphic() && !['"', '=', '\\'].contains(&c));
                // A string as JSON has it is one as logfmt has it.
                let value = if is_plain { value } else { Value::String(value).to_string() };
                let _ = write!(line, "{separator}{name}={value}");
            }
            line + "\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_is_quoted() {
        let line = |format| {
            let fields: Fields<'_> = &[("share", &0.05), ("why", &"a \"b\"\n=c"), ("none", &"")];
            line(format, "T", LogLevel::Warn, "share lowered", fields)
        };
        assert_eq!(
            line(LogFormat::Logfmt),
            "time=T level=warn msg=\"share lowered\" share=0.05 why=\"a \\\"b\\\"\\n=c\" none=\"\"\n"
        );
        let json: Value = serde_json::from_str(&line(LogFormat::Json)).unwrap();
        assert_eq!((&json["level"], &json["why"]), (&"warn".into(), &"a \"b\"\n=c".into()));
    }
}
