//! What a recorded run would have come to under another GOPROXY, for people.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::chain::word;
use super::escape::{LONG, NAME, escape};
use super::paint::{FAILED, FAINT, FINE, Paint, STRONG};
use super::summary::count;
use super::terminal::Options;
use crate::model::{Artifact, ProcessId, Separator};
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
    let mut text = paint.on(STRONG, &format!("GOPROXY={}", escape(&prediction.goproxy, LONG)));
    text += &source(prediction);
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

/// What is told from, behind the list: whole lines.
fn source(prediction: &Prediction) -> String {
    let lists: Vec<String> = prediction.recorded.iter().map(|list| escape(list, LONG)).collect();
    let mut source = if prediction.walks.is_empty() {
        "; the recording has no walk through GOPROXY to tell from\n".to_owned()
    } else if lists.is_empty() {
        ", with the recorded answers\n".to_owned()
    } else {
        format!(", with the answers recorded under {}\n", lists.join(" and "))
    };
    if !prediction.complete {
        source += "  not everything was seen of the recorded run; what was not is not told of\n";
    }
    source
}

/// Walks put together by module and process. One without a version is of the version that go asked for
/// after it, as it lists those that there are to choose one; or else of the last that it asked for.
fn modules(prediction: &Prediction) -> Vec<Module<'_>> {
    let walks = || prediction.walks.iter();
    let versioned = walks().filter_map(|walk| Some((subject(walk), walk.version.as_deref()?)));
    let mut versions: HashMap<_, _> = versioned.collect();
    let about = walks().rev().map(|walk| {
        if let Some(version) = walk.version.as_deref() {
            versions.insert(subject(walk), version);
        }
        (walk, versions.get(&subject(walk)).copied())
    });
    let about: Vec<(&Walk, Option<&str>)> = about.collect();
    let mut modules: Vec<Module<'_>> = Vec::new();
    let mut places = HashMap::new();
    for (walk, version) in about.into_iter().rev() {
        let name = match (&walk.module, version) {
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

/// What a walk is about, in whatever version.
fn subject(walk: &Walk) -> (ProcessId, Option<&str>) {
    (walk.process, walk.module.as_deref())
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

    /// Whether the last thing that go wants of a module is among the walks: of one whose versions are
    /// all that it asked for, the latest.
    fn is_whole(&self) -> bool {
        let unversioned = self.walks.iter().all(|walk| walk.version.is_none());
        self.walks.iter().any(|walk| match walk.artifact {
            Artifact::Zip | Artifact::SumdbSupported => true,
            Artifact::Latest => unversioned,
            _ => false,
        })
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

#[cfg(test)]
mod tests {
    use super::render;
    use crate::correlate::tests::scenarios::{A, B, got, probes, url};
    use crate::correlate::tests::script::{Script, Task, hop};
    use crate::report::terminal::Options;
    use crate::rewalk::rewalk;

    /// The counts, of a recording under [`A`].
    fn counts(script: &Script, list: &str) -> Vec<String> {
        let text = render(&rewalk(&script.trace(), list).unwrap(), &Options::default());
        text.lines().skip(1).take_while(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn the_versions_and_the_one_that_go_chose_are_one_module() {
        let own = |file| got(7, "x.lab/m", &[hop(&url(A, "x.lab/m", file), 200)]);
        let mut script = Script::new(A, 0);
        // What go has, the versions, and the one that it chose; and once more for retractions.
        script.run(&[own("v1.0.0.mod")]).run(&[own("list")]).run(&[own("v1.1.0.info")]);
        let latest = Task::new(7).walk().lookup(A, "x.lab/m");
        script.run(&[latest.fetch(&[hop(&format!("{A}/x.lab/m/@latest"), 200)]).found()]);
        assert_eq!(counts(&script, A), ["  2 modules would be served as before"]);
        assert_eq!(counts(&script, B), ["  2 modules cannot be told from this recording"]);
    }

    #[test]
    fn what_there_is_to_tell_from_is_said() {
        let text =
            |script: &Script| render(&rewalk(&script.trace(), B).unwrap(), &Options::default());
        let mut cached = Script::new(A, 0);
        let nothing =
            format!("GOPROXY={B}; the recording has no walk through GOPROXY to tell from\n");
        assert_eq!(text(&cached), nothing);
        cached.lose();
        let unseen = "  not everything was seen of the recorded run; what was not is not told of\n";
        assert_eq!(text(&cached), format!("{nothing}{unseen}"));
        let mut asked = Script::new(A, 0);
        asked.run(&[got(7, "x.lab/m", &[hop(&url(A, "x.lab/m", "v1.0.0.zip"), 200)])]).lose();
        let some = format!("GOPROXY={B}, with the answers recorded under {A}\n{unseen}");
        assert!(text(&asked).starts_with(&some), "{}", text(&asked));
    }

    #[test]
    fn prefixes_that_are_no_modules_are_not_counted() {
        let counts = |statuses, exit| counts(&probes(statuses, exit), A);
        assert_eq!(counts([404, 200, 404], 0), ["  1 module would be served as before"]);
        assert_eq!(counts([404, 404, 404], 1), ["  3 modules would fail as before"]);
    }
}
