//! Places in a text: parts of it, in bytes.

use std::borrow::Cow;
use std::ops::Range;

use super::REDACTED;

pub(super) type Places = Vec<Range<usize>>;

/// What begins here, to the end of the text.
pub(super) fn rest(text: &str, start: usize) -> Places {
    std::iter::once(start..text.len()).collect()
}

/// The text with these places redacted, which are in order; of two that overlap the first one counts.
pub(super) fn replace<'a>(text: &'a str, secrets: &[Range<usize>]) -> Cow<'a, str> {
    let mut clean = String::new();
    let mut kept = 0;
    for secret in secrets {
        if secret.start < kept || !is_left(text, secret) {
            continue;
        }
        clean.push_str(&text[kept..secret.start]);
        clean.push_str(REDACTED);
        kept = secret.end;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[kept..]);
    Cow::Owned(clean)
}

/// Whether there is something to redact in this place.
pub(super) fn is_left(text: &str, secret: &Range<usize>) -> bool {
    !secret.is_empty() && &text[secret.clone()] != REDACTED
}

/// The text with these places redacted, in any order: where two overlap, both are, as one.
pub(super) fn replace_all(text: &str, mut secrets: Places) -> Cow<'_, str> {
    secrets.retain(|secret| is_left(text, secret));
    secrets.sort_by_key(|secret| secret.start);
    secrets.dedup_by(|next, last| {
        let overlap = next.start < last.end;
        if overlap {
            last.end = last.end.max(next.end);
        }
        overlap
    });
    replace(text, &secrets)
}

/// The text with something harmless of the same length in these places: what is looked for next does not
/// find parts of them.
pub(super) fn mask<'a>(text: &'a str, secrets: &[Range<usize>]) -> Cow<'a, str> {
    let mut masked = Cow::Borrowed(text);
    for secret in secrets {
        masked.to_mut().replace_range(secret.clone(), &"x".repeat(secret.len()));
    }
    masked
}

/// Places in a part of a text as places in the text.
pub(super) fn moved(places: Places, by: usize) -> Places {
    places.into_iter().map(|place| place.start + by..place.end + by).collect()
}

#[cfg(test)]
mod tests {
    use super::{mask, replace_all, rest};

    #[test]
    fn what_overlaps_is_redacted_as_one() {
        for (places, clean) in [
            (vec![], "abcdef"),
            (vec![4..5, 1..2], "aREDACTEDcdREDACTEDf"),
            (vec![1..4, 2..5, 2..3], "aREDACTEDf"),
            (vec![1..2, 2..3], "aREDACTEDREDACTEDdef"),
            (vec![3..3, 4..4], "abcdef"),
        ] {
            assert_eq!(replace_all("abcdef", places), clean);
        }
        assert_eq!(replace_all("aREDACTED", rest("aREDACTED", 1)), "aREDACTED");
    }

    #[test]
    fn a_mask_has_the_length_of_what_it_hides() {
        assert_eq!(mask("a\u{e4}b@", &[1..3, 4..5]), "axxbx");
    }
}
