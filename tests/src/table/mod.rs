//! The scenarios, in files by theme. A new one is a new row.

mod answers;
mod checksums;
mod prelude;
mod quiet;
mod redirects;
mod transport;
mod walk;

use crate::scenario::Scenario;

const PARTS: [&[Scenario]; 6] = [
    quiet::SCENARIOS,
    redirects::SCENARIOS,
    walk::SCENARIOS,
    answers::SCENARIOS,
    transport::SCENARIOS,
    checksums::SCENARIOS,
];

const COUNT: usize = {
    let (mut count, mut part) = (0, 0);
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
};

pub(crate) static SCENARIOS: &[Scenario] = &{
    let mut all = [Scenario::BASE; COUNT];
    let (mut at, mut part) = (0, 0);
    while part < PARTS.len() {
        let mut row = 0;
        while row < PARTS[part].len() {
            all[at] = PARTS[part][row];
            at += 1;
            row += 1;
        }
        part += 1;
    }
    all
};
