//! Attributes, put together.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

/// A list of attributes that grows.
#[derive(Default)]
pub(super) struct Attributes(Vec<KeyValue>);

impl Attributes {
    pub(super) fn text(mut self, key: &str, value: impl Into<String>) -> Self {
        self.put(key, Value::StringValue(value.into()));
        self
    }

    /// Unless there is none.
    pub(super) fn maybe(self, key: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    pub(super) fn integer(mut self, key: &str, value: Option<impl TryInto<i64>>) -> Self {
        if let Some(value) = value.and_then(|value| value.try_into().ok()) {
            self.put(key, Value::IntValue(value));
        }
        self
    }

    pub(super) fn number(mut self, key: &str, value: f64) -> Self {
        self.put(key, Value::DoubleValue(value));
        self
    }

    pub(super) fn truth(mut self, key: &str, value: bool) -> Self {
        self.put(key, Value::BoolValue(value));
        self
    }

    /// Unless there are none.
    pub(super) fn texts<'a>(
        mut self,
        key: &str,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let values: Vec<AnyValue> = values.into_iter().map(text).collect();
        if !values.is_empty() {
            self.put(key, Value::ArrayValue(ArrayValue { values }));
        }
        self
    }

    pub(super) fn list(self) -> Vec<KeyValue> {
        self.0
    }

    fn put(&mut self, key: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }
}

/// A text as a value.
pub(super) fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(value.to_owned())) }
}
