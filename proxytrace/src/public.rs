//! Servers that are open to all, and whose operators see what they are asked.
#![forbid(unsafe_code)]

use crate::url::host_name;

const PROXIES: &[&str] = &[
    "athens.azurefd.net",
    "gocenter.io",
    "goproxy.baidu.com",
    "goproxy.cn",
    "goproxy.io",
    "gosum.io",
    "mirrors.aliyun.com",
    "mirrors.cloud.tencent.com",
    "mirrors.tencent.com",
    "proxy.golang.com.cn",
    "proxy.golang.org",
    "repo.huaweicloud.com",
];

/// Checksum databases.
const SUMS: &[&str] = &["sum.golang.org", "sum.golang.google.cn"];

/// Whether a host, with a port or without, is a module proxy or a checksum database that everybody may
/// ask.
pub(crate) fn is_public(host: &str) -> bool {
    let name = host_name(host);
    PROXIES.iter().chain(SUMS).any(|public| public.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::is_public;

    #[test]
    fn a_port_and_capitals_make_no_other_host() {
        for host in ["proxy.golang.org", "Proxy.Golang.org:443", "gosum.io", "goproxy.io:8443"] {
            assert!(is_public(host), "{host}");
        }
        for host in ["sum.golang.org", "Sum.golang.google.cn:443"] {
            assert!(is_public(host), "{host}");
        }
        for host in ["", "proxy.lab", "proxy.golang.org.corp.lab", "golang.org", "[2001:db8::1]"] {
            assert!(!is_public(host), "{host}");
        }
    }
}
