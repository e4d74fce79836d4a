//! Cuts a template into text and the tokens of its actions.

use super::Fault;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Text between actions, trimmed where a marker says so.
    Text(String),
    /// An action's tokens with their offsets, and the offset of its opening braces.
    Action(Vec<(usize, Token)>, usize),
}

/// A token of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// `.`
    Dot,
    /// `.Name`; `glued` if it follows what stands before it without a space.
    Field { name: String, glued: bool },
    /// `$` or `$name`, without the dollar.
    Variable(String),
    /// A keyword or a function's name.
    Word(String),
    /// A quoted or raw string.
    Text(String),
    /// A whole number, or a character by its code.
    Integer(i64),
    /// A number with a point or an exponent.
    Float(f64),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// Cuts the whole template.
pub(super) fn lex(source: &str) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let mut rest = 0;
    let mut trim_next = false;
    while let Some(found) = source[rest..].find("{{") {
        let open = rest + found;
        let (trim_before, inside) = match source[open + 2..].strip_prefix('-') {
            Some(after) if after.starts_with(char::is_whitespace) => (true, open + 3),
            _ => (false, open + 2),
        };
        push_text(&mut pieces, &source[rest..open], trim_next, trim_before);
        let (tokens, end, trim_after) = lex_action(source, open, inside)?;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action(tokens, open));
        }
        rest = end;
        trim_next = trim_after;
    }
    push_text(&mut pieces, &source[rest..], trim_next, false);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// The tokens (`None` for a comment), the offset past the closing braces, and whether the text after it is trimmed.
type Action = (Option<Vec<(usize, Token)>>, usize, bool);

fn lex_action(source: &str, open: usize, inside: usize) -> Result<Action, Fault> {
    let unclosed = || Fault::new(open, "this action is not closed: expected }}");
    let trimmed = source[inside..].trim_start();
    if trimmed.starts_with("/*") {
        let start = source.len() - trimmed.len();
        let length = trimmed
            .find("*/")
            .ok_or_else(|| Fault::new(start, "this comment is not closed: expected */"))?;
        let after = start + length + 2;
        let (end, trim) =
            closing(source, after).ok_or_else(|| Fault::new(after, "expected }} right after the comment"))?;
        return Ok((None, end, trim));
    }
    let mut tokens = Vec::new();
    let mut at = inside;
    loop {
        if let Some((end, trim)) = closing(source, at) {
            return Ok((Some(tokens), end, trim));
        }
        let c = source[at..].chars().next().ok_or_else(unclosed)?;
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let glued = source[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ')' | '$'));
        let (token, length) = lex_token(&source[at..], at, glued)?;
        tokens.push((at, token));
        at += length;
    }
}

/// The offset past `}}` or ` -}}`, if one of them stands here.
fn closing(source: &str, at: usize) -> Option<(usize, bool)> {
    let here = &source[at..];
    if here.starts_with("}}") {
        return Some((at + 2, false));
    }
    let trimmed = here.trim_start();
    let spaces = here.len() - trimmed.len();
    (spaces > 0 && trimmed.starts_with("-}}")).then_some((at + spaces + 3, true))
}

fn lex_token(text: &str, at: usize, glued: bool) -> Result<(Token, usize), Fault> {
    let simple = [
        (":=", Token::Declare),
        ("=", Token::Assign),
        ("|", Token::Pipe),
        ("(", Token::Open),
        (")", Token::Close),
        (",", Token::Comma),
    ];
    for (mark, token) in simple {
        if text.starts_with(mark) {
            return Ok((token, mark.len()));
        }
    }
    match text.as_bytes()[0] {
        b'.' if text[1..].starts_with(is_word_start) => {
            let name = word(&text[1..]);
            let length = 1 + name.len();
            Ok((
                Token::Field {
                    name: name.to_owned(),
                    glued,
                },
                length,
            ))
        }
        b'.' if !text[1..].starts_with(|c: char| c.is_ascii_digit()) => Ok((Token::Dot, 1)),
        b'$' => {
            let name = word(&text[1..]);
            Ok((Token::Variable(name.to_owned()), 1 + name.len()))
        }
        b'"' => quoted(text, at, '"').map(|(text, length)| (Token::Text(text), length)),
        b'\'' => {
            let (content, length) = quoted(text, at, '\'')?;
            let mut chars = content.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Ok((Token::Integer(i64::from(u32::from(c))), length)),
                _ => Err(Fault::new(at, "expected one character between single quotes")),
            }
        }
        b'`' => {
            let end = text[1..]
                .find('`')
                .ok_or_else(|| Fault::new(at, "this raw string is not closed: expected `"))?;
            Ok((Token::Text(text[1..=end].to_owned()), end + 2))
        }
        b'0'..=b'9' | b'+' | b'-' | b'.' => number(text, at),
        _ if text.starts_with(is_word_start) => {
            let name = word(text);
            Ok((Token::Word(name.to_owned()), name.len()))
        }
        _ => {
            let c = text.chars().next().unwrap_or_default();
            Err(Fault::new(at, format!("{c:?} has no meaning in an action")))
        }
    }
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn word(text: &str) -> &str {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    &text[..end]
}

fn number(text: &str, at: usize) -> Result<(Token, usize), Fault> {
    let length = text
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || *i == 0))
        .map_or(text.len(), |(i, _)| i);
    let written = &text[..length];
    let digits = written.replace('_', "");
    let (negative, unsigned) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let whole = match unsigned.get(..2) {
        Some("0x" | "0X") => i64::from_str_radix(&unsigned[2..], 16),
        Some("0b" | "0B") => i64::from_str_radix(&unsigned[2..], 2),
        Some("0o" | "0O") => i64::from_str_radix(&unsigned[2..], 8),
        _ => unsigned.parse::<i64>(),
    };
    let token = match whole {
        Ok(value) => Some(Token::Integer(if negative { -value } else { value })),
        Err(_) => digits
            .parse::<f64>()
            .ok()
            .filter(|f| f.is_finite())
            .map(Token::Float),
    };
    token
        .map(|token| (token, length))
        .ok_or_else(|| Fault::new(at, format!("{written:?} is not a number")))
}

/// An interpreted string or character, with Go's escapes, and its length with the quotes.
fn quoted(text: &str, at: usize, quote: char) -> Result<(String, usize), Fault> {
    let unclosed = || Fault::new(at, format!("this string is not closed: expected {quote}"));
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((value, i + c.len_utf8())),
            '\n' => return Err(unclosed()),
            '\\' => {
                let (_, escape) = chars.next().ok_or_else(unclosed)?;
                let digits = match escape {
                    'a' => Err('\u{7}'),
                    'b' => Err('\u{8}'),
                    'f' => Err('\u{c}'),
                    'v' => Err('\u{b}'),
                    'n' => Err('\n'),
                    't' => Err('\t'),
                    'r' => Err('\r'),
                    '\\' | '"' | '\'' => Err(escape),
                    'x' => Ok(2),
                    'u' => Ok(4),
                    'U' => Ok(8),
                    _ => {
                        return Err(Fault::new(
                            at + i,
                            format!("\\{escape} is not an escape that is known here"),
                        ));
                    }
                };
                value.push(match digits {
                    Err(plain) => plain,
                    Ok(count) => {
                        let hex: String = chars.by_ref().take(count).map(|(_, c)| c).collect();
                        u32::from_str_radix(&hex, 16)
                            .ok()
                            .filter(|_| hex.len() == count && !hex.starts_with('+'))
                            .and_then(char::from_u32)
                            .ok_or_else(|| {
                                Fault::new(at + i, format!("\\{escape}{hex} is not a character"))
                            })?
                    }
                });
            }
            _ => value.push(c),
        }
    }
    Err(unclosed())
}
