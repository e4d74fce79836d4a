//! The functions of templates, in one table: Go's own, and those of regctl that only look at their arguments.

use super::printf;
use serde_json::Value;
use std::cmp::Ordering;
use std::fmt::Write;

/// A function of templates.
#[derive(Debug)]
pub struct Function {
    /// Its name in a template.
    pub name: &'static str,
    /// What it takes, for messages.
    pub usage: &'static str,
    /// The fewest and the most arguments.
    arity: (usize, usize),
    /// For `and` and `or`: the truth of the argument that decides.
    pub(super) stops_at: Option<bool>,
    body: fn(&[Value]) -> Result<Value, String>,
}

impl Function {
    /// Calls it.
    ///
    /// # Errors
    /// What is wrong with the arguments, with the function's name.
    pub(super) fn call(&self, arguments: Vec<Value>) -> Result<Value, String> {
        let (least, most) = self.arity;
        if arguments.len() < least || arguments.len() > most {
            let count = arguments.len();
            return Err(format!(
                "{} was given {count} arguments: expected {}",
                self.name, self.usage
            ));
        }
        (self.body)(&arguments).map_err(|problem| format!("{}: {problem}", self.name))
    }
}

const fn function(
    name: &'static str,
    usage: &'static str,
    arity: (usize, usize),
    body: fn(&[Value]) -> Result<Value, String>,
) -> Function {
    Function {
        name,
        usage,
        arity,
        stops_at: None,
        body,
    }
}

const MANY: usize = usize::MAX;

/// Every function, in the order of their names.
pub const TABLE: &[Function] = &[
    Function {
        stops_at: Some(false),
        ..function("and", "and VALUE…", (1, MANY), |a| Ok(last(a)))
    },
    function("default", "default OTHERWISE VALUE", (2, 2), |a| {
        Ok(if is_true(&a[1]) {
            a[1].clone()
        } else {
            a[0].clone()
        })
    }),
    function("eq", "eq A B…", (2, MANY), |a| {
        Ok(a[1..].iter().any(|b| same(&a[0], b)).into())
    }),
    function("ge", "ge A B", (2, 2), |a| {
        Ok((compare(a)? != Ordering::Less).into())
    }),
    function("gt", "gt A B", (2, 2), |a| {
        Ok((compare(a)? == Ordering::Greater).into())
    }),
    function("index", "index LIST-OR-MAP KEY…", (2, MANY), index),
    function("join", "join LIST SEPARATOR", (2, 2), join),
    function("json", "json VALUE", (1, 1), |a| json(&a[0], false)),
    function("jsonPretty", "jsonPretty VALUE", (1, 1), |a| json(&a[0], true)),
    function("le", "le A B", (2, 2), |a| {
        Ok((compare(a)? != Ordering::Greater).into())
    }),
    function("len", "len LIST-OR-MAP-OR-TEXT", (1, 1), length),
    function("lower", "lower TEXT", (1, 1), |a| {
        Ok(text(&a[0])?.to_lowercase().into())
    }),
    function("lt", "lt A B", (2, 2), |a| {
        Ok((compare(a)? == Ordering::Less).into())
    }),
    function("ne", "ne A B", (2, 2), |a| Ok((!same(&a[0], &a[1])).into())),
    function("not", "not VALUE", (1, 1), |a| Ok((!is_true(&a[0])).into())),
    Function {
        stops_at: Some(true),
        ..function("or", "or VALUE…", (1, MANY), |a| Ok(last(a)))
    },
    function("print", "print VALUE…", (0, MANY), |a| Ok(spaced(a, "").into())),
    function("printPretty", "printPretty VALUE", (1, 1), |a| json(&a[0], true)),
    function("printf", "printf FORMAT VALUE…", (1, MANY), |a| {
        printf::printf(text(&a[0])?, &a[1..]).map(Value::String)
    }),
    function("println", "println VALUE…", (0, MANY), |a| {
        Ok((spaced(a, " ") + "\n").into())
    }),
    function("split", "split TEXT SEPARATOR", (2, 2), |a| {
        Ok(text(&a[0])?.split(text(&a[1])?).map(Value::from).collect())
    }),
    function("upper", "upper TEXT", (1, 1), |a| {
        Ok(text(&a[0])?.to_uppercase().into())
    }),
];

/// Finds a function by its name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    TABLE.iter().find(|function| function.name == name)
}

/// Whether a value counts as true: not false, zero, null or empty.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// What a value is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Prints a value in the way of Go's `%v`; nothing for null.
pub(super) fn print_to(out: &mut String, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "{number}");
        }
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { " " });
                print_to(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push_str("map[");
            for (n, key) in keys.into_iter().enumerate() {
                out.push_str(if n == 0 { "" } else { " " });
                out.push_str(key);
                out.push(':');
                print_to(out, &map[key]);
            }
            out.push(']');
        }
    }
}

fn last(arguments: &[Value]) -> Value {
    arguments.last().cloned().unwrap_or_default()
}

fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(""),
        other => Err(format!("expected a text, found {}", kind(other))),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Null, Value::String(text)) | (Value::String(text), Value::Null) => text.is_empty(),
        (a, b) => a == b,
    }
}

fn compare(arguments: &[Value]) -> Result<Ordering, String> {
    match (&arguments[0], &arguments[1]) {
        (Value::Number(a), Value::Number(b)) => {
            let order = match (a.as_i64(), b.as_i64()) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => a.as_f64().partial_cmp(&b.as_f64()),
            };
            order.ok_or_else(|| "cannot compare these numbers".to_owned())
        }
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (a, b) => Err(format!("cannot compare {} with {}", kind(a), kind(b))),
    }
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let mut value = &arguments[0];
    for key in &arguments[1..] {
        value = match (value, key) {
            (Value::Array(items), Value::Number(n)) => n
                .as_u64()
                .and_then(|n| items.get(usize::try_from(n).ok()?))
                .ok_or_else(|| format!("{n} is outside of a list of {}", items.len()))?,
            (Value::Object(map), Value::String(key)) => map.get(key).unwrap_or(&Value::Null),
            (Value::Null, _) => &Value::Null,
            (value, key) => return Err(format!("cannot take {} of {}", kind(key), kind(value))),
        };
    }
    Ok(value.clone())
}

/// Joins a list; the list may come first, as in Go's `strings.Join`, or last, through a pipe.
fn join(arguments: &[Value]) -> Result<Value, String> {
    let (items, separator) = match (&arguments[0], &arguments[1]) {
        (Value::Array(items), separator) | (separator, Value::Array(items)) => (items, text(separator)?),
        (Value::Null, _) => return Ok("".into()),
        (other, _) => return Err(format!("expected a list of texts, found {}", kind(other))),
    };
    let texts: Vec<&str> = items.iter().map(text).collect::<Result<_, _>>()?;
    Ok(texts.join(separator).into())
}

fn length(arguments: &[Value]) -> Result<Value, String> {
    match &arguments[0] {
        Value::Null => Ok(0.into()),
        Value::String(text) => Ok(text.len().into()),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(map) => Ok(map.len().into()),
        other => Err(format!("{} has no length", kind(other))),
    }
}

/// JSON with a line's end behind it, as regctl's functions of these names write it.
fn json(value: &Value, pretty: bool) -> Result<Value, String> {
    let text = match pretty {
        true => serde_json::to_string_pretty(value),
        false => serde_json::to_string(value),
    };
    text.map(|text| (text + "\n").into())
        .map_err(|error| error.to_string())
}

/// Values one after the other; where `separator` is empty, as Go's `print` does it: a space between two that are no texts.
fn spaced(arguments: &[Value], separator: &str) -> String {
    let mut out = String::new();
    for (n, value) in arguments.iter().enumerate() {
        let between_others = n > 0 && !arguments[n - 1].is_string() && !value.is_string();
        if n > 0 {
            out.push_str(if between_others { " " } else { separator });
        }
        print_to(&mut out, value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_its_names() {
        assert!(TABLE.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
