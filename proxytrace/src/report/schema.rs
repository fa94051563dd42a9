//! The JSON schema of the contract: generated from the types, and kept as a file that is shipped.

use std::fs;
use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::json::SCHEMA;
use crate::diagnose::CATALOGUE;
use crate::model::{self, Trace};

const PROMISE: &str = "What `proxytrace --json` writes. Within proxytrace.trace/v1 members are \
    added, and none is renamed, retyped or taken away; words may be added to `outcome`, `kind`, \
    `cause`, `artifact` and `after_redirect`, and codes to findings. Read what you know and pass over the rest. Unknown \
    is null, never a guess or a zero. Times are nanoseconds since the trace began.";

/// As the newest version writes it: every member is there. A reader must not count on members that
/// came later; those are the ones that the types have a default for.
fn generated() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<Trace>().to_value();
    schema["title"] = model::SCHEMA.into();
    schema["description"] = PROMISE.into();
    schema["properties"]["schema"] = json!({"const": model::SCHEMA});
    let finding = &mut schema["$defs"]["Finding"]["properties"];
    finding["code"]["enum"] = CATALOGUE.iter().map(|kind| kind.code).collect();
    finding["slug"]["enum"] = CATALOGUE.iter().map(|kind| kind.slug).collect();
    schema
}

#[test]
fn the_shipped_schema_is_that_of_the_types() {
    let text = serde_json::to_string_pretty(&generated()).unwrap() + "\n";
    if std::env::var_os("INSTA_UPDATE").is_some_and(|value| value == "always") {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/trace.schema.json");
        fs::write(file, &text).unwrap();
        return;
    }
    assert_eq!(SCHEMA, text, "run `INSTA_UPDATE=always cargo test -p proxytrace schema`");
}

/// What the version before wrote is still right: nothing that it promised is gone.
#[test]
fn what_was_promised_is_kept() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let promised = include_str!("promised.txt");
    for line in promised.lines().filter(|line| !line.starts_with('#')) {
        let (place, kind) = line.split_once(' ').unwrap();
        let (of, member) = place.split_once('.').unwrap();
        let definition = if of == "Trace" { &schema } else { &schema["$defs"][of] };
        let member = &definition["properties"][member];
        assert_eq!(shape(member), kind, "{place}");
    }
}

/// A type in short: `string`, `integer|null`, `array of Chain`.
fn shape(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.trim_start_matches("#/$defs/").to_owned();
    }
    if schema.get("const").is_some() {
        return "const".to_owned();
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().map(shape).collect::<Vec<_>>().join("|");
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"),
        _ => "missing".to_owned(),
    };
    match kinds.as_str() {
        "array" => format!("array of {}", shape(&schema["items"])),
        "object" => format!("object of {}", shape(&schema["additionalProperties"])),
        _ => kinds,
    }
}
