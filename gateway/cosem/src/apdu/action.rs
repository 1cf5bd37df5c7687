//! ACTION (IEC 62056-5-3 clause 6.8): requests and responses, normal, by blocks, with list.

use super::get::{GetResult, put_result, read_result};
use super::set::{Block, put_values, read_values};
use super::{ActionResult, DataAccessError, InvokePriority, MethodRef, tag};
use crate::axdr::{Reader, put_length};
use crate::data::Data;
use crate::error::Error;

/// What one method answers: its result, and what it returns (which can be a reason of its own).
#[derive(Debug, Clone, PartialEq)]
pub struct ActionAnswer {
    /// Done or reason.
    pub result: ActionResult,
    /// Return parameters.
    pub returned: Option<GetResult>,
}

/// action-request.
#[derive(Debug, Clone, PartialEq)]
pub enum ActionRequest {
    /// Choice 1.
    Normal {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// What is invoked.
        method: MethodRef,
        /// With what.
        parameters: Option<Data>,
    },
    /// Choice 2: the block after `block` is wanted.
    Next {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Number of the last block received.
        block: u32,
    },
    /// Choice 3.
    WithList {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// What is invoked.
        list: Vec<MethodRef>,
        /// With what, one for each.
        parameters: Vec<Data>,
    },
    /// Choice 4.
    FirstBlock {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// What is invoked.
        method: MethodRef,
        /// First piece of the encoded parameters.
        block: Block,
    },
    /// Choice 5.
    WithListFirstBlock {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// What is invoked.
        list: Vec<MethodRef>,
        /// First piece of the encoded list of parameters.
        block: Block,
    },
    /// Choice 6.
    Block {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Next piece.
        block: Block,
    },
}

/// action-response.
#[derive(Debug, Clone, PartialEq)]
pub enum ActionResponse {
    /// Choice 1.
    Normal {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// The answer.
        answer: ActionAnswer,
    },
    /// Choice 2: a piece of the encoded answer.
    Block {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// The piece.
        block: Block,
    },
    /// Choice 3.
    WithList {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// The answers.
        answers: Vec<ActionAnswer>,
    },
    /// Choice 4: the block was taken, the next is wanted.
    Next {
        /// Invoke id and priority.
        invoke: InvokePriority,
        /// Number of the block taken.
        block: u32,
    },
}

impl ActionAnswer {
    /// Takes a result and the optional return parameters.
    ///
    /// # Errors
    /// `Malformed` when the return parameters are.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let result = DataAccessError::check(reader.u8()?);
        let returned = if reader.flag()? { Some(read_result(reader)?) } else { None };
        Ok(Self { result, returned })
    }

    /// Appends the result and the optional return parameters.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(DataAccessError::octet_of(self.result));
        match &self.returned {
            None => out.push(0),
            Some(returned) => {
                out.push(1);
                put_result(returned, out);
            }
        }
    }
}

impl ActionRequest {
    /// Invoke id and priority.
    #[must_use]
    pub const fn invoke(&self) -> InvokePriority {
        match self {
            Self::Normal { invoke, .. }
            | Self::Next { invoke, .. }
            | Self::WithList { invoke, .. }
            | Self::FirstBlock { invoke, .. }
            | Self::WithListFirstBlock { invoke, .. }
            | Self::Block { invoke, .. } => *invoke,
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let choice = reader.u8()?;
        let invoke = InvokePriority(reader.u8()?);
        match choice {
            1 => {
                let method = MethodRef::read(reader)?;
                let parameters = if reader.flag()? { Some(Data::from_axdr(reader)?) } else { None };
                Ok(Self::Normal { invoke, method, parameters })
            }
            2 => Ok(Self::Next { invoke, block: reader.u32()? }),
            3 => {
                let list = read_methods(reader)?;
                let parameters = read_values(reader)?;
                if parameters.len() != list.len() {
                    return Err(reader.malformed("as many parameters as methods are needed"));
                }
                Ok(Self::WithList { invoke, list, parameters })
            }
            4 => {
                let method = MethodRef::read(reader)?;
                Ok(Self::FirstBlock { invoke, method, block: Block::read(reader)? })
            }
            5 => {
                let list = read_methods(reader)?;
                Ok(Self::WithListFirstBlock { invoke, list, block: Block::read(reader)? })
            }
            6 => Ok(Self::Block { invoke, block: Block::read(reader)? }),
            _ => Err(reader.malformed("unknown choice of action-request")),
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(tag::ACTION_REQUEST);
        match self {
            Self::Normal { invoke, method, parameters } => {
                out.extend_from_slice(&[1, invoke.0]);
                method.put(out);
                out.push(u8::from(parameters.is_some()));
                if let Some(parameters) = parameters {
                    parameters.encode(out);
                }
            }
            Self::Next { invoke, block } => {
                out.extend_from_slice(&[2, invoke.0]);
                out.extend_from_slice(&block.to_be_bytes());
            }
            Self::WithList { invoke, list, parameters } => {
                out.extend_from_slice(&[3, invoke.0]);
                put_methods(list, out);
                put_values(parameters, out);
            }
            Self::FirstBlock { invoke, method, block } => {
                out.extend_from_slice(&[4, invoke.0]);
                method.put(out);
                block.put(out);
            }
            Self::WithListFirstBlock { invoke, list, block } => {
                out.extend_from_slice(&[5, invoke.0]);
                put_methods(list, out);
                block.put(out);
            }
            Self::Block { invoke, block } => {
                out.extend_from_slice(&[6, invoke.0]);
                block.put(out);
            }
        }
    }
}

impl ActionResponse {
    /// Invoke id and priority.
    #[must_use]
    pub const fn invoke(&self) -> InvokePriority {
        match self {
            Self::Normal { invoke, .. }
            | Self::Block { invoke, .. }
            | Self::WithList { invoke, .. }
            | Self::Next { invoke, .. } => *invoke,
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let choice = reader.u8()?;
        let invoke = InvokePriority(reader.u8()?);
        match choice {
            1 => Ok(Self::Normal { invoke, answer: ActionAnswer::read(reader)? }),
            2 => Ok(Self::Block { invoke, block: Block::read(reader)? }),
            3 => {
                let count = reader.count()?;
                let mut answers = Vec::with_capacity(count.min(64));
                for _ in 0..count {
                    answers.push(ActionAnswer::read(reader)?);
                }
                Ok(Self::WithList { invoke, answers })
            }
            4 => Ok(Self::Next { invoke, block: reader.u32()? }),
            _ => Err(reader.malformed("unknown choice of action-response")),
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(tag::ACTION_RESPONSE);
        match self {
            Self::Normal { invoke, answer } => {
                out.extend_from_slice(&[1, invoke.0]);
                answer.put(out);
            }
            Self::Block { invoke, block } => {
                out.extend_from_slice(&[2, invoke.0]);
                block.put(out);
            }
            Self::WithList { invoke, answers } => {
                out.extend_from_slice(&[3, invoke.0]);
                put_length(out, answers.len());
                answers.iter().for_each(|answer| answer.put(out));
            }
            Self::Next { invoke, block } => {
                out.extend_from_slice(&[4, invoke.0]);
                out.extend_from_slice(&block.to_be_bytes());
            }
        }
    }
}

fn read_methods(reader: &mut Reader<'_>) -> Result<Vec<MethodRef>, Error> {
    let count = reader.count()?;
    let mut list = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        list.push(MethodRef::read(reader)?);
    }
    Ok(list)
}

fn put_methods(list: &[MethodRef], out: &mut Vec<u8>) {
    put_length(out, list.len());
    list.iter().for_each(|method| method.put(out));
}
