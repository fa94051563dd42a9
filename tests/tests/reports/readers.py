"""Reads what proxytrace wrote with readers that others wrote. Arguments: a directory with
NAME.{json,har,junit,gitlab,sarif} of each trace, and the schema of the first. The last line says how
many. Beside Python's packages there are two files in the directory of these: the validator of
SARIF's editors, and Jenkins's schema of JUnit."""

import copy
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

import haralyzer
import jsonschema
import junitparser
import xmlschema
from sarif import loader
from sarif.operations import codeclimate_op

directory, schema = pathlib.Path(sys.argv[1]), json.loads(pathlib.Path(sys.argv[2]).read_text())
readers = pathlib.Path(os.environ["PYTHONPATH"])
validator = jsonschema.Draft202012Validator(schema)
validator.check_schema(schema)
# A program for x86-64; `readers.rs` says where it is left out.
validates = platform.machine() == "x86_64"
jenkins = xmlschema.XMLSchema(str(readers / "junit/test/resources/jenkins-junit.xsd"))

# What GitLab takes (its parser's schema, `codeclimate.json`, and its documentation of severities); it
# keeps one of those that have the same fingerprint.
GITLAB = jsonschema.Draft202012Validator(
    {
        "type": "array",
        "items": {
            "required": ["description", "fingerprint", "severity", "location", "check_name"],
            "properties": {
                "description": {"type": "string", "minLength": 1},
                "check_name": {"type": "string"},
                "fingerprint": {"type": "string", "minLength": 8},
                "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
                "location": {
                    "required": ["path", "lines"],
                    "properties": {
                        "path": {"type": "string", "pattern": "^[^./]"},
                        "lines": {
                            "required": ["begin"],
                            "properties": {"begin": {"type": "integer", "minimum": 1}},
                        },
                    },
                },
            },
        },
    }
)


def har(file, requests):
    entries = haralyzer.HarParser(json.loads(file.read_text())).har_data["entries"]
    assert len(entries) == len(requests), file
    for entry in map(haralyzer.HarEntry, entries):
        assert entry.startTime is not None and entry.time >= 0, entry
        assert isinstance(entry.request.method, str) and isinstance(entry.response.status, int), entry
        # The specification: these three are required and not negative.
        for part in ("send", "wait", "receive"):
            assert entry.timings[part] >= 0, entry.timings
    redirected = sum(1 for entry in entries if entry["response"]["redirectURL"])
    assert redirected == sum(1 for request in requests if request["location"]), file


def junit(file, findings):
    jenkins.validate(str(file))
    suites = junitparser.JUnitXml.fromfile(str(file))
    cases = [case for suite in suites for case in suite]
    failed = [case for case in cases if case.is_failure]
    skipped = [case for case in cases if case.is_skipped]
    assert len(cases) == suites.tests and len(failed) == suites.failures, file
    assert len(skipped) == sum(suite.skipped for suite in suites), file
    # Whoever shows the text alone, such as GitLab, shows what failed.
    assert all(result.text for case in cases for result in case.result), file
    names = [(case.classname, case.name) for case in cases]
    assert len(set(names)) == len(names), file
    assert bool(failed) == any(f["severity"] == "error" for f in findings), file
    return len(skipped)


def sarif_and_gitlab(sarif, gitlab, shown):
    """Another program's way from SARIF to what GitLab reads comes to what we write for GitLab."""
    ours = json.loads(gitlab.read_text())
    GITLAB.validate(ours)
    assert len({issue["fingerprint"] for issue in ours}) == len(ours), gitlab
    files = loader.load_sarif_files(str(sarif))
    with tempfile.TemporaryDirectory() as place:
        codeclimate_op.generate(files, f"{place}/theirs", False)
        theirs = json.loads(pathlib.Path(f"{place}/theirs").read_text())
    assert len(ours) == len(theirs) == len(shown), sarif

    def short(issues):
        return sorted((i["severity"], i["location"]["path"], i["location"]["lines"]["begin"]) for i in issues)

    assert short(ours) == short(theirs), (sarif, short(ours), short(theirs))
    errors = sum(1 for f in shown if f["severity"] == "error")
    assert files.get_report().get_issue_count_for_severity("error") == errors, sarif


def validated(files):
    """What the validator of SARIF's editors says, a line each, but for what it wants to know
    of the tool: its place on the web, and its version, which a spoiled trace has none of."""
    command = [str(readers / "sarif-multitool/Sarif.Multitool"), "validate", *map(str, files)]
    # It would want a library for languages.
    environment = {**os.environ, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert f"Done. {len(files)} files scanned." in said.stdout, said
    lines = [line for line in said.stdout.splitlines() if ": error " in line or ": warning " in line]
    return [line for line in lines if "SARIF2005" not in line]


count, skipped, sarifs = 0, 0, []
for file in sorted(directory.glob("*.json")):
    trace = json.loads(file.read_text())
    validator.validate(trace)
    requests = [r for c in trace["chains"] for a in c["attempts"] for r in a["requests"]]
    har(file.with_suffix(".har"), requests)
    skipped += junit(file.with_suffix(".junit"), trace["findings"])
    shown = [f for f in trace["findings"] if f["severity"] != "note" or f["code"] == "PT900"]
    sarifs.append(file.with_suffix(".sarif"))
    sarif_and_gitlab(sarifs[-1], file.with_suffix(".gitlab"), shown)
    count += 1
assert not validates or validated(sarifs) == [], validated(sarifs)
assert skipped > 0, "one of the traces has a module that never came"

# A validator that lets everything pass would prove nothing.
broken = json.loads(next(directory.glob("*.json")).read_text())
broken["command"]["exit_code"] = "one"
del broken["capture"]
assert len(list(validator.iter_errors(broken))) == 2
log = copy.deepcopy(json.loads(sarifs[0].read_text()))
log["runs"][0]["results"].append({"message": {"text": "no rule"}, "no-such-property": 1})
worse = directory / "broken.sarif"
worse.write_text(json.dumps(log))
assert not validates or len(validated([worse])) >= 2, validated([worse])
assert not jenkins.is_valid("<testsuites><testsuite name='a' tests='1'><testcase/></testsuite></testsuites>")
assert not GITLAB.is_valid([{"description": "no place", "fingerprint": "12345678", "severity": "bad"}])
print(count)
