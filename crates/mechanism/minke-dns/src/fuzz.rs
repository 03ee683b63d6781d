//! What strangers' bytes reach, as plain functions: for property tests and fuzzers. Not for use.

use crate::{
    lookup::{Outcome, Sight, Tables},
    view::{NetworkNames, View},
    wire::{self, Answer, Code, Fault, LONGEST, PLAIN, Question},
};

/// What the thread does with a datagram, without sockets.
#[derive(Debug)]
pub struct Desk {
    tables: Tables,
    sight: Sight,
}

impl Desk {
    /// For one container.
    #[must_use]
    pub fn new(networks: &[NetworkNames], view: &View) -> Self {
        let mut tables = Tables::default();
        for network in networks {
            tables.of(&network.id).borrow_mut().update(network.clone());
        }
        let sight = Sight::new(view.clone(), &mut tables, None);
        Self { tables, sight }
    }

    /// Writes what the container would be told, and gives its length: `None` for silence, and for what would be passed on.
    pub fn answer(&self, query: &[u8], buffer: &mut [u8], by_stream: bool) -> Option<usize> {
        match Question::read(query) {
            Ok(question) => {
                let limit = if by_stream { LONGEST } else { question.limit() };
                match self.sight.answer(&question, &self.tables, buffer, limit) {
                    Outcome::Answered(length) => Some(length),
                    Outcome::Forward => None,
                }
            }
            Err(Fault::Silent) => None,
            Err(Fault::Answer(code)) => Some(wire::answer_fault(query, buffer, code)),
        }
    }
}

/// What a container would be told: `None` for silence, and for what would be passed on.
#[must_use]
pub fn answer(networks: &[NetworkNames], view: &View, query: &[u8], by_stream: bool) -> Option<Vec<u8>> {
    let mut buffer = vec![0; if by_stream { LONGEST } else { 4096 }];
    let length = Desk::new(networks, view).answer(query, &mut buffer, by_stream)?;
    buffer.truncate(length);
    Some(buffer)
}

/// Whether a server's answer to this question would be believed; what its asker would get of it.
#[must_use]
pub fn believe(query: &[u8], answer: &[u8], limit: usize) -> Option<Vec<u8>> {
    let question = Question::read(query).ok()?;
    if !question.is_answered_by(answer, wire::id(query)?) {
        return None;
    }
    let mut answer = answer.to_vec();
    wire::truncate(&mut answer, limit.max(PLAIN));
    Some(answer)
}

/// Name, type, class and size limit as they are read from a question.
#[must_use]
pub fn read(query: &[u8]) -> Option<(Vec<u8>, u16, u16, usize)> {
    let question = Question::read(query).ok()?;
    Some((question.name.as_bytes().to_vec(), question.kind, question.class, question.limit()))
}

/// The answer that nothing can be said, to whatever was asked.
#[must_use]
pub fn failure(query: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; PLAIN];
    let length = match Question::read(query) {
        Ok(question) => Answer::to(&question, &mut buffer, PLAIN).finish(Code::ServFail),
        Err(_) => wire::answer_fault(query, &mut buffer, Code::ServFail),
    };
    buffer.truncate(length);
    buffer
}
