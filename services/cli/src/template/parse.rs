//! Builds the tree of a template from its pieces, and checks that functions and blocks exist.

use super::Fault;
use super::functions::{self, Function};
use super::lex::{Piece, Token};
use serde_json::Value;

/// How deep blocks and parentheses may stand in each other: far beyond what a person writes, far below the stack's end.
const MAX_NESTING: usize = 100;

/// One node of the tree.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Text, as it is.
    Text(String),
    /// A pipeline whose value is printed, unless it declares or assigns.
    Print(Pipeline),
    /// `if` and every `else if`, in order; then `else`.
    If(Vec<(Pipeline, Vec<Node>)>, Vec<Node>),
    /// `range`, its body, and `else`.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// `with`, its body, and `else`.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `break`
    Break,
    /// `continue`
    Continue,
}

/// Commands that hand their value to the next one, and the variables that take the last value.
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    /// Where it begins.
    pub offset: usize,
    /// The variables, without the dollar; two only in `range`.
    pub variables: Vec<String>,
    /// Whether the variables are new (`:=`) rather than changed (`=`).
    pub declares: bool,
    /// At least one.
    pub commands: Vec<Command>,
}

/// A value, or a function with its arguments.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// Where it begins.
    pub offset: usize,
    /// The function, if it calls one.
    pub function: Option<&'static Function>,
    /// The arguments; without a function, exactly one value.
    pub operands: Vec<Operand>,
}

/// One value of a command, and the fields that are taken of it in turn.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    /// Where it stands.
    pub offset: usize,
    /// What the fields are taken of.
    pub base: Base,
    /// The fields.
    pub fields: Vec<String>,
}

/// The start of a value.
#[derive(Clone, Debug)]
pub(super) enum Base {
    /// The dot.
    Dot,
    /// A variable, without the dollar; the empty name is the data itself.
    Variable(String),
    /// A constant.
    Literal(Value),
    /// A pipeline in parentheses.
    Pipeline(Box<Pipeline>),
    /// A function without arguments, as an argument of another one.
    Call(&'static Function),
}

/// Builds the tree.
pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, Fault> {
    let mut parser = Parser {
        pieces: pieces.into_iter(),
        depth: 0,
        ranges: 0,
    };
    let (nodes, end) = parser.nodes()?;
    match end {
        Stop::Source => Ok(nodes),
        Stop::Else(tokens) | Stop::End(tokens) => Err(Fault::new(
            tokens.start(),
            "this stands here without an if, range or with before it",
        )),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    /// Blocks that are open.
    depth: usize,
    /// Ranges that are open.
    ranges: usize,
}

/// What ended a list of nodes.
enum Stop {
    Source,
    /// `else`, with the tokens that follow it.
    Else(Tokens),
    End(Tokens),
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), Fault> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (tokens, open) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens, open) => (tokens, open),
            };
            let mut tokens = Tokens::new(tokens, open);
            match tokens.keyword().as_deref() {
                Some("else") => return Ok((nodes, Stop::Else(tokens))),
                Some("end") => return tokens.finish().map(|tokens| (nodes, Stop::End(tokens))),
                Some(keyword @ ("if" | "range" | "with")) => nodes.push(self.block(keyword, tokens, open)?),
                Some(keyword @ ("break" | "continue")) => {
                    let node = if keyword == "break" {
                        Node::Break
                    } else {
                        Node::Continue
                    };
                    let tokens = tokens.finish()?;
                    if self.ranges == 0 {
                        return Err(Fault::new(
                            tokens.start(),
                            format!("{keyword} stands outside of a range"),
                        ));
                    }
                    nodes.push(node);
                }
                Some(keyword) => {
                    return Err(Fault::new(
                        tokens.start(),
                        format!("{keyword:?} is not supported here"),
                    ));
                }
                None => nodes.push(Node::Print(tokens.whole_pipeline()?)),
            }
        }
        Ok((nodes, Stop::Source))
    }

    /// A block from its pipeline to its `end`.
    fn block(&mut self, keyword: &str, mut tokens: Tokens, open: usize) -> Result<Node, Fault> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(too_deep(open));
        }
        let is_range = keyword == "range";
        self.ranges += usize::from(is_range);
        let pipeline = tokens.whole_pipeline()?;
        if pipeline.variables.len() > 1 && !is_range {
            return Err(Fault::new(pipeline.offset, "only range takes two variables"));
        }
        let (body, mut end) = self.nodes()?;
        self.ranges -= usize::from(is_range);
        let mut branches = vec![(pipeline, body)];
        let mut otherwise = Vec::new();
        loop {
            match end {
                Stop::Source => return Err(Fault::new(open, format!("this {keyword} has no {{{{end}}}}"))),
                Stop::End(_) => break,
                Stop::Else(mut rest) => {
                    let again = rest.keyword();
                    match again.as_deref() {
                        Some("if") if keyword == "if" => {
                            let pipeline = rest.whole_pipeline()?;
                            let (body, next) = self.nodes()?;
                            branches.push((pipeline, body));
                            end = next;
                        }
                        Some(other) => {
                            return Err(Fault::new(
                                rest.start(),
                                format!("\"else {other}\" is not supported here"),
                            ));
                        }
                        None => {
                            rest.finish()?;
                            let (body, next) = self.nodes()?;
                            if let Stop::Else(tokens) = next {
                                return Err(Fault::new(tokens.start(), "a second else of the same block"));
                            }
                            otherwise = body;
                            end = next;
                        }
                    }
                }
            }
        }
        self.depth -= 1;
        let first = branches.first().cloned();
        match (keyword, first) {
            ("range", Some((pipeline, body))) => Ok(Node::Range(pipeline, body, otherwise)),
            ("with", Some((pipeline, body))) => Ok(Node::With(pipeline, body, otherwise)),
            _ => Ok(Node::If(branches, otherwise)),
        }
    }
}

fn too_deep(offset: usize) -> Fault {
    Fault::new(offset, format!("nested more than {MAX_NESTING} deep"))
}

/// Words that are not functions; those that a block does not handle are refused by name.
const KEYWORDS: &[&str] = &[
    "if", "else", "end", "range", "with", "break", "continue", "define", "block", "template",
];

/// The tokens of one action.
struct Tokens {
    tokens: std::iter::Peekable<std::vec::IntoIter<(usize, Token)>>,
    start: usize,
    depth: usize,
}

impl Tokens {
    fn new(tokens: Vec<(usize, Token)>, open: usize) -> Tokens {
        // Past the braces, if there is nothing in them to point at.
        let start = tokens.first().map_or(open + 2, |(offset, _)| *offset);
        Tokens {
            tokens: tokens.into_iter().peekable(),
            start,
            depth: 0,
        }
    }

    fn start(&self) -> usize {
        self.start
    }

    fn keyword(&mut self) -> Option<String> {
        let found = self.tokens.next_if(|(_, token)| match token {
            Token::Word(word) => KEYWORDS.contains(&word.as_str()),
            _ => false,
        });
        match found {
            Some((_, Token::Word(word))) => Some(word),
            _ => None,
        }
    }

    fn finish(mut self) -> Result<Tokens, Fault> {
        match self.tokens.next() {
            None => Ok(self),
            Some((offset, _)) => Err(Fault::new(offset, "nothing more was expected in this action")),
        }
    }

    fn whole_pipeline(&mut self) -> Result<Pipeline, Fault> {
        let pipeline = self.pipeline()?;
        match self.tokens.next() {
            None => Ok(pipeline),
            Some((offset, _)) => Err(Fault::new(offset, "this was not expected here")),
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, Fault> {
        let offset = self.tokens.peek().map_or(self.start, |(offset, _)| *offset);
        let (variables, declares) = self.variables()?;
        let mut commands = Vec::new();
        let mut after = offset;
        loop {
            let command = self.command(after)?;
            if let Some(Base::Literal(_)) = command.operands.first().map(|o| &o.base)
                && !commands.is_empty()
                && command.function.is_none()
            {
                return Err(Fault::new(
                    command.offset,
                    "a value cannot take what is piped into it",
                ));
            }
            commands.push(command);
            match self.tokens.next_if(|(_, token)| *token == Token::Pipe) {
                Some((at, _)) => after = at,
                None => break,
            }
        }
        Ok(Pipeline {
            offset,
            variables,
            declares,
            commands,
        })
    }

    /// `$a, $b :=`, `$a =`, or nothing.
    fn variables(&mut self) -> Result<(Vec<String>, bool), Fault> {
        let mut ahead = self.tokens.clone();
        let mut names = Vec::new();
        while let Some((_, Token::Variable(name))) = ahead.next() {
            names.push(name);
            match ahead.next() {
                Some((_, Token::Comma)) if names.len() < 2 => {}
                Some((_, token @ (Token::Declare | Token::Assign))) => {
                    self.tokens = ahead;
                    return Ok((names, token == Token::Declare));
                }
                _ => break,
            }
        }
        Ok((Vec::new(), false))
    }

    fn command(&mut self, after: usize) -> Result<Command, Fault> {
        let offset = self.tokens.peek().map_or(after, |(offset, _)| *offset);
        let function = match self.tokens.peek() {
            Some((at, Token::Word(name))) => match constant(name) {
                Some(_) => None,
                None => Some(find(name, *at)?),
            },
            _ => None,
        };
        if function.is_some() {
            self.tokens.next();
        }
        let mut operands = Vec::new();
        while let Some(operand) = self.operand()? {
            operands.push(operand);
        }
        match (function, operands.as_slice()) {
            (None, []) => Err(Fault::new(
                offset,
                "there is nothing here: expected a value or a function",
            )),
            (None, [_, _, ..]) => Err(Fault::new(
                offset,
                "this is a value and cannot be called with arguments",
            )),
            (_, _) => Ok(Command {
                offset,
                function,
                operands,
            }),
        }
    }

    fn operand(&mut self) -> Result<Option<Operand>, Fault> {
        let Some((offset, token)) = self.tokens.next_if(|(_, token)| starts_operand(token)) else {
            return Ok(None);
        };
        let mut fields = Vec::new();
        let base = match token {
            Token::Dot => Base::Dot,
            Token::Field { name, .. } => {
                fields.push(name);
                Base::Dot
            }
            Token::Variable(name) => Base::Variable(name),
            Token::Text(text) => Base::Literal(Value::String(text)),
            Token::Integer(number) => Base::Literal(number.into()),
            Token::Float(number) => Base::Literal(number.into()),
            Token::Word(name) => match constant(&name) {
                Some(value) => Base::Literal(value),
                None => Base::Call(find(&name, offset)?),
            },
            Token::Open => self.parenthesis(offset)?,
            Token::Pipe | Token::Close | Token::Comma | Token::Declare | Token::Assign => {
                return Err(Fault::new(offset, "this was not expected here"));
            }
        };
        while let Some((_, Token::Field { name, .. })) = self
            .tokens
            .next_if(|(_, token)| matches!(token, Token::Field { glued: true, .. }))
        {
            fields.push(name);
        }
        Ok(Some(Operand { offset, base, fields }))
    }

    fn parenthesis(&mut self, offset: usize) -> Result<Base, Fault> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(too_deep(offset));
        }
        let inner = self.pipeline()?;
        self.depth -= 1;
        match self.tokens.next() {
            Some((_, Token::Close)) => Ok(Base::Pipeline(Box::new(inner))),
            _ => Err(Fault::new(offset, "this parenthesis is not closed: expected )")),
        }
    }
}

fn starts_operand(token: &Token) -> bool {
    !matches!(
        token,
        Token::Pipe | Token::Close | Token::Comma | Token::Declare | Token::Assign
    )
}

fn constant(word: &str) -> Option<Value> {
    match word {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "nil" => Some(Value::Null),
        _ => None,
    }
}

fn find(name: &str, offset: usize) -> Result<&'static Function, Fault> {
    functions::find(name).ok_or_else(|| {
        let known: Vec<&str> = functions::TABLE.iter().map(|f| f.name).collect();
        Fault::new(
            offset,
            format!(
                "function {name:?} is not supported: there are {}",
                known.join(", ")
            ),
        )
    })
}
