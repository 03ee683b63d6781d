//! Tokens to a tree, with Go's parse errors.
//!
//! The tree is small on purpose: lists of nodes, pipelines, commands, operands. Nesting is limited, so hostile
//! templates end in an error and not in a stack overflow.

use crate::functions;
use crate::lex::{Kind, Token, parse_number, tokens};
use crate::value::Value;
use std::fmt;

/// Deeper nesting than any template a person writes.
const MAX_DEPTH: usize = 100;

/// A template that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("template: {name}:{line}: {message}")]
pub struct ParseError {
    /// The template's name; most of docker's have none.
    pub name: &'static str,
    pub line: usize,
    pub message: String,
}

impl ParseError {
    pub(crate) fn at(text: &str, at: usize, message: impl Into<String>) -> ParseError {
        let line = 1 + text[..at.min(text.len())].matches('\n').count();
        ParseError { name: "", line, message: message.into() }
    }

    /// The error of a template called `name`.
    #[must_use]
    pub fn named(self, name: &'static str) -> ParseError {
        ParseError { name, ..self }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(String),
    Action(Pipe),
    If { pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    With { pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    Range { pipe: Pipe, each: Vec<Node>, otherwise: Vec<Node> },
    Break,
    Continue,
}

#[derive(Debug, Clone)]
pub(crate) struct Pipe {
    pub(crate) at: usize,
    pub(crate) variables: Vec<String>,
    pub(crate) assign: bool,
    pub(crate) commands: Vec<Command>,
}

#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) at: usize,
    pub(crate) operands: Vec<Operand>,
}

#[derive(Debug, Clone)]
pub(crate) struct Operand {
    pub(crate) at: usize,
    pub(crate) kind: OperandKind,
}

#[derive(Debug, Clone)]
pub(crate) enum OperandKind {
    Dot,
    Nil,
    Literal(Value, String),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Chain(Box<Operand>, Vec<String>),
    Pipe(Box<Pipe>),
    Function(String),
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, names: &[String]| {
            names.iter().try_for_each(|name| write!(f, ".{name}"))
        };
        match &self.kind {
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Literal(_, raw) => f.write_str(raw),
            OperandKind::Field(names) => fields(f, names),
            OperandKind::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            OperandKind::Chain(inner, names) => {
                write!(f, "{inner}")?;
                fields(f, names)
            }
            OperandKind::Pipe(pipe) => write!(f, "({pipe})"),
            OperandKind::Function(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, operand) in self.operands.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{operand}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assign { "=" } else { ":=" })?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            if at > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{command}")?;
        }
        Ok(())
    }
}

/// A parsed template; running it is in `exec.rs`.
#[derive(Debug, Clone)]
pub struct Template {
    pub(crate) text: String,
    pub(crate) nodes: Vec<Node>,
}

impl Template {
    /// Parses `text`.
    pub fn parse(text: &str) -> Result<Template, ParseError> {
        let tokens = tokens(text)?;
        let mut parser = Parser { text, tokens, at: 0, scopes: vec!["$".to_owned()], depth: 0, loops: 0 };
        let (nodes, end) = parser.list(true)?;
        debug_assert!(matches!(end, End::Eof), "the top list ends at the end of the text");
        Ok(Template { text: text.to_owned(), nodes })
    }

    /// Whether a field called `name` is read anywhere: lets a command fetch costly data only when it is shown.
    pub fn mentions(&self, name: &str) -> bool {
        self.nodes.iter().any(|n| node_mentions(n, name))
    }
}

fn node_mentions(node: &Node, name: &str) -> bool {
    let list = |nodes: &[Node]| nodes.iter().any(|n| node_mentions(n, name));
    match node {
        Node::Text(_) | Node::Break | Node::Continue => false,
        Node::Action(pipe) => pipe_mentions(pipe, name),
        Node::If { pipe, then, otherwise }
        | Node::With { pipe, then, otherwise }
        | Node::Range { pipe, each: then, otherwise } => {
            pipe_mentions(pipe, name) || list(then) || list(otherwise)
        }
    }
}

fn pipe_mentions(pipe: &Pipe, name: &str) -> bool {
    pipe.commands.iter().flat_map(|c| &c.operands).any(|o| operand_mentions(o, name))
}

fn operand_mentions(operand: &Operand, name: &str) -> bool {
    match &operand.kind {
        OperandKind::Field(names) | OperandKind::Variable(_, names) => names.iter().any(|n| n == name),
        OperandKind::Chain(inner, names) => names.iter().any(|n| n == name) || operand_mentions(inner, name),
        OperandKind::Pipe(pipe) => pipe_mentions(pipe, name),
        // The whole row is looked at, so everything is.
        OperandKind::Dot => true,
        _ => false,
    }
}

enum End {
    Eof,
    Closed,
    Else,
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    /// Variables in scope, innermost last.
    scopes: Vec<String>,
    depth: usize,
    loops: usize,
}

impl Parser<'_> {
    fn fail<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        let at = self.tokens.get(self.at).map_or(self.text.len(), |t| t.at);
        Err(ParseError::at(self.text, at, message))
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|t| &t.kind)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn spaces(&mut self) {
        while self.peek() == Some(&Kind::Space) {
            self.at += 1;
        }
    }

    fn deeper(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.fail("nested too deeply") } else { Ok(()) }
    }

    /// Nodes up to the end of the text or the `end`/`else` that closes this list.
    fn list(&mut self, top: bool) -> Result<(Vec<Node>, End), ParseError> {
        self.deeper()?;
        let mut nodes = Vec::new();
        loop {
            let Some(token) = self.next() else {
                self.depth -= 1;
                return if top { Ok((nodes, End::Eof)) } else { self.fail("unexpected EOF") };
            };
            match token.kind {
                Kind::Text(text) => nodes.push(Node::Text(text)),
                Kind::Open => {
                    self.spaces();
                    let word = match self.peek() {
                        Some(Kind::Word(word)) => word.clone(),
                        _ => String::new(),
                    };
                    match word.as_str() {
                        "end" | "else" => {
                            if top {
                                return self.fail(format!("unexpected {{{{{word}}}}}"));
                            }
                            self.at += 1;
                            self.depth -= 1;
                            if word == "else" {
                                return Ok((nodes, End::Else));
                            }
                            self.close("end")?;
                            return Ok((nodes, End::Closed));
                        }
                        _ => nodes.push(self.node(&word)?),
                    }
                }
                _ => return self.fail(format!("unexpected {:?}", token.raw)),
            }
        }
    }

    fn close(&mut self, context: &str) -> Result<(), ParseError> {
        self.spaces();
        match self.next() {
            Some(Token { kind: Kind::Close, .. }) => Ok(()),
            Some(token) => {
                self.at -= 1;
                self.fail(format!("unexpected {} in {context}", shown(&token)))
            }
            None => self.fail("unclosed action"),
        }
    }

    fn node(&mut self, word: &str) -> Result<Node, ParseError> {
        match word {
            "if" => {
                self.at += 1;
                let (pipe, then, otherwise) = self.branch("if")?;
                Ok(Node::If { pipe, then, otherwise })
            }
            "with" => {
                self.at += 1;
                let (pipe, then, otherwise) = self.branch("with")?;
                Ok(Node::With { pipe, then, otherwise })
            }
            "range" => {
                self.at += 1;
                self.loops += 1;
                let (pipe, each, otherwise) = self.branch("range")?;
                Ok(Node::Range { pipe, each, otherwise })
            }
            "break" | "continue" => {
                if self.loops == 0 {
                    return self.fail(format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                self.at += 1;
                self.close(&format!("{{{{{word}}}}}"))?;
                Ok(if word == "break" { Node::Break } else { Node::Continue })
            }
            "define" | "template" | "block" => {
                self.fail(format!("{{{{{word}}}}} is not supported in --format templates"))
            }
            _ => {
                let pipe = self.pipeline("command", true)?;
                Ok(Node::Action(pipe))
            }
        }
    }

    /// The rest of `if`, `with` or `range`, with `else if` and `else with` folded into nested nodes.
    fn branch(&mut self, word: &str) -> Result<(Pipe, Vec<Node>, Vec<Node>), ParseError> {
        let scope = self.scopes.len();
        let pipe = self.pipeline(word, true)?;
        let (then, end) = self.list(false)?;
        if word == "range" {
            self.loops -= 1;
        }
        let mut otherwise = Vec::new();
        if matches!(end, End::Else) {
            self.spaces();
            let chained = matches!(self.peek(), Some(Kind::Word(w)) if w == word && word != "range");
            if chained {
                self.deeper()?;
                self.at += 1;
                let (pipe, then, rest) = self.branch(word)?;
                self.depth -= 1;
                otherwise.push(match word {
                    "if" => Node::If { pipe, then, otherwise: rest },
                    _ => Node::With { pipe, then, otherwise: rest },
                });
            } else {
                self.close("else")?;
                let (nodes, end) = self.list(false)?;
                if matches!(end, End::Else) {
                    return self.fail("expected end; found {{else}}");
                }
                otherwise = nodes;
            }
        }
        self.scopes.truncate(scope);
        Ok((pipe, then, otherwise))
    }

    /// A pipeline up to `}}` or, in parentheses, up to `)`.
    fn pipeline(&mut self, context: &str, braces: bool) -> Result<Pipe, ParseError> {
        self.deeper()?;
        self.spaces();
        let at = self.tokens.get(self.at).map_or(self.text.len(), |t| t.at);
        let mut pipe = Pipe { at, variables: Vec::new(), assign: false, commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            self.spaces();
            match self.peek() {
                Some(Kind::Close) if braces => break,
                Some(Kind::Unparen) if !braces => break,
                None => return self.fail("unclosed action"),
                _ => {
                    let command = self.command(context)?;
                    let first = pipe.commands.is_empty();
                    if !first
                        && let OperandKind::Literal(..) | OperandKind::Nil | OperandKind::Dot =
                            command.operands[0].kind
                    {
                        let stage = pipe.commands.len() + 1;
                        return self.fail(format!("non executable command in pipeline stage {stage}"));
                    }
                    pipe.commands.push(command);
                    self.spaces();
                    if self.peek() == Some(&Kind::Pipe) {
                        self.at += 1;
                        self.spaces();
                        if matches!(self.peek(), Some(Kind::Close | Kind::Unparen)) {
                            return self.fail(format!("missing value for {context}"));
                        }
                    }
                }
            }
        }
        if pipe.commands.is_empty() {
            return self.fail(format!("missing value for {context}"));
        }
        self.at += 1;
        self.depth -= 1;
        Ok(pipe)
    }

    /// `$x := `, `$x = ` and in `range` also `$i, $x := `.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), ParseError> {
        let start = self.at;
        let mut names = Vec::new();
        loop {
            self.spaces();
            let Some(Kind::Variable(name)) = self.peek().cloned() else { break };
            self.at += 1;
            names.push(name);
            self.spaces();
            match self.peek() {
                Some(Kind::Declare | Kind::Assign) => {
                    pipe.assign = self.peek() == Some(&Kind::Assign);
                    self.at += 1;
                    for name in &names {
                        if pipe.assign {
                            self.known(name)?;
                        } else {
                            self.scopes.push(name.clone());
                        }
                    }
                    pipe.variables = names;
                    return Ok(());
                }
                Some(Kind::Comma) if context == "range" && names.len() == 1 => self.at += 1,
                Some(Kind::Comma) => return self.fail(format!("too many declarations in {context}")),
                _ => break,
            }
        }
        if names.len() > 1 {
            return self.fail("range can only initialize variables");
        }
        self.at = start;
        Ok(())
    }

    fn known(&self, name: &str) -> Result<(), ParseError> {
        if self.scopes.iter().any(|s| s == name) {
            Ok(())
        } else {
            self.fail(format!("undefined variable {name:?}"))
        }
    }

    fn command(&mut self, context: &str) -> Result<Command, ParseError> {
        let at = self.tokens.get(self.at).map_or(self.text.len(), |t| t.at);
        let mut operands = Vec::new();
        loop {
            self.spaces();
            match self.peek() {
                Some(Kind::Close | Kind::Unparen | Kind::Pipe) | None => break,
                _ => {}
            }
            operands.push(self.operand()?);
            match self.peek() {
                Some(Kind::Space | Kind::Close | Kind::Unparen | Kind::Pipe) => {}
                None => return self.fail("unclosed action"),
                Some(_) => {
                    let token = self.tokens[self.at].clone();
                    return self.fail(format!("unexpected {} in operand", shown(&token)));
                }
            }
        }
        if operands.is_empty() {
            return if context == "command" && self.peek() == Some(&Kind::Pipe) {
                self.fail("missing value for command")
            } else {
                self.fail("empty command")
            };
        }
        Ok(Command { at, operands })
    }

    fn operand(&mut self) -> Result<Operand, ParseError> {
        let Some(token) = self.next() else { return self.fail("unclosed action") };
        let at = token.at;
        let kind = match token.kind {
            Kind::Dot => OperandKind::Dot,
            Kind::Field(name) => OperandKind::Field(vec![name]),
            Kind::Variable(name) => {
                self.known(&name)?;
                OperandKind::Variable(name, Vec::new())
            }
            Kind::Str(value) => OperandKind::Literal(Value::str(value), token.raw),
            Kind::Char(c) => OperandKind::Literal(Value::Int((c as u32).into()), token.raw),
            Kind::Number(ref text) => match parse_number(text) {
                Some(value) => OperandKind::Literal(value, token.raw),
                None => return self.fail(format!("bad number syntax: {text:?}")),
            },
            Kind::Word(word) => match word.as_str() {
                "true" => OperandKind::Literal(Value::Bool(true), word),
                "false" => OperandKind::Literal(Value::Bool(false), word),
                "nil" => OperandKind::Nil,
                _ if functions::known(&word) => OperandKind::Function(word),
                _ => {
                    self.at -= 1;
                    return self.fail(format!("function {word:?} not defined"));
                }
            },
            Kind::Paren => {
                let pipe = self.pipeline("parenthesized pipeline", false)?;
                OperandKind::Pipe(Box::new(pipe))
            }
            _ => {
                self.at -= 1;
                return self.fail(format!("unexpected {} in command", shown(&token)));
            }
        };
        self.chain(Operand { at, kind })
    }

    /// `.Name` parts that follow an operand without a blank.
    fn chain(&mut self, first: Operand) -> Result<Operand, ParseError> {
        let Some(Kind::Field(_)) = self.peek() else { return Ok(first) };
        // Go gives a chain the position of its second part; error texts show it.
        let at = self.tokens[self.at].at;
        let mut names = Vec::new();
        while let Some(Kind::Field(name)) = self.peek() {
            names.push(name.clone());
            self.at += 1;
        }
        let kind = match first.kind {
            OperandKind::Field(mut fields) => {
                fields.extend(names);
                OperandKind::Field(fields)
            }
            OperandKind::Variable(name, mut fields) => {
                fields.extend(names);
                OperandKind::Variable(name, fields)
            }
            OperandKind::Literal(..) | OperandKind::Nil | OperandKind::Dot => {
                return self.fail(format!("unexpected . after term {:?}", first.to_string()));
            }
            _ => OperandKind::Chain(Box::new(first), names),
        };
        Ok(Operand { at, kind })
    }
}

fn shown(token: &Token) -> String {
    match &token.kind {
        Kind::Dot => "<.>".to_owned(),
        Kind::Word(word)
            if matches!(word.as_str(), "if" | "else" | "end" | "range" | "with" | "break" | "continue") =>
        {
            format!("<{word}>")
        }
        _ => format!("{:?}", token.raw),
    }
}
