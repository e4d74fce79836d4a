//! Evaluates a template's tree over JSON.

use super::Fault;
use super::functions;
use super::parse::{Base, Command, Node, Operand, Pipeline};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Fields that OCI's manifests and descriptors may leave out: absent they are empty, as in Go. Every other absent field is
/// an error, because it is more likely misspelt.
const OPTIONAL_FIELDS: &[&str] = &[
    "annotations",
    "artifacttype",
    "blobs",
    "config",
    "data",
    "layers",
    "manifests",
    "mediatype",
    "platform",
    "refers",
    "subject",
    "tags",
    "urls",
    "variant",
];

/// What stops the nodes that follow.
enum Flow {
    On,
    Break,
    Continue,
}

struct Evaluation<'d> {
    data: &'d Value,
    /// Innermost last; a block forgets its own when it ends.
    variables: Vec<(String, Value)>,
    out: String,
}

/// Evaluates the nodes with `data` as the dot.
pub(super) fn render(nodes: &[Node], data: &Value) -> Result<String, Fault> {
    let mut evaluation = Evaluation {
        data,
        variables: Vec::new(),
        out: String::new(),
    };
    evaluation.nodes(nodes, data)?;
    Ok(evaluation.out)
}

impl Evaluation<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Fault> {
        let known = self.variables.len();
        for node in nodes {
            match self.node(node, dot)? {
                Flow::On => {}
                stop => {
                    self.variables.truncate(known);
                    return Ok(stop);
                }
            }
        }
        self.variables.truncate(known);
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Fault> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    functions::print_to(&mut self.out, &value);
                } else {
                    self.bind(pipeline, 0, value)?;
                }
            }
            Node::If(branches, otherwise) => return self.branches(branches, otherwise, dot),
            Node::With(pipeline, body, otherwise) => {
                let known = self.variables.len();
                let value = self.pipeline(pipeline, dot)?;
                self.bind_all(pipeline, &value)?;
                let flow = match functions::is_true(&value) {
                    true => self.nodes(body, &value)?,
                    false => self.nodes(otherwise, dot)?,
                };
                self.variables.truncate(known);
                return Ok(flow);
            }
            Node::Range(pipeline, body, otherwise) => return self.range(pipeline, body, otherwise, dot),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn branches(
        &mut self,
        branches: &[(Pipeline, Vec<Node>)],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, Fault> {
        let known = self.variables.len();
        let mut flow = None;
        for (pipeline, body) in branches {
            let value = self.pipeline(pipeline, dot)?;
            self.bind_all(pipeline, &value)?;
            if functions::is_true(&value) {
                flow = Some(self.nodes(body, dot)?);
                break;
            }
        }
        let flow = match flow {
            Some(flow) => flow,
            None => self.nodes(otherwise, dot)?,
        };
        self.variables.truncate(known);
        Ok(flow)
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, Fault> {
        let items: Vec<(Value, Value)> = match self.pipeline(pipeline, dot)? {
            Value::Array(items) => (0_u64..).map(Value::from).zip(items).collect(),
            Value::Object(map) => sorted(map),
            Value::Null => Vec::new(),
            other => {
                let problem = format!(
                    "range needs a list or a map, and this is {}",
                    functions::kind(&other)
                );
                return Err(Fault::new(pipeline.offset, problem));
            }
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in items {
            let known = self.variables.len();
            match pipeline.variables.len() {
                0 => {}
                1 => self.bind(pipeline, 0, item.clone())?,
                _ => {
                    self.bind(pipeline, 0, key)?;
                    self.bind(pipeline, 1, item.clone())?;
                }
            }
            let flow = self.nodes(body, &item)?;
            if pipeline.declares {
                self.variables.truncate(known);
            }
            if let Flow::Break = flow {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn bind_all(&mut self, pipeline: &Pipeline, value: &Value) -> Result<(), Fault> {
        (0..pipeline.variables.len()).try_for_each(|n| self.bind(pipeline, n, value.clone()))
    }

    fn bind(&mut self, pipeline: &Pipeline, n: usize, value: Value) -> Result<(), Fault> {
        let name = &pipeline.variables[n];
        if pipeline.declares {
            self.variables.push((name.clone(), value));
            return Ok(());
        }
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, old)) => {
                *old = value;
                Ok(())
            }
            None => Err(unknown_variable(pipeline.offset, name)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Fault> {
        let mut piped: Option<Value> = None;
        for command in &pipeline.commands {
            piped = Some(self.command(command, piped, dot)?);
        }
        Ok(piped.unwrap_or_default())
    }

    fn command(&mut self, command: &Command, piped: Option<Value>, dot: &Value) -> Result<Value, Fault> {
        let Some(function) = command.function else {
            return match (command.operands.first(), piped) {
                (Some(operand), None) => self.operand(operand, dot),
                _ => Err(Fault::new(
                    command.offset,
                    "a value cannot take what is piped into it",
                )),
            };
        };
        let mut arguments = Vec::with_capacity(command.operands.len() + 1);
        for operand in &command.operands {
            arguments.push(self.operand(operand, dot)?);
            // `and` and `or` stop at the argument that decides, so that the rest may lack what was asked for.
            if function.stops_at.is_some_and(|decides| {
                functions::is_true(arguments.last().unwrap_or(&Value::Null)) == decides
            }) {
                return Ok(arguments.pop().unwrap_or_default());
            }
        }
        arguments.extend(piped);
        function
            .call(arguments)
            .map_err(|problem| Fault::new(command.offset, problem))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Fault> {
        let base: Cow<'_, Value> = match &operand.base {
            Base::Dot => Cow::Borrowed(dot),
            Base::Variable(name) if name.is_empty() => Cow::Borrowed(self.data),
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = found.ok_or_else(|| unknown_variable(operand.offset, name))?;
                Cow::Owned(value.clone())
            }
            Base::Literal(value) => Cow::Borrowed(value),
            Base::Pipeline(pipeline) => Cow::Owned(self.pipeline(pipeline, dot)?),
            Base::Call(function) => Cow::Owned(
                function
                    .call(Vec::new())
                    .map_err(|problem| Fault::new(operand.offset, problem))?,
            ),
        };
        let mut value: &Value = &base;
        for name in &operand.fields {
            value = field(value, name).map_err(|problem| Fault::new(operand.offset, problem))?;
        }
        Ok(value.clone())
    }
}

fn unknown_variable(offset: usize, name: &str) -> Fault {
    Fault::new(offset, format!("variable ${name} was not declared"))
}

/// Maps are walked in the order of their keys, as in Go.
fn sorted(map: Map<String, Value>) -> Vec<(Value, Value)> {
    let mut entries: Vec<(String, Value)> = map.into_iter().collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    entries
        .into_iter()
        .map(|(key, value)| (Value::String(key), value))
        .collect()
}

/// A field by its name, in whatever case: Go's `MediaType` and `URLs` are JSON's `mediaType` and `urls`.
fn field<'v>(value: &'v Value, name: &str) -> Result<&'v Value, String> {
    let map = match value {
        Value::Object(map) => map,
        Value::Null => return Ok(&Value::Null),
        other => return Err(format!("no field {name:?}: this is {}", functions::kind(other))),
    };
    let found = map.get(name).or_else(|| {
        map.iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    });
    match found {
        Some(value) => Ok(value),
        None if OPTIONAL_FIELDS.contains(&name.to_ascii_lowercase().as_str()) => Ok(&Value::Null),
        None => {
            let there: Vec<&str> = map.keys().map(String::as_str).take(20).collect();
            Err(format!("no field {name:?} here: there are {}", there.join(", ")))
        }
    }
}
