//! What a status code comes to, for go.

use crate::model::Outcome;

/// Whether net/http follows this status, given a `Location` (`net/http/client.go:redirectBehavior`).
pub(crate) fn redirects(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// A request with this status. go takes 200 alone for success (`web/api.go:Response.Err`), and 404
/// and 410 for absence (`HTTPError.Is`).
pub(crate) fn of_request(status: u16, has_location: bool) -> Outcome {
    match status {
        200 => Outcome::Ok,
        404 | 410 => Outcome::NotFound,
        // Of forward proxies alone (RFC 9110 §15.5.8).
        407 => Outcome::ProxyRefused,
        _ if !redirects(status) => Outcome::HttpError,
        _ if has_location => Outcome::Ok,
        _ => Outcome::RedirectInvalid,
    }
}
