//! A forward proxy: tunnels for https, whole URLs for http.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;

use crate::log::{Entry, Log};
use crate::scenario::{Action, Host};

/// The port that forward proxies have.
pub(crate) const PORT: u16 = 3128;
/// The longest head of a request that is read.
const HEAD_MAX: usize = 16 * 1024;

/// What it needs to know of the lab.
pub(crate) struct Forward {
    pub(crate) host: &'static Host,
    pub(crate) addresses: Arc<BTreeMap<&'static str, Ipv4Addr>>,
    pub(crate) log: Log,
}

impl Forward {
    /// Serves one connection: its first request decides where the rest goes.
    pub(crate) async fn serve(&self, mut client: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_MAX {
            head.push(client.read_u8().await?);
        }
        let text = String::from_utf8_lossy(&head);
        let mut words = text.split_whitespace();
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
        let tunnel = method == "CONNECT";
        let authority = target.strip_prefix("http://").unwrap_or(target).split('/').next();
        let authority = authority.unwrap_or_default();
        let (name, port) = authority.split_once(':').unwrap_or((authority, "80"));
        let rule = self.host.rules.iter().find(|rule| rule.matches(authority));
        let refused = match rule.map(|rule| &rule.action) {
            Some(Action::Forward) => None,
            Some(Action::Status(status, headers)) => Some((*status, *headers)),
            _ => Some((403, &[] as &[_])),
        };
        let log = |status| {
            self.log.push(Entry {
                sequence: 0,
                host: self.host.name,
                scheme: "http",
                protocol: "HTTP/1.1".to_owned(),
                method: method.to_owned(),
                url: target.to_owned(),
                status,
                location: None,
                peer,
                user_agent: None,
                referer: None,
            });
        };
        if let Some((status, headers)) = refused {
            log(Some(status));
            let lines: Vec<String> =
                headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let lines = lines.concat();
            let answer = format!(
                "HTTP/1.1 {status} No\r\n{lines}Connection: close\r\nContent-Length: 0\r\n\r\n"
            );
            client.write_all(answer.as_bytes()).await?;
            return client.shutdown().await;
        }
        let known = self.addresses.get_key_value(name).zip(port.parse::<u16>().ok());
        let Some(((&host, &address), port)) = known else {
            log(None);
            return Ok(());
        };
        // Without one, the client is left without an answer.
        let server = TcpStream::connect((address, port)).await.inspect_err(|_| log(None));
        let mut server = server?;
        self.log.forward(host, server.local_addr()?, peer);
        if tunnel {
            log(Some(200));
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        } else {
            server.write_all(&head).await?;
        }
        copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }
}
