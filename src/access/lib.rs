//! Access control: the peers that may associate, and the instances they may store. Pure: no sockets, files or clocks; its callers have
//! them.
//!
//! | module | subject |
//! |---|---|
//! | [`rules`] | access rules: the first that matches decides |
//! | [`explain`] | the reason why a rule matched or did not |
//! | [`users`] | names and hashed passcodes (PS3.7 §D.3.3.7) |

pub mod explain;
pub mod rules;
pub mod users;

pub use explain::Explanation;
pub use rules::{Criteria, Granted, Pattern, Refused, Requestor, Rule, Rules};
pub use users::{Users, UsersError};
