//! What a Dockerfile says, before any variable has a value.
//!
//! Texts are as written, quotes and `$` included, wherever the builder expands them later
//! ([`Instruction::expanded`] does); everything else is final.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::lint::Warning;

/// The largest file that is read: a Dockerfile is written by hand.
pub(crate) const MAX_BYTES: usize = 16 << 20;

/// A file's name and text, for quoting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As the user knows it: `Dockerfile`, `docker/web.Dockerfile`.
    pub name: Arc<str>,
    pub text: Arc<str>,
}

/// Lines, counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub first: u32,
    pub last: u32,
}

impl Span {
    pub fn lines(self) -> RangeInclusive<u32> {
        self.first..=self.last
    }
}

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    pub source: Source,
    pub directives: Directives,
    /// `ARG`s before the first `FROM`.
    pub globals: Vec<Step>,
    pub stages: Vec<Stage>,
    /// What the linter can only see in the text itself.
    pub(crate) remarks: Vec<Warning>,
    /// Every instruction's word as it was written.
    pub(crate) words: Vec<(String, Span)>,
}

/// `# name=value` comments at the head of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=docker/dockerfile:1`: kept, not followed: this parser is the frontend.
    pub syntax: Option<String>,
    /// `\` or a backtick.
    pub escape: char,
    /// Rules that `# check=skip=…` switches off; `all` for every one.
    pub skipped_checks: Vec<String>,
    /// `# check=experimental=…`: rules that are asked for by name.
    pub experimental_checks: Vec<String>,
    /// `# check=error=true`: a warning fails the build.
    pub checks_are_errors: bool,
}

/// One `FROM` with its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    pub from: From,
    /// The `FROM` line as written.
    pub text: String,
    pub span: Span,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// An image, an earlier stage's name, or `scratch`; may hold variables (of the globals).
    pub image: String,
    pub platform: Option<String>,
    /// `AS name`, in lower case.
    pub name: Option<String>,
}

/// One instruction where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// As written, continuation lines joined: what `Step 2/5 : …` shows.
    pub text: String,
    pub span: Span,
    pub instruction: Instruction,
}

/// An instruction other than `FROM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    Add(Transfer),
    Arg(Vec<Argument>),
    Cmd(Command),
    Copy(Transfer),
    Entrypoint(Command),
    Env(Vec<Pair>),
    /// Ports as written: `80`, `53/udp`, `8000-8010`; one word may become several when expanded.
    Expose(Vec<String>),
    Healthcheck(Healthcheck),
    Label(Vec<Pair>),
    Maintainer(String),
    /// The trigger as it goes into the image.
    Onbuild(String),
    Run(Run),
    Shell(Vec<String>),
    Stopsignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

/// `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub key: String,
    pub value: String,
}

/// `ARG name` or `ARG name=default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub default: Option<String>,
}

/// A command in one of its forms. Never expanded by the builder: its shell does that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `["program", "argument"]`
    Exec(Vec<String>),
    /// For the shell of the stage (`SHELL`).
    Shell(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub form: Form,
    pub mounts: Vec<Mount>,
    pub network: Network,
    pub security: Security,
    /// Flags that were written, by name.
    pub flags: Vec<String>,
    /// The mounts as written: their values are put in late.
    pub(crate) raw_mounts: Vec<String>,
}

/// What a `RUN` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    Exec(Vec<String>),
    /// For the shell; a here-document without a program is here the script itself, and one
    /// among words stands in the text so that the shell reads it.
    Shell(String),
    /// A here-document that begins with `#!`: a file called so, made executable, is what runs
    /// (at `/dev/pipes/NAME`).
    Script {
        name: String,
        content: String,
    },
}

/// `RUN --mount=…`. Every text may hold variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub kind: MountKind,
    /// Where in the container; empty for secrets and agents without a place.
    pub target: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    Bind(Bind),
    Cache {
        /// By default the target.
        id: String,
        readonly: bool,
        sharing: Sharing,
        /// What an empty cache begins as.
        from: Option<String>,
        source: String,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    Tmpfs {
        size: Option<u64>,
    },
    Secret {
        id: String,
        required: bool,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        /// Also, or only (empty target), as this variable.
        env: Option<String>,
    },
    Ssh {
        id: String,
        required: bool,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// A stage, an image or a named context; the build's context when none.
    pub from: Option<String>,
    /// Within it; `/` when not given.
    pub source: String,
    /// Writes are allowed, and thrown away.
    pub writable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    Shared,
    Private,
    Locked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Default,
    None,
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    Sandbox,
    Insecure,
}

/// What `COPY` and `ADD` share, and what each alone has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    pub sources: Vec<Copy>,
    pub target: String,
    /// A stage, its number, an image or a named context (`COPY` only).
    pub from: Option<String>,
    /// `user[:group]`, names or numbers.
    pub chown: Option<String>,
    /// Octal, or `u=rwX,go=rX`.
    pub chmod: Option<String>,
    pub link: bool,
    /// `COPY --parents`: a source's directories are made in the target.
    pub parents: bool,
    pub exclude: Vec<String>,
    /// `ADD` only.
    pub add: AddOptions,
    /// Flags that were written, by name.
    pub flags: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddOptions {
    /// `sha256:…` of what is fetched.
    pub checksum: Option<String>,
    pub keep_git_dir: bool,
    /// `--unpack`; by default local archives are, fetched ones are not.
    pub unpack: Option<bool>,
}

/// One source of a `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copy {
    /// A path with wildcards, or (`ADD`) a URL.
    Path(String),
    /// `<<name`: a file of this name and content.
    Inline(Heredoc),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// As it is in the file; leading tabs are gone where `<<-` asked for it.
    pub content: String,
    /// False when the name was quoted.
    pub expand: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    None,
    /// Times in nanoseconds; zero is "as before".
    Check {
        command: Command,
        interval: i64,
        timeout: i64,
        start_period: i64,
        start_interval: i64,
        retries: i64,
    },
}

impl Instruction {
    /// Its word, in capitals.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

impl Dockerfile {
    /// How many steps the classic builder counts, up to and including a stage.
    pub fn steps_through(&self, stage: usize) -> usize {
        self.globals.len()
            + self.stages.iter().take(stage + 1).map(|stage| 1 + stage.steps.len()).sum::<usize>()
    }

    /// The stage that a name or a number means.
    pub fn stage(&self, name: &str) -> Option<usize> {
        self.stages
            .iter()
            .position(|stage| stage.from.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name)))
            .or_else(|| name.parse().ok().filter(|index| *index < self.stages.len()))
    }
}
