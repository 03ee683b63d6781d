//! What a build tells while it goes on.
//!
//! Vertices are told of before they start, in the Dockerfile's order. Several may be at work at once, so the events of different
//! vertices mix; those of one vertex come in this order: [`BuildEvent::Started`], then any of `Running`, `Log`, `Warning`, then `Done` or
//! `Failed`. Who shows them one after the other (as the classic builder's stream does) keeps the later ones back.

/// A vertex, by its number; numbers follow the Dockerfile's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(pub usize);

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// Its number.
    pub id: VertexId,
    /// As `BuildKit` shows it: `[build 2/4] RUN make`.
    pub name: String,
    /// The instruction as the classic builder shows it, variables expanded: `RUN make`.
    pub text: String,
    /// The classic builder's `Step 2/8`. `None`: a trigger of the base image, which has no number.
    pub step: Option<(usize, usize)>,
    /// The first line of the instruction in the Dockerfile.
    pub line: usize,
    /// The stage's name or number.
    pub stage: String,
    /// What has to be done before.
    pub inputs: Vec<VertexId>,
}

/// Where a program wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum BuildEvent {
    /// A vertex is known.
    Vertex(Vertex),
    /// A base image brings triggers; their vertices follow this one.
    Triggers {
        /// The `FROM`.
        vertex: VertexId,
        /// How many.
        count: usize,
    },
    /// It is at work.
    Started {
        /// Which.
        vertex: VertexId,
    },
    /// It runs in a container.
    Running {
        /// Which.
        vertex: VertexId,
        /// The container's id.
        container: String,
    },
    /// Its program wrote.
    Log {
        /// Which.
        vertex: VertexId,
        /// Where to.
        output: Output,
        /// What.
        bytes: Vec<u8>,
    },
    /// It is done with.
    Done {
        /// Which.
        vertex: VertexId,
        /// Nothing had to be done.
        cached: bool,
        /// What stands there now, `sha256:…`: an image's id for a `FROM` and for the last step, otherwise an id of the step's own, which stays the same as
        /// long as the step is found in the cache.
        image: String,
    },
    /// It failed, and the build with it.
    Failed {
        /// Which.
        vertex: VertexId,
        /// Why.
        message: String,
        /// The exit code of its program, if that is why.
        code: Option<i64>,
        /// The lines of the Dockerfile, an arrow at the instruction.
        excerpt: String,
    },
    /// Something is odd.
    Warning {
        /// Where, if at a step.
        vertex: Option<VertexId>,
        /// What, one sentence.
        message: String,
    },
}
