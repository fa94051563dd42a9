"""Reads what proxytrace wrote with readers that others wrote. Arguments: a directory with
NAME.json, NAME.har and NAME.junit of each trace, and the schema. The last line says how many."""

import json
import pathlib
import sys

import haralyzer
import jsonschema
import junitparser

directory, schema = pathlib.Path(sys.argv[1]), json.loads(pathlib.Path(sys.argv[2]).read_text())
validator = jsonschema.Draft202012Validator(schema)
validator.check_schema(schema)
count = 0
for file in sorted(directory.glob("*.json")):
    trace = json.loads(file.read_text())
    validator.validate(trace)
    requests = [r for c in trace["chains"] for a in c["attempts"] for r in a["requests"]]

    har = json.loads(file.with_suffix(".har").read_text())
    entries = haralyzer.HarParser(har).har_data["entries"]
    assert len(entries) == len(requests), file
    for entry in map(haralyzer.HarEntry, entries):
        assert entry.startTime is not None and entry.time >= 0, entry
        assert isinstance(entry.request.method, str) and isinstance(entry.response.status, int), entry
        # The specification: these three are required and not negative.
        for part in ("send", "wait", "receive"):
            assert entry.timings[part] >= 0, entry.timings
    redirected = sum(1 for entry in entries if entry["response"]["redirectURL"])
    assert redirected == sum(1 for request in requests if request["location"]), file

    suites = junitparser.JUnitXml.fromfile(str(file.with_suffix(".junit")))
    cases = [case for suite in suites for case in suite]
    failed = [case for case in cases if case.result]
    assert len(cases) == suites.tests and len(failed) == suites.failures, file
    errors = [f for f in trace["findings"] if f["severity"] == "error"]
    assert bool(failed) == bool(errors), file
    count += 1

# A validator that lets everything pass would prove nothing.
broken = json.loads(next(directory.glob("*.json")).read_text())
broken["command"]["exit_code"] = "one"
del broken["capture"]
assert len(list(validator.iter_errors(broken))) == 2
print(count)
