//! A bound on how many heads an answer by HTTP/2 may have.
//!
//! An interim answer costs a receiver some bytes, and us what they unpack to: thousands of them fit
//! into what an attempt may receive. Read is where each frame begins and what it is, nothing else.

use std::io;

use crate::limits::HTTP2_HEADS_MAX;
use crate::meter::Meter;
use crate::watched::Watch;

/// Length (3 bytes), type, flags, stream (4 bytes).
const FRAME_HEAD_BYTES: usize = 9;
/// The type of a frame that begins a head.
const HEADERS: u8 = 1;
/// Of the stream's four bytes, one bit means nothing.
const STREAM: u32 = u32::MAX >> 1;

/// Counts the heads of one answer after the other; too many use up the connection's meter.
pub(crate) struct Heads {
    meter: Meter,
    /// As much of a frame's own head as has come.
    begun: Vec<u8>,
    /// Bytes of the frame that are still to come.
    payload: usize,
    /// The newest stream: each request has one of its own, with a higher number.
    stream: u32,
    count: usize,
}

impl Heads {
    pub(crate) fn of(meter: Meter) -> Self {
        let begun = Vec::with_capacity(FRAME_HEAD_BYTES);
        Self { meter, begun, payload: 0, stream: 0, count: 0 }
    }

    fn frame_began(&mut self) {
        let &[high, middle, low, kind, _, a, b, c, d] = self.begun.as_slice() else { return };
        self.begun.clear();
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        if kind != HEADERS {
            return;
        }
        let stream = u32::from_be_bytes([a, b, c, d]) & STREAM;
        if stream > self.stream {
            (self.stream, self.count) = (stream, 0);
        }
        self.count += 1;
        if self.count > HTTP2_HEADS_MAX {
            self.meter.use_up();
        }
    }
}

impl Watch for Heads {
    // A frame at a time, so that what comes in one rush with the one too many is left where it is.
    fn room(&self) -> io::Result<usize> {
        let to_next = self.payload + FRAME_HEAD_BYTES - self.begun.len();
        Ok(self.meter.room()?.min(to_next))
    }

    fn came(&mut self, read: Result<&[u8], &io::Error>) {
        let mut bytes = read.unwrap_or_default();
        while !bytes.is_empty() {
            let of_payload = self.payload.min(bytes.len());
            self.payload -= of_payload;
            bytes = &bytes[of_payload..];
            let of_head = (FRAME_HEAD_BYTES - self.begun.len()).min(bytes.len());
            self.begun.extend_from_slice(&bytes[..of_head]);
            bytes = &bytes[of_head..];
            self.frame_began();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("short");
        [&[0, 0, length, kind, 4], &stream.to_be_bytes()[..], payload].concat()
    }

    /// Is it too much, also when it comes in pieces of this length?
    fn is_too_much(bytes: &[u8], piece: usize) -> bool {
        let meter = Meter::full();
        let mut heads = Heads::of(meter.clone());
        for piece in bytes.chunks(piece) {
            heads.came(Ok(piece));
        }
        assert_eq!(heads.room().is_err(), meter.is_used_up());
        meter.is_used_up()
    }

    #[test]
    fn an_answer_has_few_heads_however_they_come() {
        let head = frame(HEADERS, 1, &[HEADERS; 20]);
        let body = frame(0, 1, &[HEADERS; 20]);
        let most = [head.repeat(HTTP2_HEADS_MAX), body.repeat(50)].concat();
        let again = [most.clone(), frame(HEADERS, 3, b"").repeat(HTTP2_HEADS_MAX)].concat();
        let more = [most.clone(), frame(HEADERS, 1, b"")].concat();
        // A bit that means nothing, or an answer from before, is not another answer.
        let disguised = [most.clone(), frame(HEADERS, 1 | !STREAM, b"")].concat();
        let late = [again.clone(), frame(HEADERS, 1, b"")].concat();
        for piece in [1, 2, 7, 9, 10, 29, 1_000_000] {
            assert!(!is_too_much(&most, piece) && !is_too_much(&again, piece), "by {piece}");
            assert!(is_too_much(&more, piece), "by {piece}");
            assert!(is_too_much(&disguised, piece) && is_too_much(&late, piece), "by {piece}");
        }
    }
}
