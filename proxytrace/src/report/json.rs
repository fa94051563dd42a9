//! The JSON contract, `proxytrace.trace/v1`.

use std::io::{self, BufWriter, Write};

use crate::model::Trace;

/// Writes the trace as one JSON object on one line.
pub fn write(trace: &Trace, output: impl Write) -> io::Result<()> {
    let mut output = BufWriter::new(output);
    serde_json::to_writer(&mut output, trace)?;
    output.write_all(b"\n")?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::model::{SCHEMA, Trace};
    use crate::report::samples::healthy;

    #[test]
    fn one_object_on_one_line() {
        let trace = healthy();
        let mut bytes = Vec::new();
        write(&trace, &mut bytes).unwrap();
        assert_eq!(bytes.iter().position(|byte| *byte == b'\n'), Some(bytes.len() - 1));
        assert_eq!(serde_json::from_slice::<Trace>(&bytes).unwrap(), trace);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["schema"], SCHEMA);
        // Unknown is null, and present.
        assert_eq!(value["command"].get("signal"), Some(&serde_json::Value::Null));
    }

    #[test]
    fn a_full_disk_is_an_error() {
        assert!(write(&healthy(), &mut [0_u8; 16][..]).is_err());
    }
}
