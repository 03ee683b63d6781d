//! Running a template over a value.
//!
//! Follows Go's evaluation order and error texts, because Docker shows them to users as they are. Output goes to a
//! string; a failed run still returns what had been written, as Docker prints it.

use crate::functions;
use crate::parse::{Command, Node, Operand, OperandKind, Pipe, Template};
use crate::print::display;
use crate::value::Value;

/// How a missing map key is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Prints `<no value>`.
    Lenient,
    /// An error, as in docker's second try over raw JSON.
    Strict,
}

/// A template that failed while running.
#[derive(Debug, thiserror::Error)]
#[error("template: {name}:{line}:{column}: executing \"{name}\" at <{context}>: {message}")]
pub struct ExecError {
    /// The template's name; most of docker's have none.
    pub name: &'static str,
    pub line: usize,
    pub column: usize,
    pub context: String,
    pub message: String,
}

impl ExecError {
    /// The error of a template called `name`.
    #[must_use]
    pub fn named(self, name: &'static str) -> ExecError {
        ExecError { name, ..self }
    }
}

enum Flow {
    Fail(Box<ExecError>),
    Break,
    Continue,
}

type Step<T> = Result<T, Flow>;

struct Run<'a> {
    template: &'a Template,
    mode: Mode,
    variables: Vec<(String, Value)>,
    out: &'a mut String,
    headers: bool,
}

impl Template {
    /// Runs over `data`, appending to `out`.
    pub fn execute(&self, data: &Value, mode: Mode, out: &mut String) -> Result<(), ExecError> {
        self.run(data, mode, false, out)
    }

    /// Runs over a row of headers, where case functions and `json` leave words as they are.
    pub fn execute_header(&self, data: &Value, out: &mut String) -> Result<(), ExecError> {
        self.run(data, Mode::Lenient, true, out)
    }

    fn run(&self, data: &Value, mode: Mode, headers: bool, out: &mut String) -> Result<(), ExecError> {
        let variables = vec![("$".to_owned(), data.clone())];
        let mut run = Run { template: self, mode, variables, out, headers };
        match run.list(&self.nodes, data) {
            Ok(()) | Err(Flow::Break | Flow::Continue) => Ok(()),
            Err(Flow::Fail(error)) => Err(*error),
        }
    }
}

impl Run<'_> {
    fn fail<T>(&self, at: usize, context: impl ToString, message: impl Into<String>) -> Step<T> {
        let before = &self.template.text[..at];
        let column = before.rfind('\n').map_or(at, |newline| at - newline - 1);
        Err(Flow::Fail(Box::new(ExecError {
            name: "",
            line: 1 + before.matches('\n').count(),
            column,
            context: context.to_string(),
            message: message.into(),
        })))
    }

    fn list(&mut self, nodes: &[Node], dot: &Value) -> Step<()> {
        nodes.iter().try_for_each(|node| self.node(node, dot))
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Step<()> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.out.push_str(&display(&value));
                }
            }
            Node::If { pipe, then, otherwise } => {
                let mark = self.variables.len();
                let truth = self.pipe(pipe, dot)?.is_true();
                self.list(if truth { then } else { otherwise }, dot)?;
                self.variables.truncate(mark);
            }
            Node::With { pipe, then, otherwise } => {
                let mark = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                if value.is_true() {
                    self.list(then, &value)?;
                } else {
                    self.list(otherwise, dot)?;
                }
                self.variables.truncate(mark);
            }
            Node::Range { pipe, each, otherwise } => self.range(pipe, each, otherwise, dot)?,
            Node::Break => return Err(Flow::Break),
            Node::Continue => return Err(Flow::Continue),
        }
        Ok(())
    }

    fn range(&mut self, pipe: &Pipe, each: &[Node], otherwise: &[Node], dot: &Value) -> Step<()> {
        let mark = self.variables.len();
        let mut declared = pipe.clone();
        declared.variables = Vec::new();
        let value = self.pipe(&declared, dot)?;
        let items: Vec<(Value, Value)> = match value.target() {
            Value::List(list) => {
                let numbered = list.items.iter().enumerate();
                numbered.map(|(i, v)| (Value::Int(i as i128), v.clone())).collect()
            }
            Value::Map(map) => map.entries.iter().map(|(k, v)| (Value::str(k), v.clone())).collect(),
            Value::Int(n) if *n <= 1_000_000 => (0..*n).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            Value::Missing | Value::Nil => Vec::new(),
            other => return self.fail(pipe.at, pipe, format!("range can't iterate over {}", display(other))),
        };
        if items.is_empty() {
            self.list(otherwise, dot)?;
        }
        for (key, item) in items {
            let inner = self.variables.len();
            match pipe.variables.as_slice() {
                [one] => self.bind(one, item.clone(), pipe.assign),
                [first, second] => {
                    self.bind(first, key, pipe.assign);
                    self.bind(second, item.clone(), pipe.assign);
                }
                _ => {}
            }
            let step = self.list(each, &item);
            self.variables.truncate(inner);
            match step {
                Ok(()) | Err(Flow::Continue) => {}
                Err(Flow::Break) => break,
                Err(fail) => return Err(fail),
            }
        }
        self.variables.truncate(mark);
        Ok(())
    }

    fn bind(&mut self, name: &str, value: Value, assign: bool) {
        if assign {
            if let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
                slot.1 = value;
            }
        } else {
            self.variables.push((name.to_owned(), value));
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Step<Value> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Value::Missing);
        for name in &pipe.variables {
            self.bind(name, value.clone(), pipe.assign);
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Step<Value> {
        let first = &command.operands[0];
        let rest = &command.operands[1..];
        match &first.kind {
            OperandKind::Function(name) => self.function(name, command, rest, dot, last),
            OperandKind::Field(names) => self.fields(dot.clone(), names, first, rest, dot, last),
            OperandKind::Variable(name, names) => {
                let value = self.variable(name);
                if names.is_empty() && (!rest.is_empty() || last.is_some()) {
                    return self.fail(
                        first.at,
                        first,
                        format!("can't give argument to non-function {first}"),
                    );
                }
                self.fields(value, names, first, rest, dot, last)
            }
            OperandKind::Chain(inner, names) => {
                let value = self.operand(inner, dot)?;
                self.fields(value, names, first, rest, dot, last)
            }
            _ if !rest.is_empty() || last.is_some() => {
                self.fail(first.at, first, format!("can't give argument to non-function {first}"))
            }
            OperandKind::Nil => self.fail(first.at, first, "nil is not a command"),
            _ => self.operand(first, dot),
        }
    }

    fn variable(&self, name: &str) -> Value {
        let found = self.variables.iter().rev().find(|(n, _)| n == name);
        found.map_or(Value::Missing, |(_, v)| v.clone())
    }

    /// Follows a chain of names; only the last may be a method with arguments.
    fn fields(
        &mut self,
        start: Value,
        names: &[String],
        node: &Operand,
        args: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Step<Value> {
        let mut value = start;
        for (at, name) in names.iter().enumerate() {
            let mut given = Vec::new();
            if at + 1 == names.len() {
                for arg in args {
                    given.push(self.operand(arg, dot)?);
                }
                given.extend(last.clone());
            }
            value = self.field(&value, name, node, &given)?;
        }
        Ok(value)
    }

    fn field(&self, value: &Value, name: &str, node: &Operand, args: &[Value]) -> Step<Value> {
        let no_args = |this: &Self| {
            if args.is_empty() {
                Ok(())
            } else {
                this.fail(node.at, node, format!("{name} has arguments but cannot be invoked as function"))
            }
        };
        match value {
            Value::Missing if self.mode == Mode::Strict => {
                self.fail(node.at, node, format!("nil data; no entry for key {name:?}"))
            }
            Value::Missing => Ok(Value::Missing),
            Value::Nil => self.fail(node.at, node, format!("nil pointer evaluating interface {{}}.{name}")),
            Value::NilPtr(kind) => self.fail(node.at, node, format!("nil pointer evaluating {kind}.{name}")),
            Value::Ptr(inner) => self.field(inner, name, node, args),
            Value::Map(map) => {
                no_args(self)?;
                match map.entries.get(name) {
                    Some(found) => Ok(found.clone()),
                    None if self.mode == Mode::Strict => {
                        self.fail(node.at, node, format!("map has no entry for key {name:?}"))
                    }
                    None => Ok(Value::Missing),
                }
            }
            Value::Record(record) => match record.get(name, args) {
                Some(Ok(found)) => Ok(found),
                Some(Err(text)) => self.fail(node.at, node, text),
                None if record.open() => Ok(Value::Missing),
                None => {
                    let kind = record.type_name();
                    self.fail(node.at, node, format!("can't evaluate field {name} in type {kind}"))
                }
            },
            other => {
                // Strict runs are over raw JSON, where everything sits behind an interface.
                let kind = match self.mode {
                    Mode::Strict => "interface {}".into(),
                    Mode::Lenient => other.type_name(),
                };
                self.fail(node.at, node, format!("can't evaluate field {name} in type {kind}"))
            }
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Step<Value> {
        match &operand.kind {
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Nil => Ok(Value::Nil),
            OperandKind::Literal(value, _) => Ok(value.clone()),
            OperandKind::Field(names) => self.fields(dot.clone(), names, operand, &[], dot, None),
            OperandKind::Variable(name, names) => {
                let value = self.variable(name);
                self.fields(value, names, operand, &[], dot, None)
            }
            OperandKind::Chain(inner, names) => {
                let value = self.operand(inner, dot)?;
                self.fields(value, names, operand, &[], dot, None)
            }
            OperandKind::Pipe(pipe) => self.pipe(pipe, dot),
            OperandKind::Function(name) => {
                let command = Command { at: operand.at, operands: vec![operand.clone()] };
                self.function(name, &command, &[], dot, None)
            }
        }
    }

    fn function(
        &mut self,
        name: &str,
        command: &Command,
        rest: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Step<Value> {
        let node = &command.operands[0];
        let given = rest.len() + usize::from(last.is_some());
        if let Some(text) = functions::wrong_count(name, given) {
            return self.fail(node.at, node, text);
        }
        if name == "and" || name == "or" {
            return self.logic(name == "or", rest, dot, last);
        }
        let mut args = Vec::with_capacity(given);
        for (at, operand) in rest.iter().enumerate() {
            let value = self.operand(operand, dot)?;
            if !self.headers
                && let Some(text) = functions::wrong_type(name, at, &value)
            {
                return self.fail(operand.at, operand, text);
            }
            args.push(value);
        }
        if let Some(value) = last {
            if !self.headers
                && let Some(text) = functions::wrong_type(name, args.len(), &value)
            {
                return self.fail(command.at, command, text);
            }
            args.push(value);
        }
        if self.headers && functions::plain_in_headers(name) {
            return Ok(args.into_iter().find(|v| matches!(v, Value::Str(_))).unwrap_or(Value::Missing));
        }
        match functions::call(name, &args) {
            Ok(value) => Ok(value),
            Err(text) => self.fail(command.at, command, format!("error calling {name}: {text}")),
        }
    }

    /// `and` and `or` stop at the first argument that decides.
    fn logic(&mut self, or: bool, rest: &[Operand], dot: &Value, last: Option<Value>) -> Step<Value> {
        let mut value = Value::Missing;
        for operand in rest {
            value = self.operand(operand, dot)?;
            if value.is_true() == or {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }
}
