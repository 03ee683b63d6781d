//! An instruction with the values of its variables put in, where Docker puts them in.

use crate::ast::{Argument, Copy, Heredoc, Instruction, Pair, Run, Step, Transfer};
use crate::error::Error;
use crate::mounts;
use crate::scope::Scope;

impl Step {
    /// The instruction as it is to be done: variables replaced, quotes taken off.
    ///
    /// # Errors
    /// When a substitution is malformed or demands what is unset; the error says which lines.
    pub fn expanded(&self, scope: &Scope) -> Result<Instruction, Error> {
        self.instruction.expanded(scope).map_err(|error| error.at(self.span))
    }
}

impl Instruction {
    /// As [`Step::expanded`], without a place.
    ///
    /// # Errors
    /// As [`Step::expanded`].
    pub fn expanded(&self, scope: &Scope) -> Result<Self, Error> {
        let one = |text: &String| scope.expand(text);
        Ok(match self {
            Self::Add(transfer) => Self::Add(expand_transfer(transfer, scope)?),
            Self::Copy(transfer) => Self::Copy(expand_transfer(transfer, scope)?),
            Self::Arg(arguments) => Self::Arg(
                arguments
                    .iter()
                    .map(|argument| {
                        let default = argument.default.as_ref().map(one).transpose()?;
                        Ok(Argument { name: one(&argument.name)?, default })
                    })
                    .collect::<Result<_, Error>>()?,
            ),
            Self::Env(pairs) => Self::Env(expand_pairs(pairs, scope)?),
            Self::Label(pairs) => Self::Label(expand_pairs(pairs, scope)?),
            Self::Expose(ports) => {
                let mut all = Vec::new();
                for port in ports {
                    all.extend(scope.expand_words(port)?);
                }
                Self::Expose(all)
            }
            Self::Stopsignal(text) => Self::Stopsignal(one(text)?),
            Self::User(text) => Self::User(one(text)?),
            Self::Workdir(text) => Self::Workdir(one(text)?),
            Self::Volume(paths) => Self::Volume(paths.iter().map(one).collect::<Result<_, _>>()?),
            Self::Run(run) => Self::Run(expand_run(run, scope)?),
            // Their shell, or nobody, expands these; a trigger is expanded where it fires.
            Self::Cmd(_)
            | Self::Entrypoint(_)
            | Self::Healthcheck(_)
            | Self::Maintainer(_)
            | Self::Onbuild(_)
            | Self::Shell(_) => self.clone(),
        })
    }
}

fn expand_pairs(pairs: &[Pair], scope: &Scope) -> Result<Vec<Pair>, Error> {
    pairs
        .iter()
        .map(|pair| Ok(Pair { key: scope.expand(&pair.key)?, value: scope.expand(&pair.value)? }))
        .collect()
}

fn expand_run(run: &Run, scope: &Scope) -> Result<Run, Error> {
    let mut mounts = Vec::with_capacity(run.raw_mounts.len());
    for raw in &run.raw_mounts {
        mounts.extend(mounts::parse(raw, Some(&|text| scope.expand(text)))?);
    }
    Ok(Run { mounts, ..run.clone() })
}

fn expand_transfer(transfer: &Transfer, scope: &Scope) -> Result<Transfer, Error> {
    let optional = |text: &Option<String>| text.as_ref().map(|text| scope.expand(text)).transpose();
    let sources = transfer.sources.iter().map(|source| {
        Ok(match source {
            Copy::Path(path) => Copy::Path(scope.expand(path)?),
            Copy::Inline(document) if document.expand => Copy::Inline(Heredoc {
                name: document.name.clone(),
                content: scope.expand_document(&document.content)?,
                expand: true,
            }),
            Copy::Inline(document) => Copy::Inline(document.clone()),
        })
    });
    let mut add = transfer.add.clone();
    add.checksum = optional(&add.checksum)?;
    Ok(Transfer {
        sources: sources.collect::<Result<_, Error>>()?,
        target: scope.expand(&transfer.target)?,
        from: optional(&transfer.from)?,
        chown: optional(&transfer.chown)?,
        chmod: optional(&transfer.chmod)?,
        exclude: transfer.exclude.iter().map(|pattern| scope.expand(pattern)).collect::<Result<_, _>>()?,
        add,
        ..transfer.clone()
    })
}
