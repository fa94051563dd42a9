"""Takes the steps for CIs out of the README, has readers that others wrote check them, and leaves what
they run. Arguments: the README, and a directory for `github`, `gitlab` and `retry`, one script each."""

import pathlib
import re
import subprocess
import sys

import yaml

readme, directory = pathlib.Path(sys.argv[1]).read_text(), pathlib.Path(sys.argv[2])
section = readme.split("\n## In a CI\n")[1].split("\n## ")[0]
blocks = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.M | re.S)
documents = [yaml.safe_load(text) for kind, text in blocks if kind == "yaml"]
[steps] = [document for document in documents if isinstance(document, list)]
[pipeline] = [document for document in documents if isinstance(document, dict)]
[retry] = [text for kind, text in blocks if kind == "sh"]

job = {"runs-on": "ubuntu-latest", "steps": [{"uses": "actions/checkout@v4"}, *steps]}
# YAML 1.1 would read a bare `on` as true.
workflow = {"name": "modules", "on": {"push": {}}, "jobs": {"modules": job}}


def is_valid(schema, document, *options):
    file = directory / "document.yml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *options, str(file)]
    said = subprocess.run(check, capture_output=True, text=True)
    return said.returncode == 0, said.stdout + said.stderr


for schema, document, *options in [
    ("vendor.github-workflows", workflow),
    ("vendor.gitlab-ci", pipeline, "--data-transform", "gitlab-ci"),
]:
    good, said = is_valid(schema, document, *options)
    assert good, said
    # A schema that lets everything pass would prove nothing.
    [name, broken] = ["jobs", "none"] if "jobs" in document else ["modules", {"script": 1}]
    assert not is_valid(schema, {**document, name: broken}, *options)[0], schema

[run] = [step["run"] for step in steps if "run" in step]
uploads = [step["with"]["path"] for step in steps if "uses" in step]
artifacts = pipeline["modules"]["artifacts"]
# What is written is what is taken up.
for path in uploads:
    assert f" {path} " in run, (path, run)
script = "\n".join(pipeline["modules"]["script"])
for path in [*artifacts["paths"], *artifacts["reports"].values()]:
    assert path in script, (path, script)
for name, text in [("github", run), ("gitlab", script), ("retry", retry)]:
    (directory / name).write_text(text)
