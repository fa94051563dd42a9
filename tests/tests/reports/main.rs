//! Reports as those read them who are not we: a browser, readers of HAR, JSON schema, `JUnit`, SARIF,
//! and what CIs run; and what is chosen to deceive, and what must stay secret, through all of them.

mod browser;
mod devtools;
mod hostile;
mod live;
mod many;
mod outputs;
mod readers;
mod readme;
mod secrets;
mod traces;
