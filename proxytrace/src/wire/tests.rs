use super::*;

/// A connection, and how far each way of it has come.
struct Talk {
    conversation: Conversation,
    sent: u32,
    received: u32,
}

impl Talk {
    fn new() -> Self {
        Self::from(0, 0)
    }

    /// As if so much had gone over it: positions come round.
    fn from(sent: u32, received: u32) -> Self {
        let remote = Some(([127, 0, 0, 2], 80).into());
        let mut conversation = Conversation::new(remote);
        conversation.requests.begin(sent);
        conversation.responses.begin(received);
        Self { conversation, sent, received }
    }

    /// Bytes of which the first `recorded` are recorded.
    fn pass(&mut self, way: Way, bytes: &[u8], recorded: usize) -> Vec<String> {
        let (position, opposite) = match way {
            Way::Sent => (self.sent, self.received),
            Way::Received => (self.received, self.sent),
        };
        let piece = Piece {
            way,
            position,
            opposite,
            length: bytes.len() as u64,
            bytes: Bytes::copy_from_slice(&bytes[..recorded.min(bytes.len())]),
        };
        self.skip(way, bytes.len());
        self.conversation.push(piece).iter().map(line).collect()
    }

    /// Bytes that are not told of.
    fn skip(&mut self, way: Way, count: usize) {
        let count = u32::try_from(count).unwrap();
        match way {
            Way::Sent => self.sent = self.sent.wrapping_add(count),
            Way::Received => self.received = self.received.wrapping_add(count),
        }
    }

    fn send(&mut self, text: &str) -> Vec<String> {
        self.pass(Way::Sent, text.as_bytes(), HEAD_MAX)
    }

    fn read(&mut self, text: &str) -> Vec<String> {
        self.pass(Way::Received, text.as_bytes(), HEAD_MAX)
    }
}

fn line(said: &Said) -> String {
    let cut = |cut: &[String]| cut.iter().flat_map(|name| [" cut ", name]).collect::<String>();
    match said {
        Said::Request(number, r) => format!("{number}: {} {}{}", r.method, r.url, cut(&r.cut)),
        Said::Response(number, r) => format!("{number}: {}{}", r.status, cut(&r.cut)),
        Said::Lost => "lost".to_owned(),
    }
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
const ASKED: &[&str] = &["0: GET http://h/a"];
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const NOTHING: &[&str] = &[];

#[test]
fn one_after_the_other() {
    let mut talk = Talk::new();
    assert_eq!(talk.send(GET), ASKED);
    assert_eq!(talk.read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), ["0: 200"]);
    assert_eq!(talk.send("HEAD /b HTTP/1.1\r\nhost:h\r\n\r\n"), ["1: HEAD http://h/b"]);
    assert_eq!(talk.read("HTTP/1.1 404 No\r\nContent-Length: 500\r\n\r\n"), ["1: 404"]);
    assert_eq!(
        talk.send("POST /c HTTP/1.0\r\nContent-Length: 4\r\n\r\nGET "),
        ["2: POST http://127.0.0.2:80/c"]
    );
    assert_eq!(talk.read("HTTP/1.1 204 \r\n\r\n"), ["2: 204"]);
    assert_eq!(talk.send(GET), ["3: GET http://h/a"]);
    assert_eq!(talk.read("HTTP/1.0 304 x\nContent-Length: 77\n\n"), ["3: 304"]);
    assert_eq!(talk.send(GET), ["4: GET http://h/a"]);
}

#[test]
fn split_at_every_byte() {
    let request = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    let response = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nGET\r\n0\r\nTrailer: x\r\n\r\n";
    for at in 1..request.len().max(response.len()) {
        let mut talk = Talk::from(u32::MAX - 20, u32::MAX - 30);
        for round in 0..3 {
            let (one, other) = request.split_at(at.min(request.len()));
            let asked = [talk.send(one), talk.send(other)].concat();
            assert_eq!(asked, [format!("{round}: POST http://h/x")], "at {at}");
            let (one, other) = response.split_at(at.min(response.len()));
            let answered = [talk.read(one), talk.read(other)].concat();
            assert_eq!(answered, [format!("{round}: 201")], "at {at}");
        }
    }
}

#[test]
fn byte_by_byte() {
    let mut talk = Talk::new();
    let mut said = Vec::new();
    for byte in GET.chars() {
        said.extend(talk.send(&byte.to_string()));
    }
    for byte in OK.chars() {
        said.extend(talk.read(&byte.to_string()));
    }
    assert_eq!(said, ["0: GET http://h/a", "0: 200"]);
}

#[test]
fn pipelined() {
    let mut talk = Talk::new();
    let three = [GET, "HEAD /b HTTP/1.1\r\nHost: h\r\n\r\n", GET].concat();
    assert_eq!(talk.send(&three), ["0: GET http://h/a", "1: HEAD http://h/b", "2: GET http://h/a"]);
    let answers = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi\
                   HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\
                   HTTP/1.1 301 Gone\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(talk.read(answers), ["0: 200", "1: 200", "2: 301"]);
}

#[test]
fn an_answer_may_be_told_of_before_its_request() {
    let mut talk = Talk::new();
    assert_eq!(talk.read(OK), NOTHING);
    assert_eq!(talk.send(GET), ["0: GET http://h/a", "0: 200"]);
    assert_eq!(talk.send(GET), ["1: GET http://h/a"]);
    assert_eq!(talk.read(&[OK, "HTTP/1.1 302 F\r\nConte"].concat()), ["1: 200"]);
    assert_eq!(talk.read("nt-Length: 0\r\n\r\n"), NOTHING);
    assert_eq!(talk.send(GET), ["2: GET http://h/a", "2: 302"]);
}

#[test]
fn large_bodies_pass_unseen() {
    let mut talk = Talk::new();
    for round in 0..3 {
        assert_eq!(talk.send(GET).len(), 1);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
        assert_eq!(talk.read(head), [format!("{round}: 200")]);
        // A body can look like anything.
        assert_eq!(talk.read(OK), NOTHING);
        talk.skip(Way::Received, 100_000_000 - OK.len());
    }
}

#[test]
fn the_end_of_large_chunks_is_where_the_client_asks_again() {
    let mut talk = Talk::new();
    for round in 0..3 {
        assert_eq!(talk.send(GET).len(), 1);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\nffff\r\n";
        assert_eq!(talk.read(head), [format!("{round}: 200")]);
        talk.skip(Way::Received, 70_000);
    }
    // If something like a response comes before that, whose it is is not known.
    assert_eq!(talk.read(OK), NOTHING);
    assert_eq!(talk.send(GET), ["lost"]);
    assert_eq!(talk.read(OK), NOTHING);
}

#[test]
fn pipelining_after_an_end_that_is_not_known() {
    let mut talk = Talk::new();
    assert_eq!(talk.send(&[GET, GET].concat()).len(), 2);
    assert_eq!(
        talk.read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n"),
        ["0: 200"]
    );
    talk.skip(Way::Received, 70_000);
    assert_eq!(talk.read(OK), NOTHING);
    assert_eq!(talk.send(GET), ["lost"]);
}

#[test]
fn what_is_no_http_any_more() {
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    let mut talk = Talk::new();
    assert_eq!(talk.send(GET), ASKED);
    assert_eq!(talk.read(upgrade), ["0: 101"]);
    assert_eq!(talk.send(GET), NOTHING);
    assert_eq!(talk.read(OK), NOTHING);

    let connect = "CONNECT p.lab:443 HTTP/1.1\r\nHost: p.lab:443\r\n\r\n";
    let mut talk = Talk::new();
    assert_eq!(talk.send(connect), ["0: CONNECT p.lab:443"]);
    assert_eq!(talk.read("HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno"), ["0: 407"]);
    assert_eq!(talk.send(connect), ["1: CONNECT p.lab:443"]);
    assert_eq!(talk.read("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), ["1: 200"]);
    assert_eq!(talk.send(GET), NOTHING);
    assert_eq!(talk.read(OK), NOTHING);

    // Without a length it lasts to the end of the connection.
    let mut talk = Talk::new();
    assert_eq!(talk.send(GET), ASKED);
    assert_eq!(talk.read("HTTP/1.1 200 OK\r\n\r\n"), ["0: 200"]);
    assert_eq!(talk.read(OK), NOTHING);
}

#[test]
fn heads_that_are_cut() {
    let long = format!("X-Long: {}\r\n", "x".repeat(3000));
    let mut talk = Talk::new();
    assert_eq!(
        talk.send(&format!("GET /a HTTP/1.1\r\nHost: h\r\n{long}\r\n")),
        ["0: GET http://h/a cut headers"]
    );
    let answer = format!("HTTP/1.1 302 F\r\nServer: s\r\nlocation: {}\r\n\r\n", "x".repeat(3000));
    assert_eq!(talk.read(&answer), ["0: 302 cut headers cut location"]);
    // Where the request ended is not known.
    assert_eq!(talk.send(GET), ["lost"]);

    // Without host there is no URL.
    let mut talk = Talk::new();
    assert_eq!(talk.send(&format!("GET /a HTTP/1.1\r\n{long}Host: h\r\n\r\n")), ["lost"]);
    let mut talk = Talk::new();
    assert_eq!(talk.send(&format!("GET /{} HTTP/1.1\r\n", "x".repeat(3000))), ["lost"]);
    // To the byte.
    let mut talk = Talk::new();
    let whole = format!("GET /a HTTP/1.1\r\nHost: h\r\nX: {}", "x".repeat(HEAD_MAX - 29));
    assert_eq!(whole.len(), HEAD_MAX);
    assert_eq!(talk.send(&whole), ["0: GET http://h/a cut headers"]);
}

#[test]
fn what_passed_unseen_ends_it() {
    for way in [Way::Sent, Way::Received] {
        let mut talk = Talk::new();
        talk.skip(way, 1);
        let said = [talk.send(GET), talk.read(OK)].concat();
        assert_eq!(said.last().map(String::as_str), Some("lost"), "{said:?}");
    }
    // Memory that could not be read.
    let mut talk = Talk::new();
    assert_eq!(talk.pass(Way::Sent, GET.as_bytes(), 0), ["lost"]);
    assert_eq!(talk.read(OK), NOTHING);
}

#[test]
fn what_is_no_http() {
    for text in [
        "GET /a HTTP/2.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{0}\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost h\r\n\r\n",
    ] {
        assert_eq!(Talk::new().send(text), ["lost"], "{text}");
    }
    for text in ["SSH-2.0-x\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 OK\r\n\r\n"] {
        let mut talk = Talk::new();
        assert_eq!(talk.send(GET), ASKED);
        assert_eq!(talk.read(text), ["lost"], "{text}");
    }
}

#[test]
fn bodies_whose_length_is_in_doubt() {
    for headers in
        ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: +5", "Content-Length:"]
    {
        let mut talk = Talk::new();
        assert_eq!(talk.send(GET), ASKED);
        assert_eq!(talk.read(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\nhello")), ["0: 200"]);
        // The client knows; it asks again where it has read to.
        assert_eq!(talk.send(GET), ["1: GET http://h/a"]);
        assert_eq!(talk.read(OK), ["1: 200"]);
    }
    // A request of that kind ends all that is sure.
    let mut talk = Talk::new();
    let chunked = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n";
    assert_eq!(talk.send(chunked), ["0: POST http://h/a"]);
    talk.skip(Way::Sent, 70_000);
    assert_eq!(talk.read(OK), ["0: 200"]);
    assert_eq!(talk.send(GET), ["lost"]);
}

#[test]
fn secrets_stay_inside() {
    let mut conversation = Conversation::new(None);
    let piece = |way, position, text: &str| Piece {
        way,
        position,
        length: text.len() as u64,
        opposite: 0,
        bytes: Bytes::copy_from_slice(text.as_bytes()),
    };
    let request = "GET http://user:hush@h/x?token=hush&a=b HTTP/1.1\r\nHost: user:hush@h\r\n\
        Authorization: Basic hush\r\nProxy-Authorization: Basic hush\r\nCookie: hush\r\n\
        User-Agent: curl\r\nX-Api-Key: hush\r\n\r\n";
    let response = "HTTP/1.1 302 hush\r\nSet-Cookie: hush\r\nX-Secret: hush\r\n\
        Location: https://u:hush@cdn/?X-Amz-Signature=hush\r\n\
        WWW-Authenticate: Basic hush\r\nContent-Length: 4\r\n\r\nhush";
    let mut said = conversation.push(piece(Way::Sent, 0, request));
    said.extend(conversation.push(piece(Way::Received, 0, response)));
    let text = format!("{said:?}");
    assert!(!text.contains("hush"), "{text}");
    assert!(text.contains("http://REDACTED@h/x?token=REDACTED&a=b"), "{text}");
    assert!(text.contains("https://REDACTED@cdn/?X-Amz-Signature=REDACTED"), "{text}");
    assert!(text.contains("curl"), "{text}");
}

/// Whatever comes: no panic, and no more than was asked is answered.
#[test]
fn noise() {
    let words: [&[u8]; 12] = [
        b"GET /a HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 C\r\n",
        b"Host: h\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 4294967296\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"\xff\0\x16\x03",
        b"CONNECT h:1 HTTP/1.1\r\n",
    ];
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..3000 {
        let mut talk = Talk::new();
        let (mut asked, mut answered) = (0, 0);
        for _ in 0..12 {
            let mut bytes = Vec::new();
            for _ in 0..=next(6) {
                bytes.extend_from_slice(words[next(words.len())]);
            }
            let way = if next(2) == 0 { Way::Sent } else { Way::Received };
            let recorded = if next(4) == 0 { next(bytes.len()) } else { bytes.len() };
            if next(8) == 0 {
                talk.skip(way, next(40));
            }
            for said in talk.pass(way, &bytes, recorded) {
                asked += usize::from(said.contains("http://") || said.contains("CONNECT"));
                answered += usize::from(said.len() == 6 && !said.contains("lost"));
            }
            assert!(answered <= asked);
        }
    }
}
