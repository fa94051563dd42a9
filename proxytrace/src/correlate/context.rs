//! What the events of one process are read with.

use crate::model::ProcessId;

use super::chains::Chains;
use super::connection::Connections;
use super::wire::Wire;
use crate::goproxy::List;

/// The process, its list, and what grows with its events.
pub(super) struct Context<'a> {
    pub(super) process: ProcessId,
    pub(super) list: &'a List,
    pub(super) chains: &'a mut Chains,
    pub(super) connections: &'a mut Connections,
    pub(super) wire: &'a mut Wire,
}
