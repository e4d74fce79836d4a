//! `printf` of templates: Go's verbs `%s %v %d %q %x %X %t %f %g %e %c %%`, with flags `-`, `0`, `+` and space, width and precision.

use super::functions::{kind, print_to};
use serde_json::Value;

/// No width or precision needs to be larger, and memory must not follow what a template asks for.
const MAX_WIDTH: usize = 1024;

#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    width: usize,
    precision: Option<usize>,
}

/// Formats the arguments.
pub(super) fn printf(format: &str, arguments: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '0' | '+' | ' ' | '#')) {
            spec.left |= flag == '-';
            spec.zero |= flag == '0';
            spec.plus |= flag == '+';
        }
        spec.width = digits(&mut chars)?;
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = Some(digits(&mut chars)?);
        }
        let verb = chars.next().ok_or("the format ends within a verb")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("there is no argument for %{verb}"))?;
        out.push_str(&spec.pad(verb, spec.text(verb, value)?));
    }
    match arguments.count() {
        0 => Ok(out),
        more => Err(format!("{more} arguments more than the format has verbs")),
    }
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<usize, String> {
    let mut number = 0;
    while let Some(digit) = chars.next_if(char::is_ascii_digit).and_then(|c| c.to_digit(10)) {
        number = number * 10 + digit as usize;
        if number > MAX_WIDTH {
            return Err(format!("a width of more than {MAX_WIDTH} is not supported"));
        }
    }
    Ok(number)
}

impl Spec {
    fn text(&self, verb: char, value: &Value) -> Result<String, String> {
        let wrong = || format!("%{verb} cannot print {}", kind(value));
        let text = match verb {
            's' | 'v' => {
                let mut text = String::new();
                print_to(&mut text, value);
                match self.precision {
                    Some(most) => text.chars().take(most).collect(),
                    None => text,
                }
            }
            'q' => serde_json::to_string(value.as_str().ok_or_else(wrong)?).map_err(|e| e.to_string())?,
            'd' => self.signed(value.as_i64().ok_or_else(wrong)?.to_string()),
            't' => value.as_bool().ok_or_else(wrong)?.to_string(),
            'x' | 'X' => {
                let hex = match value {
                    Value::String(text) => text.bytes().map(|b| format!("{b:02x}")).collect(),
                    Value::Number(number) => match number.as_i64().ok_or_else(wrong)? {
                        negative @ ..0 => format!("-{:x}", negative.unsigned_abs()),
                        positive => format!("{positive:x}"),
                    },
                    _ => return Err(wrong()),
                };
                if verb == 'X' { hex.to_uppercase() } else { hex }
            }
            'f' | 'F' => {
                let precision = self.precision.unwrap_or(6);
                self.signed(format!("{:.precision$}", value.as_f64().ok_or_else(wrong)?))
            }
            'g' | 'G' => self.signed(value.as_f64().ok_or_else(wrong)?.to_string()),
            'e' => self.signed(format!("{:e}", value.as_f64().ok_or_else(wrong)?)),
            'c' => value
                .as_u64()
                .and_then(|code| char::from_u32(u32::try_from(code).ok()?))
                .ok_or_else(wrong)?
                .to_string(),
            other => {
                return Err(format!(
                    "%{other} is not supported: there are %s %v %d %q %x %X %t %f %g %e %c %%"
                ));
            }
        };
        Ok(text)
    }

    fn signed(&self, number: String) -> String {
        if self.plus && !number.starts_with('-') {
            format!("+{number}")
        } else {
            number
        }
    }

    fn pad(&self, verb: char, text: String) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if missing == 0 {
            return text;
        }
        let numeric = matches!(verb, 'd' | 'f' | 'F' | 'g' | 'G' | 'e' | 'x' | 'X');
        if self.left {
            text + &" ".repeat(missing)
        } else if self.zero && numeric {
            let sign = usize::from(text.starts_with(['-', '+']));
            format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..])
        } else {
            " ".repeat(missing) + &text
        }
    }
}
