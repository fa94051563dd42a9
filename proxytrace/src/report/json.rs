//! The JSON contract, `proxytrace.trace/v1`, and how all JSON is written here.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};

use super::Format;
use super::escape::is_deceptive;
use crate::model::Trace;

/// The trace as one JSON object on one line.
pub const FORMAT: Format = Format { name: "json", write };

/// The JSON schema of the contract, from the types.
pub const SCHEMA: &str = include_str!("trace.schema.json");

fn write(trace: &Trace, output: &mut dyn Write) -> io::Result<()> {
    value(trace, &mut *output)?;
    output.write_all(b"\n")
}

/// Writes a value so that no terminal obeys it, no runner of a CI (see [`super::escape::escape`]),
/// nor any HTML parser ends a script at it: what they would obey is escaped as JSON has it, and
/// means the same.
pub fn value(value: &(impl Serialize + ?Sized), output: impl Write) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(output, Inert)).map_err(io::Error::from)
}

/// Escapes what JSON alone would leave: DEL, C1 controls, what reorders or hides text, `<`, `#`.
struct Inert;

impl Formatter for Inert {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| must_escape(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        char_escape: CharEscape,
    ) -> io::Result<()> {
        CompactFormatter.write_char_escape(writer, char_escape)
    }
}

fn must_escape(c: char) -> bool {
    matches!(c, '<' | '#' | '\u{7f}') || (!c.is_ascii() && is_deceptive(c))
}

#[cfg(test)]
mod tests {
    use super::{FORMAT, value};
    use crate::model::{SCHEMA, Trace};
    use crate::report::samples::healthy;
    use crate::report::write;

    #[test]
    fn one_object_on_one_line() {
        let trace = healthy();
        let mut bytes = Vec::new();
        write(&FORMAT, &trace, &mut bytes).unwrap();
        assert_eq!(bytes.iter().position(|byte| *byte == b'\n'), Some(bytes.len() - 1));
        assert_eq!(serde_json::from_slice::<Trace>(&bytes).unwrap(), trace);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["schema"], SCHEMA);
        // Unknown is null, and present.
        assert_eq!(value["command"].get("signal"), Some(&serde_json::Value::Null));
    }

    #[test]
    fn what_is_escaped_means_the_same() {
        let text = "</script>\u{1b}[2J\u{9b}2J\u{202e}\u{7f}\u{e0041}\"\\ä模\u{2028}##vso[a]b";
        let mut bytes = Vec::new();
        value(text, &mut bytes).unwrap();
        assert_eq!(serde_json::from_slice::<String>(&bytes).unwrap(), text);
        let json = String::from_utf8(bytes).unwrap();
        assert!(!json.contains(['<', '#', '\u{9b}', '\u{202e}', '\u{7f}', '\u{2028}']), "{json}");
        assert!(json.contains("ä模") && json.contains("\\udb40\\udc41"), "{json}");
    }

    #[test]
    fn a_full_disk_is_an_error() {
        assert!(write(&FORMAT, &healthy(), &mut [0_u8; 16][..]).is_err());
    }
}
