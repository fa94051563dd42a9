//! What a recorded run would have come to under another GOPROXY, for people.

use std::fmt::Write as _;

use super::chain::word;
use super::escape::{LONG, NAME, escape};
use super::paint::{FAILED, FAINT, FINE, Paint, STRONG};
use super::summary::count;
use super::terminal::Options;
use crate::model::{Artifact, Separator};
use crate::rewalk::{End, Prediction, Walk};

/// How many modules of one story are named.
const MODULES: usize = 3;

/// The walks for one module, and what comes of them.
struct Module<'a> {
    name: String,
    walks: Vec<&'a Walk>,
}

/// What becomes of a module.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Verdict {
    Same,
    Elsewhere,
    Repaired,
    Fails,
    FailsAsBefore,
    Unknown,
}

/// The verdicts, as the summary counts them.
const VERDICTS: &[(Verdict, &str)] = &[
    (Verdict::Fails, "would fail now"),
    (Verdict::FailsAsBefore, "would fail as before"),
    (Verdict::Repaired, "would be served now"),
    (Verdict::Elsewhere, "would be served by another entry"),
    (Verdict::Same, "would be served as before"),
    (Verdict::Unknown, "cannot be told from this recording"),
];

/// The text: complete lines. Without `verbose`, what would not change is counted alone.
pub fn render(prediction: &Prediction, options: &Options) -> String {
    let paint = Paint(options.color);
    let recorded: Vec<String> = prediction.recorded.iter().map(|list| escape(list, LONG)).collect();
    let mut text = paint.on(STRONG, &format!("GOPROXY={}", escape(&prediction.goproxy, LONG)));
    let _ = writeln!(text, ", with the answers recorded under {}", recorded.join(" and "));
    let modules = modules(prediction);
    for (verdict, words) in VERDICTS {
        let named = modules.iter().filter(|module| module.walks[0].module.is_some());
        let of = named.filter(|module| module.verdict() == *verdict).count();
        if of > 0 {
            let _ = writeln!(text, "  {} {words}", count(of, "module"));
        }
    }
    let mut stories: Vec<(Verdict, String, Vec<&str>)> = Vec::new();
    for module in &modules {
        let verdict = module.verdict();
        if verdict == Verdict::Same && !options.verbose {
            continue;
        }
        let story = module.story(paint);
        match stories.iter_mut().find(|(v, told, _)| *v == verdict && *told == story) {
            Some((.., names)) => names.push(&module.name),
            None => stories.push((verdict, story, vec![&module.name])),
        }
    }
    for (verdict, words) in VERDICTS {
        for (_, story, names) in stories.iter().filter(|(of, ..)| of == verdict) {
            let room = if options.verbose { names.len() } else { MODULES };
            let mut shown: Vec<String> =
                names.iter().take(room).map(|name| escape(name, NAME)).collect();
            if names.len() > room {
                shown.push(format!("and {} more", names.len() - room));
            }
            let head = paint.on(STRONG, &shown.join(", "));
            let _ = write!(text, "\n{head}: {words}\n{story}");
        }
    }
    text
}

/// Walks put together by module and process.
fn modules(prediction: &Prediction) -> Vec<Module<'_>> {
    let mut modules: Vec<Module<'_>> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for walk in &prediction.walks {
        let name = match (&walk.module, &walk.version) {
            (Some(module), Some(version)) => format!("{module}@{version}"),
            (Some(module), None) => module.clone(),
            (None, _) => "the checksum database".to_owned(),
        };
        let key = (walk.process, name.clone());
        let place = *places.entry(key).or_insert(modules.len());
        match modules.get_mut(place) {
            Some(module) => module.walks.push(walk),
            None => modules.push(Module { name, walks: vec![walk] }),
        }
    }
    modules
}

impl Module<'_> {
    /// go asks for the next artifact when it has the one before.
    fn deciding(&self) -> Option<&Walk> {
        let served = |walk: &&&Walk| matches!(walk.end, End::Served { .. });
        self.walks.iter().find(|walk| !served(walk)).copied()
    }

    fn failed(&self) -> bool {
        self.walks.iter().any(|walk| crate::correlate::story::failed(walk.recorded))
    }

    fn verdict(&self) -> Verdict {
        match self.deciding().map(|walk| &walk.end) {
            Some(End::Unknown { .. }) => Verdict::Unknown,
            Some(_) if self.failed() => Verdict::FailsAsBefore,
            Some(_) => Verdict::Fails,
            // What would be asked for next was not asked for, where the run got no further.
            None if self.failed() && !self.is_whole() => Verdict::Unknown,
            None if self.failed() => Verdict::Repaired,
            None if self.walks.iter().any(|walk| walk.differs()) => Verdict::Elsewhere,
            None => Verdict::Same,
        }
    }

    /// Whether the last thing that go wants of a module is among the walks.
    fn is_whole(&self) -> bool {
        let last = |walk: &&Walk| {
            matches!(walk.artifact, Artifact::Zip | Artifact::SumdbSupported | Artifact::Latest)
        };
        self.walks.iter().any(last)
    }

    fn story(&self, paint: Paint) -> String {
        let mut text = String::new();
        for walk in &self.walks {
            let _ = write!(text, "  {:<5} ", word(&walk.artifact));
            for (place, step) in walk.steps.iter().enumerate() {
                let arrow = if place > 0 { " → " } else { "" };
                let outcome = step.outcome.map_or_else(|| "?".to_owned(), |outcome| word(&outcome));
                let served = step.outcome.is_some() && step.next.is_none();
                let style = if served { FINE } else { FAILED };
                let separator = match step.separator {
                    Some(Separator::Comma) => " `,`",
                    Some(Separator::Pipe) => " `|`",
                    None => "",
                };
                let separator = if step.next.is_some() { separator } else { "" };
                let proxy = escape(&step.proxy, NAME);
                let _ = write!(text, "{arrow}{proxy} {}{separator}", paint.on(style, &outcome));
            }
            match &walk.end {
                End::Served { .. } => {}
                End::Failed { prints, outcome, masks } => {
                    let prints = escape(prints, NAME);
                    let _ = write!(text, "; go prints the {} of {prints}", word(outcome));
                    if let Some(masked) = masks {
                        let _ = write!(text, ", which masks {}", escape(masked, NAME));
                    }
                }
                End::Unknown { why } => {
                    let _ = write!(text, ": not known, {}", escape(why, LONG));
                }
            }
            text.push('\n');
            if !matches!(walk.end, End::Served { .. }) {
                break;
            }
        }
        if self.deciding().is_none() && self.verdict() == Verdict::Unknown {
            text += "  what go asks for next was not asked for in the recorded run\n";
        }
        let was = self.walks.iter().rfind(|walk| crate::correlate::story::failed(walk.recorded));
        if let Some(was) = was {
            let at = was
                .recorded_at
                .as_deref()
                .map_or_else(String::new, |at| format!(" at {}", escape(at, NAME)));
            let was = format!("  recorded: {} {}{at}\n", word(&was.artifact), word(&was.recorded));
            text += &paint.on(FAINT, &was);
        }
        text
    }
}
