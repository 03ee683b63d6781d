//! What variables mean at one place of a file.
//!
//! `ENV` beats `ARG`; a value given for the build beats an `ARG`'s default, which beats the value of an `ARG`
//! before the first `FROM`. A name that nobody declared is unset, even when it was given for the build, except
//! that `RUN` sees the proxies.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Argument, Pair};
use crate::error::Error;
use crate::words;

/// Proxy variables that need no `ARG`.
const PROXIES: &[&str] = &[
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// A platform's three words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(out, "/{}", self.variant) }
    }
}

/// What a build is given from outside the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// `--build-arg`.
    pub arguments: BTreeMap<String, String>,
    /// Where the build runs, and what it is for.
    pub build: Platform,
    pub target: Platform,
    /// `--target`, for `TARGETSTAGE`.
    pub stage: Option<String>,
}

/// The variables at one place.
#[derive(Debug, Clone)]
pub struct Scope {
    escape: char,
    given: Arc<Given>,
    /// The `ARG`s before the first `FROM`, and the platforms' own.
    globals: Arc<BTreeMap<String, String>>,
    /// The image's environment, with what `ENV` added; in order, as it goes into the image.
    environment: Vec<(String, String)>,
    /// What `ARG` declared in this stage, in order.
    declared: Vec<(String, Option<String>)>,
    /// Whether this is outside any stage, where the globals need no `ARG`.
    outside: bool,
}

impl Scope {
    /// Whether a variable may be given for a build though no `ARG` asks for it.
    #[must_use]
    pub fn is_predefined(name: &str) -> bool {
        PROXIES.contains(&name) || name == "SOURCE_DATE_EPOCH" || name.starts_with("BUILDKIT_")
    }

    /// The scope of the `FROM` lines: the platforms' variables and what the globals declare.
    ///
    /// # Errors
    /// When a default of one of them cannot be expanded.
    pub fn of_globals(file: &crate::ast::Dockerfile, given: Arc<Given>) -> Result<Self, Error> {
        let mut scope = Self {
            escape: file.directives.escape,
            globals: Arc::new(platform_variables(&given)),
            given,
            environment: Vec::new(),
            declared: Vec::new(),
            outside: true,
        };
        for step in &file.globals {
            if let crate::ast::Instruction::Arg(arguments) =
                step.instruction.expanded(&scope).map_err(|error| error.at(step.span))?
            {
                let mut globals = BTreeMap::clone(&scope.globals);
                for argument in arguments {
                    let value = scope.given.arguments.get(&argument.name).cloned().or(argument.default);
                    if let Some(value) = value {
                        globals.insert(argument.name, value);
                    }
                }
                scope.globals = Arc::new(globals);
            }
        }
        Ok(scope)
    }

    /// The scope at the head of a stage whose base has this environment (`NAME=value`).
    #[must_use]
    pub fn of_stage(&self, environment: &[String]) -> Self {
        let split = |entry: &String| match entry.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (entry.clone(), String::new()),
        };
        Self {
            escape: self.escape,
            given: Arc::clone(&self.given),
            globals: Arc::clone(&self.globals),
            environment: environment.iter().map(split).collect(),
            declared: Vec::new(),
            outside: false,
        }
    }

    /// A stage that stands on another sees the other's declarations as well.
    #[must_use]
    pub fn continued(&self, environment: &[String]) -> Self {
        let mut scope = self.of_stage(environment);
        scope.declared.clone_from(&self.declared);
        scope
    }

    /// A scope for one instruction alone (`commit --change`, a trigger's parts).
    pub fn of_environment(environment: &[String]) -> Self {
        let empty = Self {
            escape: '\\',
            given: Arc::default(),
            globals: Arc::default(),
            environment: Vec::new(),
            declared: Vec::new(),
            outside: false,
        };
        empty.of_stage(environment)
    }

    /// `ARG`, once expanded.
    pub fn declare(&mut self, arguments: &[Argument]) {
        for argument in arguments {
            let value = self
                .given
                .arguments
                .get(&argument.name)
                .or(argument.default.as_ref())
                .or_else(|| self.globals.get(&argument.name))
                .cloned();
            self.declared.retain(|(name, _)| *name != argument.name);
            self.declared.push((argument.name.clone(), value));
        }
    }

    /// `ENV`, once expanded.
    pub fn set(&mut self, pairs: &[Pair]) {
        for pair in pairs {
            match self.environment.iter_mut().find(|(name, _)| *name == pair.key) {
                Some(entry) => entry.1.clone_from(&pair.value),
                None => self.environment.push((pair.key.clone(), pair.value.clone())),
            }
        }
    }

    /// A variable's value here; nothing when it is unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        let of = |list: &'_ Vec<(String, String)>| list.iter().position(|(own, _)| own == name);
        if let Some(index) = of(&self.environment) {
            return Some(&self.environment[index].1);
        }
        if let Some((_, value)) = self.declared.iter().find(|(own, _)| own == name) {
            return value.as_deref();
        }
        // A stage has to declare the globals that it wants.
        if self.outside { self.globals.get(name).map(String::as_str) } else { None }
    }

    /// The environment as it goes into the image: `NAME=value`.
    pub fn environment(&self) -> Vec<String> {
        self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// What `RUN` has besides the image's environment: declared arguments with a value, proxies that were given.
    pub fn arguments(&self) -> Vec<(String, String)> {
        let in_environment = |name: &str| self.environment.iter().any(|(own, _)| own == name);
        let declared = self.declared.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        let proxies = PROXIES
            .iter()
            .filter(|name| !self.declared.iter().any(|(own, _)| own == *name))
            .filter_map(|name| Some(((*name).to_owned(), self.given.arguments.get(*name)?.clone())));
        declared.chain(proxies).filter(|(name, _)| !in_environment(name)).collect()
    }

    /// The same without proxies that nobody declared: what the cache looks at (a proxy changes no result).
    pub fn cached_arguments(&self) -> Vec<(String, String)> {
        let mut all = self.arguments();
        all.retain(|(name, _)| self.declared.iter().any(|(own, _)| own == name));
        all
    }

    /// Puts values in, and takes quotes off.
    ///
    /// # Errors
    /// When a substitution is malformed, or demands a variable that is unset.
    pub fn expand(&self, text: &str) -> Result<String, Error> {
        words::expand(text, self.escape, &|name| self.get(name))
    }

    /// The same, split at blanks outside quotes; a value with blanks becomes several words.
    ///
    /// # Errors
    /// As [`Scope::expand`].
    pub fn expand_words(&self, text: &str) -> Result<Vec<String>, Error> {
        words::expand_words(text, self.escape, &|name| self.get(name))
    }

    /// A here-document's text, where quotes are letters.
    pub(crate) fn expand_document(&self, text: &str) -> Result<String, Error> {
        words::expand_document(text, self.escape, &|name| self.get(name))
    }
}

fn platform_variables(given: &Given) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (prefix, platform) in [("BUILD", &given.build), ("TARGET", &given.target)] {
        all.insert(format!("{prefix}PLATFORM"), platform.to_string());
        all.insert(format!("{prefix}OS"), platform.os.clone());
        all.insert(format!("{prefix}ARCH"), platform.architecture.clone());
        all.insert(format!("{prefix}VARIANT"), platform.variant.clone());
    }
    all.insert("TARGETSTAGE".to_owned(), given.stage.clone().unwrap_or_else(|| "default".to_owned()));
    for (name, value) in &mut all {
        if let Some(own) = given.arguments.get(name) {
            value.clone_from(own);
        }
    }
    all
}
