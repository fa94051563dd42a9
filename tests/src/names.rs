//! The name server: it knows the hosts of the scenario, and what is wrong with their names.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::{Context, Result};
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::net::UdpSocket;
use tokio::time::sleep;

use crate::log::{Log, Query};
use crate::scenario::{SLOW_NAME, Scenario, Trouble};

/// Where it listens.
pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
/// An address of documentation (RFC 5737): in the lab's namespace there is no route to it.
const NO_ROUTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The names of a scenario.
pub(crate) struct Names {
    known: BTreeMap<&'static str, (Ipv4Addr, Option<Trouble>)>,
    log: Log,
}

impl Names {
    pub(crate) fn of(
        scenario: &Scenario,
        addresses: &BTreeMap<&'static str, Ipv4Addr>,
        log: Log,
    ) -> Self {
        let known = |host: &crate::scenario::Host| {
            let address = match host.trouble {
                Some(Trouble::NoRoute) => NO_ROUTE,
                _ => addresses[host.name],
            };
            (host.name, (address, host.trouble))
        };
        Self { known: scenario.hosts.iter().map(known).collect(), log }
    }

    /// Binds the port for DNS over UDP and answers from a task of the current runtime.
    pub(crate) async fn serve(self) -> Result<()> {
        let socket = UdpSocket::bind((NAME_SERVER, 53)).await;
        let socket = Arc::new(socket.context("cannot listen as the name server")?);
        let names = Arc::new(self);
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                let message = buffer[..length].to_vec();
                let (names, socket) = (Arc::clone(&names), Arc::clone(&socket));
                tokio::spawn(async move {
                    if let Some(answer) = names.answer(&message).await {
                        // A client that does not wait any more misses nothing.
                        let _ = socket.send_to(&answer, client).await;
                    }
                });
            }
        });
        Ok(())
    }

    /// The answer to a message; none if there is none to be.
    async fn answer(&self, message: &[u8]) -> Option<Vec<u8>> {
        let query = Packet::parse(message).ok()?;
        let question = query.questions.first()?;
        let name = question.qname.to_string();
        let known = self.known.get(name.as_str()).copied();
        let trouble = known.and_then(|(_, trouble)| trouble);
        let code = match (known, trouble) {
            (None, _) | (_, Some(Trouble::NoSuchName)) => Some(RCODE::NameError),
            (_, Some(Trouble::NameServerFails)) => Some(RCODE::ServerFailure),
            (_, Some(Trouble::NameServerSilent)) => None,
            _ => Some(RCODE::NoError),
        };
        self.log.ask(Query {
            name: name.clone(),
            kind: match question.qtype {
                QTYPE::TYPE(kind) => format!("{kind:?}"),
                other => format!("{other:?}"),
            },
            code: code.map(|code| code as u16),
        });
        if trouble == Some(Trouble::SlowName) {
            sleep(SLOW_NAME).await;
        }

        let mut reply = Packet::new_reply(query.id());
        reply.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
        *reply.rcode_mut() = code?;
        reply.questions.push(question.clone());
        let data = known.filter(|_| code == Some(RCODE::NoError)).and_then(|(address, trouble)| {
            match (question.qtype, trouble) {
                (QTYPE::TYPE(TYPE::A), _) => Some(RData::A(A::from(address))),
                (QTYPE::TYPE(TYPE::AAAA), Some(Trouble::DeadIpv6 | Trouble::SilentIpv6)) => {
                    Some(RData::AAAA(AAAA::from(Ipv6Addr::LOCALHOST)))
                }
                _ => None,
            }
        });
        let record = |data| ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, data);
        reply.answers.extend(data.map(record));
        reply.build_bytes_vec().ok()
    }
}
