//! The way to whoever is to be asked: name, TCP, forward proxy, TLS, each of them noted.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{HOST, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{Method, Request as Ask};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::super::address::Address;
use super::super::connect::{self, Asked, Stream};
use super::super::failure::Failure;
use super::super::forward::Proxy;
use super::super::trace::WALKER;
use super::{Client, Exchange, basic, headers, nanoseconds, send, user_agent};
use crate::model::{self, Cause, Connection, ConnectionId, NameLookup, Outcome, Request};

/// Whom a request is put to.
pub(super) enum To {
    Origin,
    /// A forward proxy, which wants the whole URL, and perhaps credentials.
    Forward {
        credentials: Option<String>,
    },
}

/// A connection that requests can be sent on.
pub(super) struct Line {
    pub(super) stream: Box<dyn Stream>,
    pub(super) id: ConnectionId,
    pub(super) h2: bool,
    pub(super) to: To,
    pub(super) tunnel: Option<Request>,
    pub(super) remote: Option<String>,
}

fn unspoken(scheme: &str) -> String {
    format!("preflight does not speak {scheme} to a forward proxy")
}

impl Client {
    /// Why `url` cannot be asked here, if so, though go may ask it.
    pub(in crate::preflight) fn barred(&self, url: &Address) -> Option<String> {
        if let Some(fault) = self.credentials.fault.filter(|_| url.secure) {
            return Some(format!("go since 1.24 ends first: GOAUTH has {fault}"));
        }
        match self.forward.of(url) {
            Some(Proxy::Other(scheme)) => Some(unspoken(scheme)),
            _ => None,
        }
    }

    /// A connection to whoever is to be asked for `url`, with TLS if it is https.
    pub(super) async fn line(
        &self,
        url: &Address,
        exchange: &mut Exchange,
    ) -> Result<Line, Failure> {
        let forward = match self.forward.of(url) {
            None => None,
            Some(Proxy::Http(proxy)) => Some(proxy.clone()),
            Some(Proxy::Other(scheme)) => {
                let reason = format!("was not asked: {}", unspoken(scheme));
                return Err(Failure::because(Outcome::Unknown, reason));
            }
        };
        let peer = forward.as_ref().unwrap_or(url);
        let id = self.open(url);
        exchange.request.connection = None;
        let dialled = self.dial(peer, id).await;
        let (mut stream, remote) = match (dialled, &forward) {
            (Ok(dialled), _) => dialled,
            // As go has it: an error of `proxyconnect`.
            (Err(failure), Some(_)) => {
                let reason = "was not reached: the forward proxy could not be";
                return Err(Failure::because(Outcome::ProxyRefused, reason).detailed(
                    failure.error().reason.unwrap_or_else(|| format!("{:?}", failure.outcome)),
                ));
            }
            (Err(failure), None) => return Err(failure),
        };
        let mut line = Line {
            stream: Box::new(tokio::io::empty()),
            id,
            h2: false,
            to: To::Origin,
            tunnel: None,
            remote,
        };
        if let Some(proxy) = &forward {
            let credentials = proxy.user.as_ref().map(|(name, password)| basic(name, password));
            if proxy.secure {
                let asked = Asked::default();
                let secured = self.tls.secure(proxy, stream, &[b"http/1.1"], self.limit(), &asked);
                stream = secured.await?.stream;
            }
            if url.secure {
                let (tunnel, opened) =
                    self.tunnel(url, stream, (id, line.remote.clone()), credentials).await;
                match opened {
                    Ok(opened) => stream = opened,
                    Err(failure) => {
                        exchange.tunnel = Some(tunnel);
                        return Err(failure);
                    }
                }
                line.tunnel = Some(tunnel);
            } else {
                line.to = To::Forward { credentials };
            }
        }
        if url.secure {
            let (began, asked) = (Instant::now(), Asked::default());
            let protocols: &[&[u8]] = &[b"h2", b"http/1.1"];
            let secured = self.tls.secure(url, stream, protocols, self.limit(), &asked).await;
            self.note(id, |connection| {
                connection.tls_ns = Some(nanoseconds(began.elapsed()));
                connection.tls = Some(model::Tls {
                    server_name: url.host.clone(),
                    version: secured.as_ref().ok().and_then(|tls| tls.version.clone()),
                    protocol: secured.as_ref().ok().and_then(|tls| tls.protocol.clone()),
                    certificate_wanted: asked.yes(),
                    error: secured.as_ref().err().map(Failure::error),
                });
            });
            let secured = match secured {
                Ok(secured) => secured,
                Err(failure) => {
                    exchange.tunnel = line.tunnel;
                    return Err(failure);
                }
            };
            line.h2 = secured.protocol.as_deref() == Some("h2");
            stream = secured.stream;
        }
        line.stream = stream;
        self.note(id, |connection| {
            connection.requests = 1 + u32::from(line.tunnel.is_some());
            let protocol = if line.h2 { "HTTP/2.0" } else { "HTTP/1.1" };
            connection.protocol = Some(protocol.to_owned());
        });
        Ok(line)
    }

    fn open(&self, url: &Address) -> ConnectionId {
        let started = self.now();
        let mut book = self.book();
        let id = u32::try_from(book.connections.len()).unwrap_or(u32::MAX);
        book.connections.push(Connection {
            host: Some(url.authority()),
            started_ns: Some(started),
            ..Connection::new(id, WALKER)
        });
        id
    }

    fn note(&self, id: ConnectionId, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.book().connections.get_mut(id as usize) {
            change(connection);
        }
    }

    /// Name and TCP.
    async fn dial(
        &self,
        peer: &Address,
        id: ConnectionId,
    ) -> Result<(Box<dyn Stream>, Option<String>), Failure> {
        let (began, started) = (Instant::now(), self.now());
        let known = self.names().get(&peer.host_and_port()).cloned();
        let found = match known.clone() {
            Some(addresses) => Ok(addresses),
            None => connect::resolve(&peer.host, peer.port(), self.limit()).await,
        };
        if let (None, Ok(addresses)) = (&known, &found) {
            self.names().insert(peer.host_and_port(), addresses.clone());
        }
        if known.is_none() && peer.host.parse::<std::net::IpAddr>().is_err() {
            let took = nanoseconds(began.elapsed());
            self.note(id, |connection| connection.dns_ns = Some(took));
            let addresses = found.as_ref().ok().map(Vec::len);
            self.book().lookups.push(NameLookup {
                process: 0,
                host: peer.host.clone(),
                started_ns: started,
                duration_ns: Some(took),
                addresses: addresses.and_then(|number| u32::try_from(number).ok()),
                answers: found.as_ref().ok().map(|all| all.iter().map(SocketAddr::ip).collect()),
                // The C library does not tell.
                servers: None,
                cut: Vec::new(),
                error: found.as_ref().err().map(Failure::error),
            });
        }
        let addresses = found?;
        let began = Instant::now();
        let stream = connect::connect(&addresses, self.limit()).await?;
        let took = nanoseconds(began.elapsed());
        let local = stream.local_addr().ok().map(|address| address.to_string());
        let remote = stream.peer_addr().ok().map(|address| address.to_string());
        self.note(id, |connection| {
            connection.connect_ns = Some(took);
            connection.local_addr.clone_from(&local);
            connection.remote_addr.clone_from(&remote);
        });
        let _ = stream.set_nodelay(true);
        Ok((Box::new(stream), remote))
    }

    /// CONNECT: the request, and the way to the server if it was opened.
    async fn tunnel(
        &self,
        url: &Address,
        stream: Box<dyn Stream>,
        (id, remote): (ConnectionId, Option<String>),
        credentials: Option<String>,
    ) -> (Request, Result<Box<dyn Stream>, Failure>) {
        let target = url.host_and_port();
        let mut request =
            self.begin("CONNECT", target.clone(), url.authority(), Cause::ConnectTunnel);
        request.connection = Some(id);
        request.remote_addr = remote;
        let mut ask = Ask::builder()
            .method(Method::CONNECT)
            .uri(target.as_str())
            .header(HOST, target.as_str())
            .header(USER_AGENT, user_agent(false));
        if let Some(credentials) = credentials {
            ask = ask.header(PROXY_AUTHORIZATION, credentials);
        }
        let ask = ask.body(Empty::<Bytes>::new()).expect("a valid request: host, port and base64");
        request.sent_ns = Some(self.now());
        let opened = match timeout(self.limit(), send(stream, false, ask)).await {
            Ok(Ok(response)) => {
                request.status = Some(response.status().as_u16());
                request.headers = headers(&response);
                if response.status().is_success() {
                    request.outcome = Outcome::Ok;
                    let upgraded = hyper::upgrade::on(response).await;
                    upgraded
                        .map(|stream| Box::new(TokioIo::new(stream)) as Box<dyn Stream>)
                        .map_err(|error| Failure::of_http(&error, Outcome::Reset))
                } else {
                    request.outcome = Outcome::ProxyRefused;
                    Err(Failure::new(Outcome::ProxyRefused))
                }
            }
            Ok(Err(error)) => Err(Failure::because(
                Outcome::ProxyRefused,
                "was not reached: the forward proxy broke off",
            )
            .detailed(error)),
            Err(_) => Err(Failure::because(
                Outcome::ProxyRefused,
                "was not reached: the forward proxy said nothing",
            )),
        };
        request.duration_ns = Some(self.now().saturating_sub(request.started_ns));
        if let Err(failure) = &opened {
            (request.outcome, request.error) = (failure.outcome, Some(failure.error()));
        }
        (request, opened)
    }
}
