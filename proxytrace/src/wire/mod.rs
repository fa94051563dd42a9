//! Plain HTTP/1 as it went over sockets: heads of requests and responses, read from the bytes that a
//! process wrote and read.
//!
//! Exact or silent: where a head stands is known from the end of the message before it, never
//! guessed from what bytes look like. Of a body nothing is read but its length; where that cannot
//! be followed to the end, neither can the connection. Framing: RFC 9112, section 6.
#![forbid(unsafe_code)]

mod head;
mod lane;

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use proxytrace_common::record::HEAD_MAX;

pub use head::{Request, Response};

use head::{Body, Parsed};
use lane::{Lane, Reach};

/// What was read before the request that it answers was reported: pieces that are kept.
const HELD_MAX: usize = 16;
/// Requests without an answer on one connection: no client pipelines more.
const ASKED_MAX: usize = 1024;

/// Which way bytes went, as the process sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// Written.
    Sent,
    /// Read.
    Received,
}

/// Bytes that one system call passed.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Which way.
    pub way: Way,
    /// Where they begin, counted from the first byte of the connection, modulo 2^32.
    pub position: u32,
    /// How many there were.
    pub length: u64,
    /// How far the other way had come, modulo 2^32.
    pub opposite: u32,
    /// The first of them.
    pub bytes: Bytes,
}

/// What was said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
    /// The head of a request, and its number on its connection.
    Request(u32, Request),
    /// The head of its final response.
    Response(u32, Response),
    /// What follows cannot be read.
    Lost,
}

/// One connection, from its first byte.
#[derive(Debug)]
pub struct Conversation {
    /// Where requests without a host go to.
    remote: Option<SocketAddr>,
    requests: Lane,
    responses: Lane,
    /// Requests without a final response, oldest first.
    asked: VecDeque<Asked>,
    /// Read too early.
    held: Vec<Piece>,
    /// Whether something like a response was read where the end of the last one is not known.
    early: bool,
    count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    number: u32,
    /// What a response to it has no body for.
    head: bool,
    connect: bool,
}

impl Conversation {
    /// A connection to `remote` that has not carried anything.
    pub fn new(remote: Option<SocketAddr>) -> Self {
        Self {
            remote,
            requests: Lane::default(),
            responses: Lane::default(),
            asked: VecDeque::new(),
            held: Vec::new(),
            early: false,
            count: 0,
        }
    }

    /// What a piece says, together with those before it.
    pub fn push(&mut self, piece: Piece) -> Vec<Said> {
        let mut said = Vec::new();
        match piece.way {
            Way::Sent => {
                self.sent(&piece, &mut said);
                for piece in std::mem::take(&mut self.held) {
                    self.received(piece, &mut said);
                }
            }
            Way::Received => self.received(piece, &mut said),
        }
        said
    }

    fn sent(&mut self, piece: &Piece, said: &mut Vec<Said>) {
        if self.requests.is_open() && looks_like_a_request(&piece.bytes) {
            // Where the request before it ended is not known.
            return self.lose(said);
        }
        let whole = match self.requests.take(piece) {
            Reach::Nothing => return,
            Reach::Gap => return self.lose(said),
            Reach::Bytes { whole } => whole,
        };
        while !self.requests.bytes().is_empty() {
            let bytes = self.requests.bytes();
            let (request, end) = match head::request(bytes, self.remote) {
                Parsed::Whole(request, length) => {
                    let end = request.body.end(bytes, length);
                    (request, end)
                }
                Parsed::Part if whole && bytes.len() < HEAD_MAX => return,
                Parsed::Part => match head::cut_request(bytes) {
                    Some(request) => (request, None),
                    None => return self.lose(said),
                },
                Parsed::Not => return self.lose(said),
            };
            // Where the response before it ends is not known, its client has waited for the end
            // before it asked again; unless it did not wait, or has the next response already.
            if self.responses.is_open() && (!self.asked.is_empty() || self.early)
                || self.asked.len() >= ASKED_MAX
            {
                return self.lose(said);
            }
            if self.responses.is_open() {
                self.responses.begin(piece.opposite);
            }
            self.requests.end(end);
            let number = self.count;
            self.count = self.count.saturating_add(1);
            let (head, connect) = (request.said.method == "HEAD", request.said.method == "CONNECT");
            self.asked.push_back(Asked { number, head, connect });
            said.push(Said::Request(number, request.said));
        }
    }

    fn received(&mut self, piece: Piece, said: &mut Vec<Said>) {
        self.early |= self.responses.is_open() && looks_like_a_response(&piece.bytes);
        // Two threads can tell of their calls in the wrong order.
        if self.asked.is_empty() && self.responses.wants(&piece) {
            return self.hold(piece, said);
        }
        let whole = match self.responses.take(&piece) {
            Reach::Nothing => return,
            Reach::Gap => return self.lose(said),
            Reach::Bytes { whole } => whole,
        };
        while !self.responses.bytes().is_empty() {
            let bytes = self.responses.bytes();
            let Some(&asked) = self.asked.front() else {
                self.responses.give_back();
                return self.hold(piece, said);
            };
            let (response, end) = match head::response(bytes, asked.head, asked.connect) {
                Parsed::Whole(response, length) => {
                    let end = response.body.end(bytes, length);
                    (response, end)
                }
                Parsed::Part if whole && bytes.len() < HEAD_MAX => return,
                Parsed::Part => match head::cut_response(bytes, asked.head, asked.connect) {
                    Some(response) => (response, None),
                    None => return self.lose(said),
                },
                Parsed::Not => return self.lose(said),
            };
            let switches = response.body == Body::Other;
            // Of 1xx, only 101 is final.
            let last = response.said.status >= 200 || switches;
            if response.body == Body::ToTheEnd || switches {
                self.responses.close();
            } else {
                self.responses.end(end);
            }
            if last {
                self.asked.pop_front();
                said.push(Said::Response(asked.number, response.said));
            }
            if switches {
                self.requests.close();
            }
        }
    }

    fn hold(&mut self, piece: Piece, said: &mut Vec<Said>) {
        if self.held.len() >= HELD_MAX {
            self.lose(said);
        } else {
            self.held.push(piece);
        }
    }

    /// From here on there is nothing to be said for sure.
    fn lose(&mut self, said: &mut Vec<Said>) {
        self.requests.close();
        self.responses.close();
        self.held.clear();
        said.push(Said::Lost);
    }
}

/// A method and a space.
fn looks_like_a_request(bytes: &[u8]) -> bool {
    let letters = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    letters >= 3 && bytes.get(letters) == Some(&b' ')
}

/// `HTTP/`, or as much of it as there is.
fn looks_like_a_response(bytes: &[u8]) -> bool {
    let length = bytes.len().min(5);
    bytes[..length] == b"HTTP/"[..length]
}

#[cfg(test)]
mod tests;
