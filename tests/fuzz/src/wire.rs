//! Plain HTTP, as it is pieced together from what goes over a socket.

use proxytrace::wire::{Conversation, Piece, Said, Way};

/// What a piece begins with: its way, bytes before it that passed unseen, bytes at its end that were
/// not recorded, and its length in two bytes.
const HEADER: usize = 5;
/// More than one head: where pieces end makes no difference below it.
const SMALL: usize = 1024;

pub(crate) fn any(mut data: &[u8]) {
    let mut positions = [0_u32; 2];
    let mut pieces = Vec::new();
    while let Some((&[way, unseen, unrecorded, low, high], rest)) =
        data.split_first_chunk::<HEADER>()
    {
        let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        data = rest;
        let way = usize::from(way & 1);
        positions[way] = positions[way].wrapping_add(u32::from(unseen));
        let recorded = length.saturating_sub(usize::from(unrecorded));
        pieces.push(Piece {
            way: if way == 0 { Way::Sent } else { Way::Received },
            position: positions[way],
            length: length as u64,
            opposite: positions[1 - way],
            bytes: bytes[..recorded].to_vec().into(),
        });
        positions[way] = positions[way].wrapping_add(u32::try_from(length).expect("two bytes"));
    }
    is_in_order(&pieces);
    is_the_same_in_one_piece(&pieces);
}

/// Requests are counted, and each is answered once, after it was made; after a loss there is
/// nothing.
fn is_in_order(pieces: &[Piece]) {
    let mut conversation = Conversation::new(None);
    let mut open = Vec::new();
    let (mut count, mut lost) = (0, false);
    for said in pieces.iter().flat_map(|piece| conversation.push(piece.clone())) {
        assert!(!lost, "{said:?} after a loss");
        match said {
            Said::Request(number, request) => {
                assert_eq!(number, count);
                assert!(!request.method.is_empty());
                count += 1;
                open.push(number);
            }
            Said::Response(number, response) => {
                assert!(!open.is_empty() && open.remove(0) == number, "{number} is not asked");
                assert!((101..1000).contains(&response.status));
            }
            Said::Lost => lost = true,
        }
    }
}

/// What is written first means the same however it was split.
fn is_the_same_in_one_piece(pieces: &[Piece]) {
    let sent: Vec<&Piece> = pieces.iter().filter(|piece| piece.way == Way::Sent).collect();
    let whole: Vec<u8> = sent.iter().flat_map(|piece| piece.bytes.iter().copied()).collect();
    let recorded = sent.iter().all(|piece| piece.bytes.len() as u64 == piece.length);
    if !recorded || whole.len() > SMALL {
        return;
    }
    let mut position = 0;
    let first = |pieces: Vec<Piece>| {
        let mut conversation = Conversation::new(None);
        pieces.into_iter().flat_map(|piece| conversation.push(piece)).next()
    };
    let piece = |position, bytes: Vec<u8>| Piece {
        way: Way::Sent,
        position,
        length: bytes.len() as u64,
        opposite: 0,
        bytes: bytes.into(),
    };
    let split = sent.iter().map(|sent| {
        let at = position;
        position += u32::try_from(sent.length).expect("two bytes");
        piece(at, sent.bytes.to_vec())
    });
    assert_eq!(first(split.collect()), first(vec![piece(0, whole)]));
}
