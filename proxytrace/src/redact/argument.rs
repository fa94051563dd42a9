//! Arguments of commands, and the scripts that are arguments.

use std::ops::Range;

use super::body::{form, json};
use super::header::names_a_secret;
use super::places::{Places, mask, moved, replace_all, rest};
use super::setting::secrets_of;
use super::shell::{Apart, is_quote, words};
use super::{MAX_DEPTH, is_secret, url};

/// Flags whose value is a secret though their names do not say so, by program. A one-letter flag
/// may have its value attached.
const FLAGS: &[(&str, &[&str])] = &[
    ("curl", &["-u", "--user", "-U", "--proxy-user", "-b"]),
    ("docker", &["-p"]),
    ("podman", &["-p"]),
    ("sshpass", &["-p"]),
];

/// One argument without its secrets; see [`arguments`].
pub fn argument(text: &str) -> String {
    Walk::default().argument(text)
}

/// The arguments of a command without their secrets: in URLs, in the values of flags and of
/// `NAME=VALUE` with a secret name, in headers (`Authorization: …`), in forms and JSON, and all
/// these in shell scripts that are an argument.
pub fn arguments<S: AsRef<str>>(argv: &[S]) -> Vec<String> {
    let mut walk = Walk::default();
    argv.iter().map(|argument| walk.argument(argument.as_ref())).collect()
}

/// Programs whose `-c` a script follows.
const SHELLS: &[&str] = &["ash", "bash", "busybox", "dash", "ksh", "sh", "zsh"];

/// What the words so far say about the next one.
#[derive(Default)]
struct Walk {
    /// Flags with secrets of the program that is being called.
    flags: &'static [&'static str],
    /// What the next word is.
    next: Next,
    /// Whether the words may be those of a .netrc file.
    is_netrc: bool,
    /// Whether a shell is being called.
    is_shell: bool,
}

#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum Next {
    #[default]
    Anything,
    Secret,
    /// Of a shell, behind its `-c`.
    Script,
}

impl Walk {
    fn argument(&mut self, text: &str) -> String {
        replace_all(text, self.text(text, 0)).into_owned()
    }

    /// Where the secrets of a text are that is a word, or a script of words.
    fn text(&mut self, text: &str, depth: u8) -> Places {
        if depth >= MAX_DEPTH {
            return rest(text, 0);
        }
        let mut found = json(text);
        // First, as there may be an `@` in a value: behind an URL, half of it would be userinfo.
        let text = &*mask(text, &found);
        let expected = self.expected(text);
        if expected == Next::Secret {
            return rest(text, 0);
        }
        let is_script = expected == Next::Script;
        if let Some((name, value)) = assignment(text) {
            let start = text.len() - value.len();
            if is_secret(name) || self.flags.contains(&name) {
                return rest(text, start);
            }
            // What is in a script is its first word alone, and a list may as well be one.
            let is_whole = name == "GOAUTH" && !is_script || !value.contains(char::is_whitespace);
            if let Some(secrets) = secrets_of(name).filter(|_| is_whole) {
                return moved(secrets(value), start);
            }
            // Half of a password: the other half is behind a space.
            let first = value.split(char::is_whitespace).next().unwrap_or(value);
            let is_half = |half: &Range<usize>| {
                half.end == first.len() && !first[..half.start].ends_with('=')
            };
            if !is_script
                && name != "GOAUTH"
                && secrets_of(name).is_some_and(|secrets| secrets(first).iter().any(is_half))
                && let Some(end) = value.rfind('@')
            {
                found.push(start..start + end);
            }
        }
        if let Some(value) = secret_header(text) {
            return rest(text, value);
        }
        if let Some(flag) = attached(text, self.flags) {
            return rest(text, flag.len());
        }
        if text.contains(is_apart) {
            found.extend(self.script(text, is_script, depth));
        } else {
            found.extend(self.word(text, depth));
        }
        found
    }

    /// What the words before say that this one is.
    fn expected(&mut self, word: &str) -> Next {
        match std::mem::take(&mut self.next) {
            Next::Secret if word.is_empty() || word.starts_with('-') => Next::Anything,
            next => next,
        }
    }

    /// Where the secrets of a script are, or of a text that may be one: what looks like operators may
    /// belong to a value there, as it may in a file that a script has in it (`<<`).
    fn script(&mut self, text: &str, is_script: bool, depth: u8) -> Places {
        let outside = (std::mem::take(&mut self.flags), std::mem::take(&mut self.is_shell));
        let mut found = self.words(text, Apart::Operators, depth);
        if is_script && !text.contains("<<") {
            for word in words(text, Apart::Spaces) {
                found.extend(word.places_of(text, of_words(&word.text)));
            }
        } else {
            let mut other = Self { is_netrc: self.is_netrc, ..Self::default() };
            found.extend(other.words(text, Apart::Spaces, depth));
        }
        (self.flags, self.is_shell) = outside;
        found
    }

    /// Where the secrets of the words of a text are. What is in quotes may be a script itself.
    fn words(&mut self, text: &str, apart: Apart, depth: u8) -> Places {
        let mut found = Places::new();
        let mut around = Vec::new();
        for word in words(text, apart) {
            self.pass(&word.before, &mut around);
            let places = if word.is_quoted {
                self.text(&word.text, depth + 1)
            } else if self.expected(&word.text) == Next::Secret {
                rest(&word.text, 0)
            } else {
                self.word(&word.text, depth)
            };
            found.extend(word.places_of(text, places));
            if apart == Apart::Spaces && word.text.ends_with([';', '&', '|']) {
                self.flags = &[];
            }
        }
        found
    }

    /// Passes operators: another command begins, or goes on behind what is in brackets. Over many
    /// lines go files of credentials, and what is in brackets.
    fn pass(&mut self, operators: &[char], around: &mut Vec<&'static [&'static str]>) {
        for (i, operator) in operators.iter().enumerate() {
            let beside = |at: Option<usize>| at.and_then(|at| operators.get(at));
            let redirects = [beside(i.checked_sub(1)), beside(Some(i + 1))];
            if *operator != '\n' || !self.is_netrc && around.is_empty() {
                self.next = Next::Anything;
            }
            match operator {
                '(' => around.push(std::mem::take(&mut self.flags)),
                ')' => self.flags = around.pop().unwrap_or_default(),
                // Where its output goes to; the next one says what `$` belongs to.
                '<' | '>' | '$' => {}
                // `2>&1`, `&>file`
                '&' if redirects.iter().flatten().any(|sign| matches!(sign, '<' | '>')) => {}
                _ => self.flags = &[],
            }
        }
    }

    /// Where the secrets of a word are: a flag, an assignment, a program, an URL.
    fn word(&mut self, word: &str, depth: u8) -> Places {
        if depth >= MAX_DEPTH {
            return rest(word, 0);
        }
        if let Some((name, value)) = assignment(word) {
            let start = word.len() - value.len();
            if is_secret(name) || self.flags.contains(&name) {
                return rest(word, start);
            }
            let places = match secrets_of(name) {
                Some(secrets) => secrets(value),
                None if value.is_empty() => Places::new(),
                None => self.word(value, depth + 1),
            };
            return moved(places, start);
        }
        if let Some(flag) = attached(word, self.flags) {
            return rest(word, flag.len());
        }
        let flag = word.strip_prefix('-').map(|rest| rest.trim_start_matches('-'));
        // `printf` makes lines of what is one word here.
        let mut lines = word.rsplit("\\n");
        let last = lines.clone().next();
        self.is_netrc |= lines.any(|line| matches!(line, "machine" | "login"));
        let is_secret_next = self.flags.contains(&word)
            || bundled(word, self.flags) == Some(word.len())
            || self.is_netrc && last == Some("password")
            // One letter says nothing: `-p 4` is no password.
            || flag.is_some_and(|name| name.len() > 1 && is_name(name) && is_secret(name));
        // `-c`, `-ec`.
        let is_command = !word.starts_with("--") && flag.is_some_and(|name| name.contains('c'));
        self.next = match (is_secret_next, self.is_shell && is_command) {
            (true, _) => Next::Secret,
            (false, true) => Next::Script,
            (false, false) => Next::Anything,
        };
        let program = word.rsplit('/').next().unwrap_or(word);
        // The `-c` of a shell comes before its other words.
        self.is_shell = SHELLS.contains(&program) || self.is_shell && flag.is_some();
        if let Some((_, flags)) = FLAGS.iter().find(|(name, _)| *name == program) {
            self.flags = flags;
        }
        match word.split_once(':') {
            Some((name, value)) if is_name(name) && is_secret(name) => {
                rest(word, word.len() - value.len())
            }
            _ => of_url(word),
        }
    }
}

/// What words are apart by, or what may be around them.
fn is_apart(c: char) -> bool {
    c.is_whitespace() || is_quote(c)
}

/// Like [`of_url`], of what may be several words.
fn of_words(text: &str) -> Places {
    if text.contains(is_apart) { form(text) } else { of_url(text) }
}

/// Where the secrets are of a word that may be an URL or a form.
fn of_url(word: &str) -> Places {
    let mut found = form(word);
    found.extend(url::places(&mask(word, &found)));
    found
}

/// `name=value`, where `name` is that of a flag or a variable.
pub(super) fn assignment(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    is_name(name.trim_start_matches('-')).then_some((name, value))
}

pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.[]".contains(c))
}

/// Where the value begins, if the text is a header with a secret, or gives one to a flag or a setting:
/// `Authorization: Bearer x`, `--header=Authorization:x`.
fn secret_header(text: &str) -> Option<usize> {
    let mut start = 0;
    loop {
        let (name, rest) = text[start..].split_once([':', '='])?;
        let is_header = text[start + name.len()..].starts_with(':');
        let secret = || is_secret(name) || names_a_secret(name);
        if is_header && is_name(name) && secret() && !rest.trim().is_empty() {
            return Some(text.len() - rest.trim_start().len());
        }
        // What is behind the name of a flag, which may have an URL in it.
        if name.contains(is_apart) {
            return None;
        }
        start += name.len() + 1;
    }
}

/// A one-letter flag with its value attached: `-uuser:password`, `-sSuuser:password`.
fn attached<'w>(word: &'w str, flags: &[&str]) -> Option<&'w str> {
    if flags.iter().any(|flag| flag.len() == 2 && word.len() > 2 && word.starts_with(flag)) {
        return Some(&word[..2]);
    }
    let end = bundled(word, flags)?;
    word[end..].contains(':').then_some(&word[..end])
}

/// Where a flag with a secret ends that others come before, all of one letter: `-sSu`.
fn bundled(word: &str, flags: &[&str]) -> Option<usize> {
    let letters = word.strip_prefix('-')?;
    let of_bundle = letters.bytes().take_while(u8::is_ascii_alphabetic).count();
    let is_secret = |letter| flags.iter().any(|flag| flag.len() == 2 && flag.ends_with(letter));
    letters[..of_bundle].find(is_secret).map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::{argument, arguments};

    #[test]
    fn commands() {
        for (command, clean) in [
            (&["go", "mod", "download", "-x"][..], &["go", "mod", "download", "-x"][..]),
            (&["go", "build", "-p", "4", "./..."], &["go", "build", "-p", "4", "./..."]),
            (&["go", "get", "-u", "example.com/m@v1"], &["go", "get", "-u", "example.com/m@v1"]),
            (
                &["go", "env", "-w", "GOPROXY=https://u:p@h,u:p@i|direct"],
                &["go", "env", "-w", "GOPROXY=https://REDACTED@h,REDACTED@i|direct"],
            ),
            (&["env", "TOKEN=a b", "go"], &["env", "TOKEN=REDACTED", "go"]),
            (
                &["tool", "--token=x", "--token", "y", "z"],
                &["tool", "--token=REDACTED", "--token", "REDACTED", "z"],
            ),
            (&["tool", "--api-key", "--verbose"], &["tool", "--api-key", "--verbose"]),
            (&["tool", "-password", "a b", "z"], &["tool", "-password", "REDACTED", "z"]),
            (
                &["/usr/bin/curl", "-u", "me:pw", "https://h"],
                &["/usr/bin/curl", "-u", "REDACTED", "https://h"],
            ),
            (&["curl", "-ume:pw", "--user=me:pw"], &["curl", "-uREDACTED", "--user=REDACTED"]),
            (
                &["curl", "-H", "Authorization: Bearer x y"],
                &["curl", "-H", "Authorization: REDACTED"],
            ),
            (&["curl", "-H", "X-Api-Key:x"], &["curl", "-H", "X-Api-Key:REDACTED"]),
            (&["curl", "-H", "X-JFrog-Art-Api: AKC"], &["curl", "-H", "X-JFrog-Art-Api: REDACTED"]),
            (&["curl", "-H", "Authorization:Bearer x"], &["curl", "-H", "Authorization:REDACTED"]),
            (
                &["wget", "--header=Authorization: Bearer x", "https://h"],
                &["wget", "--header=Authorization: REDACTED", "https://h"],
            ),
            (
                &["git", "-c", "http.extraheader=AUTHORIZATION: bearer x", "fetch"],
                &["git", "-c", "http.extraheader=AUTHORIZATION: REDACTED", "fetch"],
            ),
            (
                &["git", "-c", "http.https://h/.extraheader=AUTHORIZATION: basic x"],
                &["git", "-c", "http.https://h/.extraheader=AUTHORIZATION: REDACTED"],
            ),
            (&["curl", "-sSu", "me:pw", "h"], &["curl", "-sSu", "REDACTED", "h"]),
            (&["curl", "-sSume:pw", "-sSf"], &["curl", "-sSuREDACTED", "-sSf"]),
            (&["go", "list", "-m", "a: b", "c=d: e"], &["go", "list", "-m", "a: b", "c=d: e"]),
            (
                &["go", "build", "-ldflags=-X=main.token=x"],
                &["go", "build", "-ldflags=-X=main.token=REDACTED"],
            ),
            (&["git", "clone", "https://u:p@h/r"], &["git", "clone", "https://REDACTED@h/r"]),
            (&["git", "clone", "https://u:pw/@h/r"], &["git", "clone", "https://REDACTED@h/r"]),
            (&["git", "clone", "git@github.com:o/r"], &["git", "clone", "git@github.com:o/r"]),
            (
                &["curl", "-d", "grant_type=client_credentials&client_secret=S"],
                &["curl", "-d", "grant_type=client_credentials&client_secret=REDACTED"],
            ),
            (
                &["wget", "--post-data=user=me&password=S", "h"],
                &["wget", "--post-data=user=me&password=REDACTED", "h"],
            ),
            (
                &["curl", "-d", "to=https://h&password=p@ss"],
                &["curl", "-d", "to=https://h&password=REDACTED"],
            ),
            (
                &["curl", "-d", r#"{"username":"me","password":"S"}"#],
                &["curl", "-d", r#"{"username":"me","password":"REDACTED"}"#],
            ),
            (&["curl", r#"-d{"token":"S"}"#], &["curl", r#"-d{"token":"REDACTED"}"#]),
            (
                &["curl", r#"--data={"user": "me", "password" : "a\"b c", "n": 1}"#],
                &["curl", r#"--data={"user": "me", "password" : "REDACTED", "n": 1}"#],
            ),
            (
                &["curl", "-d", r#"{"to":"https://h","password":"p@ss"}"#],
                &["curl", "-d", r#"{"to":"https://h","password":"REDACTED"}"#],
            ),
            (
                &["keytool", "-storepass", "x", "-keypass", "y", "z"],
                &["keytool", "-storepass", "REDACTED", "-keypass", "REDACTED", "z"],
            ),
            (&["skopeo", "--creds", "u:p", "h"], &["skopeo", "--creds", "REDACTED", "h"]),
            (&["env", "GOAUTH=/cred -t x", "go"], &["env", "GOAUTH=/cred REDACTED", "go"]),
        ] {
            assert_eq!(arguments(command), clean, "{command:?}");
            assert_eq!(arguments(clean), clean, "twice: {command:?}");
        }
    }

    #[test]
    fn other_arguments() {
        for argv in [
            &["go", "build", "-ldflags=-X a=b&c"][..],
            &["go", "build", "-ldflags", "-X a.b=c&d=e"],
            &["go", "test", "-run", "^TestToken=x&y=(z)$"],
            &["go", "list", "-f", "{{.Path}}: {{\"key\"}}: {{.Version}}"],
            &["go", "mod", "download", "example.com/m/v2@v2.0.0+incompatible"],
            &["git", "log", "--format=a=%H&b=%ae"],
            &["git", "ls-remote", "https://h/token/a=1&b=2"],
            &["env", "OTP_VERSION=27", "erl"],
            &["go", "test", "-bench", "BenchmarkSign/key=2048", "-run=TestLogin/token=expired"],
            &["curl", "-d", r#"{"name": "me", "design": "S"}"#],
        ] {
            assert_eq!(arguments(argv), argv);
        }
    }

    #[test]
    fn scripts() {
        for (script, clean) in [
            ("cd /src &&  go\tmod download\n", "cd /src &&  go\tmod download\n"),
            (
                "GOPROXY=https://u:p@h TOKEN=x go mod download",
                "GOPROXY=https://REDACTED@h TOKEN=REDACTED go mod download",
            ),
            ("GOPROXY='https://u:p@h,direct' go x", "GOPROXY='https://REDACTED@h,direct' go x"),
            ("export A='b c' PASSWORD=\"d e\" f", "export A='b c' PASSWORD=\"REDACTED\" f"),
            ("login --password 'a b' c", "login --password 'REDACTED' c"),
            ("login --password a b", "login --password REDACTED b"),
            ("curl -H 'X-JFrog-Art-Api: AKC' h", "curl -H 'X-JFrog-Art-Api: REDACTED' h"),
            (
                r"printf 'machine h\nlogin u\npassword ghp_x\n' >~/.netrc",
                r"printf 'machine h\nlogin u\npassword REDACTED' >~/.netrc",
            ),
            ("curl -H 'Authorization: Bearer x' h", "curl -H 'Authorization: REDACTED' h"),
            (
                "wget --header=\"Authorization: Bearer x\" h",
                "wget --header=\"Authorization: REDACTED\" h",
            ),
            (
                "wget --header=Authorization:\\ Bearer\\ x h",
                "wget --header=Authorization:REDACTED h",
            ),
            (
                "git -c http.extraheader='AUTHORIZATION: basic x' fetch",
                "git -c http.extraheader='AUTHORIZATION: REDACTED' fetch",
            ),
            (
                "echo \"machine h login me password x\" >~/.netrc",
                "echo \"machine h login me password REDACTED\" >~/.netrc",
            ),
            ("curl -u me:pw https://u:p@h; go x", "curl -u REDACTED https://REDACTED@h; go x"),
            ("echo \"don't\" 'not closed", "echo \"don't\" 'not closed"),
            ("sh -c 'curl -u \"a:b c\" d'", "sh -c 'curl -u \"REDACTED\" d'"),
            ("curl -d'user=me&password=S' h", "curl -d'user=me&password=REDACTED' h"),
            ("A=1&&TOKEN='x&y' go x", "A=1&&TOKEN='REDACTED' go x"),
            (
                r#"curl -d '{"user": "me", "password": "S"}' h"#,
                r#"curl -d '{"user": "me", "password": "REDACTED"}' h"#,
            ),
            (
                r#"curl -d "{\"user\":\"me\",\"password\":\"a b\"}" h"#,
                r#"curl -d "{\"user\":\"me\",\"password\":\"REDACTED\"}" h"#,
            ),
            (
                r#"curl -d '{"user":"'"$U"'","password":"S"}' h"#,
                r#"curl -d '{"user":"'"$U"'","password":"REDACTED"}' h"#,
            ),
            (
                "cat >c.json <<EOF\n{\n  \"password\": \"S\"\n}\nEOF",
                "cat >c.json <<EOF\n{\n  \"password\": \"REDACTED\"\n}\nEOF",
            ),
            (
                r#"http POST h data:={"password":"S"}"#,
                r#"http POST h data:={"password":"REDACTED"}"#,
            ),
            // It looks for it, and its quotes are the shell's.
            (
                r#"grep -q '"token":"' f && curl -u "ci:pw" h"#,
                r#"grep -q '"token":"' f && curl -u "REDACTED" h"#,
            ),
            (
                r#"awk -F'"token":"' '{print $2}' f; TOKEN="x" go build"#,
                r#"awk -F'"token":"' '{print $2}' f; TOKEN="REDACTED" go build"#,
            ),
            // The shell puts the value together; what comes after it is still found.
            (
                r#"curl -d '{"password":"'"$PASSWORD"'"}' -u me:pw h"#,
                r#"curl -d '{"password":"'"REDACTED"'"}' -u REDACTED h"#,
            ),
        ] {
            check_script(script, clean);
        }
    }

    #[test]
    fn scripts_with_quotes_and_operators() {
        for (script, clean) in [
            // In quotes that are no word of their own, in quotes within quotes, between operators.
            ("curl -H\"PRIVATE-TOKEN: x\" h", "curl -H\"PRIVATE-TOKEN: REDACTED\" h"),
            (
                "curl h -H \"Authorization: Bearer x\"; go build",
                "curl h -H \"Authorization: REDACTED\"; go build",
            ),
            ("V=$(curl h -H \"Private-Token: x\")", "V=$(curl h -H \"Private-Token: REDACTED\")"),
            (
                "wget --header=\"Private-Token: x\"; go",
                "wget --header=\"Private-Token: REDACTED\"; go",
            ),
            (
                "f() { echo username=x; echo \"password=ghp_x\"; }; f",
                "f() { echo username=x; echo \"password=REDACTED\"; }; f",
            ),
            ("-H \"Authorization: Bearer \"abc d", "-H \"Authorization: REDACTED\"REDACTED d"),
            ("docker run -e\"TOKEN=x\" img", "docker run -e\"TOKEN=REDACTED\" img"),
            (
                "go build -ldflags=\"-X 'main.token=x y' -s\"; ls",
                "go build -ldflags=\"-X 'main.token=REDACTED' -s\"; ls",
            ),
            (
                r#"bash -c "curl -H \"PRIVATE-TOKEN: x y\" h""#,
                r#"bash -c "curl -H \"PRIVATE-TOKEN: REDACTED\" h""#,
            ),
            (
                r#"sh -c "export TOKEN=\"x\" && go build""#,
                r#"sh -c "export TOKEN=\"REDACTED\" && go build""#,
            ),
            (r#"sh -c "curl -u \"me:pw\" h""#, r#"sh -c "curl -u \"REDACTED\" h""#),
            ("(GITHUB_TOKEN=x go mod download)", "(GITHUB_TOKEN=REDACTED go mod download)"),
            ("X=$(curl -su me:pw h)", "X=$(curl -su REDACTED h)"),
            ("X=`curl -su me:pw h` go", "X=`curl -su REDACTED h` go"),
            ("cd a&&curl -u me:pw h", "cd a&&curl -u REDACTED h"),
            ("docker login -u $(id -u x) -p pw h", "docker login -u $(id -u x) -p REDACTED h"),
            ("GOAUTH='/cred -t x; netrc' go x", "GOAUTH='/cred REDACTED; netrc' go x"),
            ("curl https://u:p&w@h/ x", "curl https://REDACTED@h/ x"),
            ("gh auth login <<<ghp_0123456789abcdefghij a", "gh auth login <<<REDACTED a"),
            // The flags of a program end with it.
            (
                "curl -sSL h | tar xz && go get -u m@v1; go test -bench .",
                "curl -sSL h | tar xz && go get -u m@v1; go test -bench .",
            ),
            (
                "docker login --password-stdin <f && go x",
                "docker login --password-stdin <f && go x",
            ),
        ] {
            check_script(script, clean);
        }
    }

    /// What is in quotes, or no script of a shell, may have operators that are none.
    #[test]
    fn texts_that_may_be_scripts() {
        for (argv, clean) in [
            (
                &["go", "build", "-ldflags", "-X main.dbPassword=pa;ss -X main.token=(abc -s"][..],
                &[
                    "go",
                    "build",
                    "-ldflags",
                    "-X main.dbPassword=REDACTED -X main.token=REDACTED -s",
                ][..],
            ),
            (
                &["env", "GOFLAGS=-a -ldflags=-X=main.token=a&b"],
                &["env", "GOFLAGS=-a -ldflags=-X=main.token=REDACTED"],
            ),
            (
                &["ssh", "h", "GOPROXY=direct TOKEN=x go build"],
                &["ssh", "h", "GOPROXY=direct TOKEN=REDACTED go build"],
            ),
            (
                &["ssh", "h", "GOPROXY=https://h:8080 go mod download"],
                &["ssh", "h", "GOPROXY=https://h:8080 go mod download"],
            ),
            (&["curl", "-ume:a b", "--user=me:a b"], &["curl", "-uREDACTED", "--user=REDACTED"]),
            (&["sh", "-c", "GOAUTH=netrc go x"], &["sh", "-c", "GOAUTH=netrc go x"]),
            (
                &["/bin/bash", "/bin/go", "test", "-race", "-ldflags=-X main.token=(abc"],
                &["/bin/bash", "/bin/go", "test", "-race", "-ldflags=-X main.token=REDACTED"],
            ),
            (&["env", "GOPROXY=https://u:my pw@h", "go"], &["env", "GOPROXY=REDACTED@h", "go"]),
        ] {
            assert_eq!(arguments(argv), clean);
            assert_eq!(arguments(clean), clean, "twice");
        }
        for (script, clean) in [
            (
                "echo \"machine h login u password a&b\" >~/.netrc",
                "echo \"machine h login u password REDACTED\" >~/.netrc",
            ),
            (
                "cat >~/.netrc <<EOF\nmachine h login u\npassword (a&b\nEOF",
                "cat >~/.netrc <<EOF\nmachine h login u\npassword REDACTED\nEOF",
            ),
            (
                "docker run x sh -c 'GOPROXY=direct TOKEN=x go y'",
                "docker run x sh -c 'GOPROXY=direct TOKEN=REDACTED go y'",
            ),
            (
                "bash setup.sh && go test -race -ldflags='-X main.token=a&b' ./...",
                "bash setup.sh && go test -race -ldflags='-X main.token=REDACTED' ./...",
            ),
            (
                "GOPROXY=http://localhost:3000; export GOPROXY; go get m@latest",
                "GOPROXY=http://localhost:3000; export GOPROXY; go get m@latest",
            ),
            ("HTTPS_PROXY=\"http://u:my pw@h:3128\" go x", "HTTPS_PROXY=\"REDACTED@h:3128\" go x"),
            ("sshpass -p'my pw' ssh h", "sshpass -p'REDACTED' ssh h"),
            ("curl --user=\"me:a b\" h", "curl --user=\"REDACTED\" h"),
            ("curl -u\"me:it's\" h", "curl -u\"REDACTED\" h"),
            ("curl -sS 2>&1 -u me:pw h &>log", "curl -sS 2>&1 -u REDACTED h &>log"),
            ("args=(\n  --password\n  x\n)", "args=(\n  --password\n  REDACTED\n)"),
            (
                "export A=1 TOKEN=pä; git clone https://u:pä@h/r",
                "export A=1 TOKEN=REDACTED; git clone https://REDACTED@h/r",
            ),
            ("curl -d\"user=a&password=b c\" h", "curl -d\"user=a&password=REDACTED\" h"),
        ] {
            check_script(script, clean);
        }
    }

    fn check_script(script: &str, clean: &str) {
        assert_eq!(arguments(&["sh", "-ec", script])[2], clean);
        assert_eq!(arguments(&["sh", "-c", clean])[2], clean, "twice");
    }

    #[test]
    fn deep_and_broken_arguments() {
        assert_eq!(argument(&"a=".repeat(50_000)), format!("{}{}", "a=".repeat(4), "REDACTED"));
        for text in ["", "=", "==", "--", "'", "\"'`", ":", "a=", "=a", "\u{fffd}='", "a='\"'\""] {
            assert_eq!(argument(text), text);
        }
    }
}
