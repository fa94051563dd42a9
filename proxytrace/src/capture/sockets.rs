//! TCP sockets: their states, and what plain HTTP goes over them.

use foldhash::HashMap;
use proxytrace_common::record::{Kind, Tag};

use super::record::Record;
use crate::event::{TcpState, What};
use crate::wire::{Conversation, Piece, Said, Way};

/// `include/net/tcp_states.h`
const ESTABLISHED: u64 = 1;
const SYN_SENT: u64 = 2;

/// The sockets that are connecting or connected.
#[derive(Default)]
pub(super) struct Sockets {
    /// By the kernel's address of them.
    open: HashMap<u64, Socket>,
    count: u64,
}

struct Socket {
    /// What it is called from here on: the kernel's addresses are nobody's business.
    number: u64,
    conversation: Conversation,
}

impl Sockets {
    /// A socket changed its state.
    pub(super) fn changed(&mut self, record: &Record<'_>) -> Option<What> {
        let address = record.number(Tag::Socket)?;
        let errno = record.signed(Tag::Errno)?;
        let (local, remote, _) = record.connection()?;
        let (socket, state) = match record.number(Tag::NewState)? {
            SYN_SENT => {
                self.count += 1;
                let conversation = Conversation::new(remote);
                self.open.insert(address, Socket { number: self.count, conversation });
                (self.count, TcpState::Connecting)
            }
            ESTABLISHED => (self.open.get(&address)?.number, TcpState::Established),
            _ => (self.open.remove(&address)?.number, TcpState::Closed { errno }),
        };
        Some(What::Tcp { socket, local, remote, state })
    }

    /// Bytes went over a socket; the outer none is a malformed record.
    pub(super) fn passed(
        &mut self,
        record: &Record<'_>,
    ) -> Option<impl Iterator<Item = What> + use<>> {
        let address = record.number(Tag::Socket)?;
        let low = |tag| u32::try_from(record.number(tag)? & u64::from(u32::MAX)).ok();
        let piece = Piece {
            way: if record.kind == Kind::Sent { Way::Sent } else { Way::Received },
            position: low(Tag::Position)?,
            length: record.number(Tag::Length)?,
            opposite: low(Tag::Opposite)?,
            bytes: record.pieces(Tag::Bytes),
        };
        // One that was closed at the same moment is not known any more.
        let said = self
            .open
            .get_mut(&address)
            .map(|socket| (socket.number, socket.conversation.push(piece)));
        Some(
            said.into_iter()
                .flat_map(|(socket, said)| said.into_iter().map(move |said| event(socket, said))),
        )
    }
}

fn event(socket: u64, said: Said) -> What {
    match said {
        Said::Request(number, head) => What::WireRequest {
            socket,
            number,
            method: head.method,
            url: head.url,
            headers: head.headers,
            cut: head.cut,
        },
        Said::Response(number, head) => What::WireResponse {
            socket,
            number,
            status: head.status,
            protocol: head.protocol,
            headers: head.headers,
            content_length: head.content_length,
            cut: head.cut,
        },
        Said::Lost => What::WireLost { socket },
    }
}
