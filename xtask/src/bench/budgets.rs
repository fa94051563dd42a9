//! What was reached, beside what it may cost.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::parts::{Part, Way};
use super::series::Series;

/// What has been measured of one part.
pub(crate) struct Measured {
    pub(crate) part: &'static Part,
    pub(crate) groups: Vec<Vec<Series>>,
    /// Counts of a traced run, and of several the most memory and the most that was lost; null if
    /// that was not asked for.
    pub(crate) traced: Value,
}

impl Measured {
    /// A way and what it takes turns with.
    fn pair(&self, way: &str) -> Option<(&Series, &Series)> {
        let group = self.groups.iter().find(|group| find(group, way).is_some())?;
        Some((find(group, way)?, find(group, Way::Bare.name())?))
    }

    /// What a way, by its name, adds: wall and CPU in milliseconds.
    pub(crate) fn added(&self, way: &str) -> Option<[f64; 2]> {
        let (it, bare) = self.pair(way)?;
        Some(it.added(bare))
    }

    /// A count of the traced run.
    fn count(&self, pointer: &str) -> Option<f64> {
        self.traced.pointer(pointer)?.as_f64()
    }

    /// Hits of the probes that are such ones.
    fn hits(&self, is_such: impl Fn(&Value) -> bool) -> Option<f64> {
        let probes = self.traced.pointer("/counts/probes")?.as_array()?;
        let such = probes.iter().filter(|probe| is_such(probe));
        Some(such.filter_map(|probe| probe["hits"].as_f64()).sum())
    }

    /// What is counted, for each request.
    fn per_request(&self, counted: fn(&Self) -> Option<f64>) -> Option<f64> {
        Some(counted(self)? / f64::from(self.part.requests()))
    }
}

fn find<'s>(group: &'s [Series], way: &str) -> Option<&'s Series> {
    group.iter().find(|series| series.way == way)
}

/// One figure. Where its parts were not measured, nothing was reached.
#[derive(Debug, PartialEq)]
pub(crate) struct Figure {
    what: &'static str,
    reached: Option<f64>,
    /// None of a figure that is there to be seen beside another.
    budget: Option<Limit>,
    stretch: Option<Limit>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// One, or so much more or less.
    OneWithin(f64),
}

use Limit::{AtLeast, AtMost, OneWithin};

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            AtMost(limit) => value <= limit,
            AtLeast(limit) => value >= limit,
            OneWithin(limit) => (value - 1.0).abs() <= limit,
        }
    }

    fn shown(self) -> String {
        match self {
            AtMost(limit) => format!("≤ {limit}"),
            AtLeast(limit) => format!("≥ {limit}"),
            OneWithin(limit) => format!("1 ± {limit}"),
        }
    }
}

/// What a request may take more or less in a large download than in a small one.
const FLAT: f64 = 0.15;

/// All figures with a budget, and what is seen beside them. `rate`: million events a second of
/// correlate and diagnose.
pub(crate) fn figures(all: &BTreeMap<&'static str, Measured>, rate: Option<f64>) -> Vec<Figure> {
    let of = |name: &str| all.get(name);
    // Of a download without starting and stopping, which does not grow with it.
    let start = |way: Way| of("version")?.added(way.name());
    let inner = |name: &str, way: Way| {
        let ([wall, cpu], [start, start_cpu]) = (of(name)?.added(way.name())?, start(way)?);
        Some([wall - start, cpu - start_cpu])
    };
    let times = |name: &str, place: usize| {
        let (it, bare) = of(name)?.pair(Way::Proxytrace.name())?;
        Some(it.times(bare, start(Way::Proxytrace)?)[place])
    };
    // The same with starting and stopping.
    let whole = |name: &str| {
        let (it, bare) = of(name)?.pair(Way::Proxytrace.name())?;
        Some(it.times(bare, [0.0; 2])[0])
    };
    // None where what is divided by is lost in what two runs of the same differ by.
    let against = |name, way, place: usize| {
        let (ours, other) = (inner(name, Way::Proxytrace)?[place], inner(name, way)?[place]);
        let noise = of(name)?.added(Way::Control.name()).map_or(0.0, |added| added[place].abs());
        (other > noise).then_some(ours / other)
    };
    // Added CPU time of a request in microseconds, at the sizes that there are.
    let requests = |name: &str| {
        let added = inner(name, Way::Proxytrace)?[1];
        Some(1000.0 * added / f64::from(of(name)?.part.requests()))
    };
    let added_flat = requests("1000").zip(requests("50")).map(|(many, few)| many / few);
    let stepped = |it: &Measured| it.hits(|probe| probe["emulated"] == false);
    let megabytes = |name: &str| Some(of(name)?.count("/counts/peak_memory")? / 1e6);
    let mut figures = vec![
        figure("wall, 200 modules, × bare", times("200", 0), AtMost(1.05), Some(AtMost(1.02))),
        Figure {
            what: "wall, 200 modules, × bare, with starting and stopping",
            reached: whole("200"),
            budget: None,
            stretch: None,
        },
        figure("CPU, 200 modules, × bare", times("200", 1), AtMost(1.12), Some(AtMost(1.05))),
        figure(
            "added CPU, × that of the limit",
            // The longer the run, the better it is told from noise.
            against("1000", Way::Limit, 1).or_else(|| against("200", Way::Limit, 1)),
            AtMost(1.5),
            Some(AtMost(1.3)),
        ),
        figure("added wall, × that of strace", against("200", Way::Strace, 0), AtMost(0.25), None),
        figure(
            "added wall, × that of mitmproxy",
            against("200", Way::Mitmproxy, 0),
            AtMost(0.1),
            None,
        ),
        figure(
            "stepped hits per request",
            of("200").and_then(|it| it.per_request(stepped)),
            AtMost(1.0),
            Some(AtMost(0.0)),
        ),
        figure(
            "added wall of `go version`, ms",
            start(Way::Proxytrace).map(|[wall, _]| wall),
            AtMost(90.0),
            Some(AtMost(60.0)),
        ),
        figure(
            "added CPU a request, 1,000 × 50, of noisy differences",
            added_flat,
            OneWithin(FLAT),
            None,
        ),
        figure(
            "peak memory, 1,000 modules, MB",
            megabytes("1000"),
            AtMost(40.0),
            Some(AtMost(24.0)),
        ),
        figure(
            "lost, 1,000 modules, GOMAXPROCS=8",
            of("crowd").and_then(|crowd| crowd.count("/capture/lost")),
            AtMost(0.0),
            None,
        ),
        figure("correlate and diagnose, M events/s", rate, AtLeast(1.0), Some(AtLeast(3.0))),
    ];
    figures.extend(flat(all));
    figures
}

/// What a request takes at 1,000 modules, × that at 50, in counts, which repeat where CPU time does
/// not.
fn flat(all: &BTreeMap<&'static str, Measured>) -> [Figure; 3] {
    let times = |counted: fn(&Measured) -> Option<f64>| {
        let at = |name: &str| all.get(name)?.per_request(counted);
        Some(at("1000")? / at("50")?)
    };
    let figure = |what, reached| figure(what, reached, OneWithin(FLAT), None);
    [
        figure("hits a request, 1,000 modules × 50", times(|it| it.hits(|_| true))),
        figure("records a request, 1,000 modules × 50", times(|it| it.count("/counts/records"))),
        figure("bytes a request, 1,000 modules × 50", times(|it| it.count("/counts/bytes"))),
    ]
}

fn figure(
    what: &'static str,
    reached: Option<f64>,
    budget: Limit,
    stretch: Option<Limit>,
) -> Figure {
    Figure { what, reached, budget: Some(budget), stretch }
}

/// The figures as a table.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = format!("{:<54}{:>10}{:>10}{:>10}\n", "figure", "reached", "budget", "stretch");
    for figure in figures {
        let reached = figure.reached.map_or_else(|| "–".to_owned(), |it| format!("{it:.2}"));
        let shown = |limit: Option<Limit>| limit.map_or_else(String::new, Limit::shown);
        let (what, budget, stretch) = (figure.what, shown(figure.budget), shown(figure.stretch));
        writeln!(text, "{what:<54}{reached:>10}{budget:>10}{stretch:>10}  {}", figure.verdict())
            .expect("a string takes all");
    }
    text
}

impl Figure {
    fn verdict(&self) -> &'static str {
        let Some(reached) = self.reached else { return "not measured" };
        let holds = |limit: Limit| limit.holds(reached);
        match (self.budget, self.stretch) {
            (None, _) => "no budget",
            (_, Some(stretch)) if holds(stretch) => "within the stretch",
            (Some(budget), _) if holds(budget) => "within the budget",
            _ => "over",
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "what": self.what,
            "reached": self.reached,
            "budget": self.budget.map(Limit::shown),
            "stretch": self.stretch.map(Limit::shown),
            "verdict": self.verdict(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(way: Way, wall: f64, cpu: f64) -> Series {
        Series { way: way.name().into(), wall_ms: vec![wall; 3], cpu_ms: vec![cpu; 3] }
    }

    fn measured(name: &str, rows: &[(Way, f64, f64)]) -> (&'static str, Measured) {
        let part = Part::find(name).unwrap();
        let group = rows.iter().map(|&(way, wall, cpu)| series(way, wall, cpu)).collect();
        let probe = |emulated, hits| json!({"emulated": emulated, "hits": hits});
        let traced = json!({
            "counts": {"probes": [probe(true, 8000), probe(false, 400)], "peak_memory": 20_000_000},
            "capture": {"lost": 0},
        });
        (part.name, Measured { part, groups: vec![group], traced })
    }

    #[test]
    fn starting_and_stopping_is_no_part_of_a_ratio() {
        let all = BTreeMap::from([
            measured(
                "version",
                &[(Way::Bare, 4.0, 4.0), (Way::Proxytrace, 44.0, 24.0), (Way::Limit, 14.0, 14.0)],
            ),
            measured(
                "200",
                &[
                    (Way::Bare, 200.0, 250.0),
                    (Way::Proxytrace, 250.0, 295.0),
                    (Way::Limit, 215.0, 280.0),
                ],
            ),
            measured("1000", &[]),
        ]);
        let figures = figures(&all, Some(2.0));
        let reached = |what: &str| {
            let figure = figures.iter().find(|figure| figure.what.starts_with(what)).unwrap();
            (figure.reached.map(|it| (it * 1000.0).round() / 1000.0), figure.verdict())
        };
        assert_eq!(reached("wall, 200"), (Some(1.05), "within the budget"));
        // With it, 250 ms of 200.
        assert_eq!(reached("wall, 200 modules, × bare, with"), (Some(1.25), "no budget"));
        assert_eq!(reached("CPU, 200"), (Some(1.1), "within the budget"));
        assert_eq!(reached("added CPU, × that"), (Some(1.25), "within the stretch"));
        assert_eq!(reached("added wall, × that of strace"), (None, "not measured"));
        assert_eq!(reached("stepped"), (Some(0.5), "within the budget"));
        assert_eq!(reached("added wall of"), (Some(40.0), "within the stretch"));
        assert_eq!(reached("peak memory"), (Some(20.0), "within the stretch"));
        assert_eq!(reached("correlate"), (Some(2.0), "within the budget"));
        assert!(table(&figures).lines().all(|line| !line.contains("over")));
    }

    #[test]
    fn a_request_takes_as_much_in_a_large_download() {
        let counted = |name: &str, each: [f64; 3]| {
            let (name, mut measured) = measured(name, &[]);
            let [hits, records, bytes] =
                each.map(|each| each * f64::from(measured.part.requests()));
            let probes = [json!({"emulated": true, "hits": hits})];
            measured.traced =
                json!({"counts": {"probes": probes, "records": records, "bytes": bytes}});
            (name, measured)
        };
        let all = BTreeMap::from([
            counted("50", [10.0, 8.0, 800.0]),
            counted("1000", [9.0, 10.0, 600.0]),
        ]);
        let reached =
            flat(&all).map(|it| (it.reached.map(|it| (it * 100.0).round()), it.verdict()));
        // Less is not flat, either.
        let expected =
            [(Some(90.0), "within the budget"), (Some(125.0), "over"), (Some(75.0), "over")];
        assert_eq!(reached, expected);
        assert!(flat(&BTreeMap::new()).iter().all(|it| it.verdict() == "not measured"));
    }

    #[test]
    fn what_is_lost_in_noise_is_not_measured() {
        let version =
            [(Way::Bare, 4.0, 4.0), (Way::Proxytrace, 44.0, 24.0), (Way::Limit, 14.0, 14.0)];
        let all = BTreeMap::from([
            measured("version", &version),
            measured(
                "200",
                &[
                    (Way::Bare, 200.0, 250.0),
                    (Way::Control, 200.0, 244.0),
                    (Way::Proxytrace, 250.0, 295.0),
                    (Way::Limit, 215.0, 265.0),
                ],
            ),
        ]);
        let figures = figures(&all, None);
        let figure = figures.iter().find(|it| it.what.starts_with("added CPU, × that")).unwrap();
        assert_eq!((figure.reached, figure.verdict()), (None, "not measured"));
    }
}
