//! The same work through sansocket, through other WebSocket libraries, and through a floor that checks nothing. README.md
//! says how it is measured.

pub mod clock;
pub mod csv;
pub mod floor;
pub mod memory_socket;
pub mod peers;
pub mod wire;
