//! shim
#![allow(missing_docs)]
use std::collections::BTreeMap; use std::path::Path; use crate::event::Setting;
pub fn effective(_: &[(String,String)], _: &Path, _: &dyn Fn(&Path)->Option<String>) -> BTreeMap<String, Setting> { BTreeMap::new() }
