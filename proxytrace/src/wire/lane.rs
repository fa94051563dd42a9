//! One way of a connection: where its next head begins, and as much of it as has been seen.

use super::Piece;

/// One way of a connection.
#[derive(Debug)]
pub(super) enum Lane {
    /// The next head begins at `at`; `bytes` of it are known.
    Head { at: u32, bytes: Vec<u8> },
    /// The end of the present message is not known.
    Open,
    /// Nothing more is to be read.
    Closed,
}

/// What a piece brings.
pub(super) enum Reach {
    /// Nothing that is wanted.
    Nothing,
    /// What is wanted has passed unseen.
    Gap,
    /// Bytes of a head, or of several; `whole` if it was recorded to its end.
    Bytes { whole: bool },
}

impl Default for Lane {
    fn default() -> Self {
        Self::Head { at: 0, bytes: Vec::new() }
    }
}

impl Lane {
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// How far into the piece the next byte that is wanted stands; none if all of it comes before.
    /// A negative number: it comes before the piece.
    fn offset(&self, piece: &Piece) -> Option<i32> {
        let Self::Head { at, bytes } = self else { return None };
        let seen = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        // Positions come round; a message of 2 GiB or more cannot be told from one behind.
        let offset = at.wrapping_add(seen).wrapping_sub(piece.position).cast_signed();
        let behind = u64::try_from(offset).is_ok_and(|offset| offset >= piece.length);
        (!behind).then_some(offset)
    }

    /// Whether there is something in the piece that is waited for, or should be.
    pub(super) fn wants(&self, piece: &Piece) -> bool {
        self.offset(piece).is_some()
    }

    /// Takes what is wanted from a piece.
    pub(super) fn take(&mut self, piece: &Piece) -> Reach {
        let Some(offset) = self.offset(piece) else { return Reach::Nothing };
        let wanted = usize::try_from(offset).ok().and_then(|offset| piece.bytes.get(offset..));
        match (self, wanted) {
            (Self::Head { bytes, .. }, Some(wanted)) if !wanted.is_empty() => {
                bytes.extend_from_slice(wanted);
                Reach::Bytes { whole: piece.bytes.len() as u64 == piece.length }
            }
            _ => Reach::Gap,
        }
    }

    /// What is known of the next head; of further ones, too, if they follow at once.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Head { bytes, .. } => bytes,
            Self::Open | Self::Closed => &[],
        }
    }

    /// The present message ends so many bytes after its beginning, if that is known.
    pub(super) fn end(&mut self, length: Option<u64>) {
        // Positions could not tell any more where a longer one ends.
        let length = length.filter(|length| i32::try_from(*length).is_ok());
        match (&mut *self, length) {
            (Self::Head { at, bytes }, Some(length)) => {
                bytes.drain(..bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX)));
                *at = at.wrapping_add(u32::try_from(length).unwrap_or(0));
            }
            (Self::Head { .. }, None) => *self = Self::Open,
            (Self::Open | Self::Closed, _) => {}
        }
    }

    /// Forgets what is known of the next head: the piece will come again.
    pub(super) fn give_back(&mut self) {
        if let Self::Head { bytes, .. } = self {
            bytes.clear();
        }
    }

    /// The next head begins here.
    pub(super) fn begin(&mut self, at: u32) {
        *self = Self::Head { at, bytes: Vec::new() };
    }

    /// There will be no more heads.
    pub(super) fn close(&mut self) {
        *self = Self::Closed;
    }
}
