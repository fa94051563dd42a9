//! The dashboard, read as Grafana reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use crate::engines::monitoring;

/// How Grafana names a series by the labels that it comes to know.
const AUTO: &str = "__auto";

/// What one panel asks Prometheus.
pub(crate) struct Target {
    /// Panel and query.
    pub(crate) title: String,
    pub(crate) panel: String,
    /// With all of what can be chosen.
    pub(crate) expression: String,
    legend: String,
}

impl Target {
    /// What a series is called that has these labels; none if that is left to Grafana.
    pub(crate) fn name(&self, labels: &Value) -> Option<String> {
        let name = |text: String, label: &str| {
            text.replace(&format!("{{{{{label}}}}}"), labels[label].as_str().unwrap_or(""))
        };
        (self.legend != AUTO).then(|| self.labels().into_iter().fold(self.legend.clone(), name))
    }

    /// The labels that names have.
    pub(crate) fn labels(&self) -> Vec<&str> {
        let parts = self.legend.split("{{").skip(1);
        parts.map(|part| part.split_once("}}").expect("an end of a label").0).collect()
    }
}

/// Everything that panels ask.
pub(crate) fn targets() -> Vec<Target> {
    let dashboard = dashboard();
    let variables = variables(&dashboard);
    let of_panel = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = list(&panel["targets"]).to_vec();
        targets.into_iter().map(move |target| (title.clone(), target))
    };
    let all = list(&dashboard["panels"]).iter().flat_map(of_panel);
    all.map(|(panel, target)| Target {
        title: format!("panel {panel} {}", target["refId"]),
        panel,
        expression: with_all(target["expr"].as_str().unwrap(), &variables),
        legend: target["legendFormat"].as_str().unwrap().to_owned(),
    })
    .collect()
}

/// What has the values of each variable that is looked up.
pub(crate) fn lookups() -> BTreeMap<String, String> {
    let dashboard = dashboard();
    let variables = variables(&dashboard);
    let metric = |variable: &Value| {
        let asked = variable["definition"].as_str()?;
        assert_eq!(variable["query"]["query"], asked, "{variable:#}");
        let (metric, _) = asked.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap();
        Some((format!("variable {}", variable["name"]), with_all(metric, &variables)))
    };
    list(&dashboard["templating"]["list"]).iter().filter_map(metric).collect()
}

#[test]
fn the_dashboard_is_laid_out_well() {
    let dashboard = dashboard();
    let variables = variables(&dashboard);
    assert_eq!(dashboard["uid"], "proxytrace");
    for variable in list(&dashboard["templating"]["list"]) {
        if variable["type"] == "query" {
            assert_eq!(variable["datasource"], prometheus(), "{variable:#}");
        }
    }
    let (mut ids, mut titles, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for panel in list(&dashboard["panels"]) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id of another");
        assert!(titles.insert(title), "{title}: twice");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{title}: beyond the 24 columns");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            let other = taken.insert(place, title);
            assert!(other.is_none(), "{title} lies upon {other:?}");
        }
        let targets = list(&panel["targets"]);
        let kind = panel["type"].as_str().unwrap();
        assert!(["row", "timeseries", "table"].contains(&kind), "{title}: {kind}");
        // Those of a row that is closed are in it.
        if kind == "row" {
            assert!((w, h) == (24, 1) && targets.is_empty(), "{title}");
            assert_eq!((&panel["collapsed"], &panel["panels"]), (&false.into(), &json!([])));
            continue;
        }
        assert_eq!(panel["datasource"], prometheus(), "{title}");
        assert!(!targets.is_empty(), "{title} asks nothing");
        let mut references = BTreeSet::new();
        for target in targets {
            assert_eq!(target["datasource"], prometheus(), "{title}");
            assert!(references.insert(target["refId"].as_str().unwrap()), "{title}: a refId twice");
            let is_table = kind == "table";
            let table: Value = if is_table { "table".into() } else { Value::Null };
            assert_eq!(target["format"], table, "{title}");
            assert_eq!(target["legendFormat"] == AUTO, is_table, "{title}");
            let expression = target["expr"].as_str().unwrap();
            let unknown = with_all(expression, &variables);
            assert!(!unknown.contains('$'), "{title}: no such variable in {unknown}");
            // What can be chosen is chosen everywhere.
            for label in ["instance", "host_group"] {
                let chosen = expression.matches(&format!("{label}=~\"${label}\"")).count();
                assert_eq!(chosen, expression.matches('{').count(), "{title}: {expression}");
            }
        }
    }
    // No gaps: Grafana would close them, and the file say another thing than one sees.
    let lowest = taken.keys().map(|(_, y)| y + 1).max().unwrap();
    let lines: BTreeSet<u64> = taken.keys().map(|(_, y)| *y).collect();
    assert_eq!(lines.len() as u64, lowest, "lines without a panel");
}

fn dashboard() -> Value {
    let text = fs::read_to_string(monitoring().join("grafana/dashboard.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What all panels are to ask: who looks at them chooses which Prometheus that is.
fn prometheus() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn variables(dashboard: &Value) -> Vec<String> {
    let all = list(&dashboard["templating"]["list"]).iter();
    all.map(|variable| variable["name"].as_str().unwrap().to_owned()).collect()
}

/// An expression as it is while everything is chosen.
fn with_all(expression: &str, variables: &[String]) -> String {
    let expression = expression.replace("$__rate_interval", "1m");
    // By the quotes, as one name may begin another.
    variables.iter().fold(expression, |text, name| text.replace(&format!("\"${name}\""), "\".*\""))
}
