//! Where a chunked body ends (RFC 9112, "Chunked Transfer Coding").

use memchr::memchr;

/// A place in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the digits of a chunk's size, which came to this so far.
    Size(u64),
    /// Behind these digits, before the line's end.
    Extension(u64),
    /// So many bytes before the end of a chunk.
    Data(u64),
    /// In the end of the line behind a chunk.
    DataEnd,
    /// In the trailers.
    Trailers(Line),
}

/// A place in a line of the trailers. Other than in a head, such a line ends with CR and LF and with nothing less, as the library has
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// At its beginning.
    Begin,
    /// Behind a CR at its beginning.
    Empty,
    /// Behind something else.
    Text,
    /// Behind a CR behind that.
    TextEnd,
}

impl Place {
    /// Where a body begins.
    pub(super) const BEGIN: Place = Place::Size(0);

    /// Goes on by these bytes. `Ok` with those up to the body's end, or `Err` with the place at theirs.
    pub(super) fn go_on(mut self, bytes: &[u8]) -> Result<usize, Place> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            self = match self {
                Place::Trailers(line) => {
                    at += 1;
                    Place::Trailers(match (line, byte) {
                        (Line::Empty, b'\n') => return Ok(at),
                        (Line::TextEnd, b'\n') => Line::Begin,
                        (Line::Begin, b'\r') => Line::Empty,
                        (_, b'\r') => Line::TextEnd,
                        _ => Line::Text,
                    })
                }
                Place::Data(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                    at += count;
                    match left - count as u64 {
                        0 => Place::DataEnd,
                        left => Place::Data(left),
                    }
                }
                Place::Size(size) | Place::Extension(size) if byte == b'\n' => {
                    at += 1;
                    match size {
                        0 => Place::Trailers(Line::Begin),
                        size => Place::Data(size),
                    }
                }
                Place::Size(size) => match char::from(byte).to_digit(16) {
                    Some(digit) => {
                        at += 1;
                        Place::Size(size.saturating_mul(16).saturating_add(u64::from(digit)))
                    }
                    None => Place::Extension(size),
                },
                Place::Extension(_) | Place::DataEnd => match memchr(b'\n', &bytes[at..]) {
                    None => return Err(self),
                    Some(length) if self == Place::DataEnd => {
                        at += length + 1;
                        Place::Size(0)
                    }
                    Some(length) => {
                        at += length;
                        self
                    }
                },
            };
        }
        Err(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_trailers_that_ends_with_a_mere_lf_does_not_end() {
        for trailers in ["\n", "A: 1\n\n", "A: 1\n\nB: 2\r\n", "\n\r\n", "A: 1\r\n\n"] {
            let (body, end) = (format!("0\r\n{trailers}"), b"C: 3\r\n\r\n");
            let place = Place::BEGIN.go_on(body.as_bytes()).expect_err("no end yet");
            assert_eq!(place.go_on(end), Ok(end.len()), "{trailers:?}");
        }
    }

    #[test]
    fn a_body_ends_behind_its_trailers_however_it_is_cut() {
        let bodies: [&[u8]; 4] = [
            b"0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"1A;name=\"0\"\r\n0\r\n\r\n0\r\n\r\n0\r\n\r\n0\r\n\r\n!\r\n3\r\nabc\r\n000\r\n\r\n",
            b"a\r\n0123456789\r\n0;last\r\nTrailer: 0\r\nOther: 1\r\n\r\n",
        ];
        for body in bodies {
            let with_more = [body, b"\r\n\r\n0\r\n\r\n"].concat();
            for cut in 0..body.len() {
                let place = Place::BEGIN.go_on(&with_more[..cut]).expect_err("no end yet");
                assert_eq!(
                    place.go_on(&with_more[cut..]),
                    Ok(body.len() - cut),
                    "{:?} cut at {cut}",
                    String::from_utf8_lossy(body)
                );
            }
        }
    }
}
