//! What go was told.

use crate::model::Severity::{Error, Note, Warning};

use super::{Kind, kind};

pub(super) const KINDS: &[Kind] = &[
    kind!(
        "PT601",
        "config-shadowed",
        Warning,
        "the environment hides what `go env -w` has set",
        "A variable of the environment that is not empty beats the user's file, which `go env -w` writes (`cmd/go/internal/cfg/cfg.go`). go warns when such a setting is written, and never again.",
        "Decide which value is meant: `unset` the variable where it is exported (a profile, an image, the CI's settings), or `go env -u` the one in the file.",
        ["https://go.dev/issue/68270"],
    ),
    kind!(
        "PT602",
        "sudo-env",
        Warning,
        "sudo kept the user's settings from go",
        "sudo starts commands with an environment and a HOME of its own: variables are gone, and `go env -w`, netrc and the module cache are those of the other user.",
        "Run go as the user. Where it must be root, hand the settings over: `sudo env GOPROXY=… go …`, or `sudo --preserve-env=GOPROXY,GOPRIVATE,GONOSUMDB,HTTPS_PROXY go …`.",
        ["https://github.com/FISCO-BCOS/go-sdk/issues/290"],
    ),
    kind!(
        "PT603",
        "toolchain-switch",
        Note,
        "go became another toolchain",
        "A `go` or `toolchain` line, or GOTOOLCHAIN, asks for another release than the one that was started: go fetches it as a module and runs it in its place, with its own go.env.",
        "Nothing needs to be done. GOTOOLCHAIN=local keeps to the one that was started.",
        ["https://go.dev/doc/toolchain"],
    ),
    kind!(
        "PT604",
        "list-lint",
        Error,
        "an entry of GOPROXY is not what was meant",
        "go splits GOPROXY at `,` and `|` alone and trims spaces around entries. A full-width comma, `;` or a space makes one entry of two, which is then asked as one long URL; a word without a scheme is refused.",
        "Write the entries one after the other with `,` (go on after 404 and 410) or `|` (go on after any error), as in GOPROXY=https://goproxy.example,direct",
        ["https://go.dev/ref/mod#environment-variables"],
    ),
    kind!(
        "PT605",
        "goinsecure-useless",
        Warning,
        "GOINSECURE does not reach proxies",
        "GOINSECURE is for modules that are fetched directly: their hosts may speak http, or have a certificate that nobody knows. Certificates of GOPROXY's entries are verified all the same.",
        "Let go know the proxy's authority: add its certificate to the system's, or name a file of certificates in SSL_CERT_FILE.",
        ["https://go.dev/ref/mod#environment-variables"],
    ),
    kind!(
        "PT606",
        "all-cached",
        Note,
        "everything was in the module cache",
        "go asked nobody: what GOPROXY says made no difference to this run.",
        "Nothing needs to be done. To see the network, empty the cache (`go clean -modcache`) or set GOMODCACHE to an empty directory.",
        [],
    ),
];
