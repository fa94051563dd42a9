//! The scenarios, in files by theme. A new one is a new row.

mod answers;
mod checksums;
mod prelude;
mod quiet;
mod redirects;
mod transport;
mod walk;

use std::sync::LazyLock;

use crate::scenario::Scenario;

const PARTS: [&[Scenario]; 6] = [
    quiet::SCENARIOS,
    redirects::SCENARIOS,
    walk::SCENARIOS,
    answers::SCENARIOS,
    transport::SCENARIOS,
    checksums::SCENARIOS,
];

pub(crate) static SCENARIOS: LazyLock<Vec<Scenario>> = LazyLock::new(|| PARTS.concat());
