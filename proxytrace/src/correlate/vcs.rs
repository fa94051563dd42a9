//! Version control tools, by their command lines.

/// Tools that go runs, and their commands that ask a server. The others work on the local copy
/// (`cmd/go/internal/modfetch/codehost/{git,vcs}.go`).
const TOOLS: [(&str, &[&str]); 5] = [
    ("git", &["ls-remote", "fetch", "clone"]),
    ("hg", &["clone", "pull", "identify", "golookup", "goreposum"]),
    ("svn", &["info", "list", "log", "export", "cat"]),
    ("bzr", &["branch", "pull", "info"]),
    ("fossil", &["clone", "pull"]),
];
/// Options before the command whose value is the next argument.
const WITH_VALUE: [&str; 3] = ["-c", "-C", "-R"];

/// Whether these are the arguments of a version control tool that asks a server for what go needs.
pub(super) fn asks_a_server(argv: &[String]) -> bool {
    let Some((program, mut arguments)) = argv.split_first() else { return false };
    let name = program.rsplit('/').next().unwrap_or(program);
    let Some((_, commands)) = TOOLS.iter().find(|(tool, _)| *tool == name) else { return false };
    while let Some((argument, rest)) = arguments.split_first() {
        if WITH_VALUE.contains(&argument.as_str()) {
            arguments = rest.get(1..).unwrap_or_default();
        } else if argument.starts_with('-') {
            arguments = rest;
        } else {
            // go sums up its copy, if it has one.
            let copy = argument == "goreposum" && rest.last().is_some_and(|of| of == ".");
            // It does without a list of tags (`vcs.go:loadTags`), not without one of all files.
            let tags = argument == "list" && !rest.iter().any(|option| option == "--recursive");
            return !copy && !tags && commands.contains(&argument.as_str());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_asks_a_server_from_what_does_not() {
        for (line, asks) in [
            ("git ls-remote -q origin", true),
            ("git -c protocol.version=2 fetch -f --depth=1 origin refs/tags/v1:refs/tags/v1", true),
            ("/usr/bin/git clone --bare -- https://git.lab/a b", true),
            ("git -c log.showsignature=false log --no-decorate -n1", false),
            ("git init --bare", false),
            ("git cat-file blob fetch", false),
            ("git -c", false),
            ("git", false),
            ("git-remote-https origin fetch", false),
            ("hg clone -U -- https://hg.lab/a b", true),
            ("hg --config=extensions.goreposum=/g.py goreposum -- https://hg.lab/a", true),
            ("hg --config=extensions.goreposum=/g.py goreposum -- .", false),
            ("hg --config=extensions.goreposum=/g.py golookup -- https://hg.lab/a tip", true),
            ("svn list -- https://svn.lab/a/tags", false),
            ("svn list --xml --recursive --revision 7 -- https://svn.lab/a", true),
            ("vi fetch", false),
            ("", false),
        ] {
            let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(asks_a_server(&argv), asks, "{line}");
        }
    }
}
