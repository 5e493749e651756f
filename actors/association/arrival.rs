//! An admitted connection on its way to the thread that will serve it.

use std::net::SocketAddr;

use tidegate_memory::{Holder, MemoryLease};

use crate::network::admission::Place;
use crate::network::transport::Port;
use crate::supervision::threads::Assignment;

/// An admitted connection that no association serves yet.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) socket: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) port: Port,
    pub(crate) place: Place,
    pub(crate) assignment: Assignment,
    pub(crate) holder: Holder,
    pub(crate) floor: MemoryLease,
}
