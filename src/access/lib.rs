//! Access control: the peers that may associate, and the instances they may store. Pure: no sockets, files or clocks; its callers have
//! them.
//!
//! | module | subject |
//! |---|---|
//! | [`address`] | networks, and the two forms of an IPv4 address |
//! | [`certificate`] | the names in a certificate, and patterns over them |
//! | [`rules`] | access rules: the first that matches decides |
//! | [`explain`] | the reason why a rule matched or did not |
//! | [`users`] | names and hashed passcodes (PS3.7 §D.3.3.7) |

pub mod address;
pub mod certificate;
pub mod explain;
pub mod rules;
pub mod users;

pub use certificate::{Certificate, CertificateName, CertificatePattern, NameKind};
pub use explain::Explanation;
pub use rules::{Criteria, Granted, Pattern, Refused, Requestor, Rule, Rules, sop_class_keyword, sop_class_of_keyword};
pub use users::{Credential, Users, UsersError};
