//! shim
#![allow(missing_docs)]
use std::borrow::Cow;
pub fn url(u:&str)->Cow<'_,str>{u.into()}
pub fn text(u:&str)->Cow<'_,str>{u.into()}
pub fn arguments(u:&[String])->Vec<String>{u.to_vec()}
pub fn header<'a>(_:&str,u:&'a str)->Option<Cow<'a,str>>{Some(u.into())}
