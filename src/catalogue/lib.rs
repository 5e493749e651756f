//! The catalogue of a storage root: which studies, series and instances are stored, who sent them, and where they are.
//!
//! [`Catalogue`] is the one writer, [`Reader`] any number of readers; [`catch_up`] makes the catalogue say what the disk has. What it says of
//! files is derived from them, and is made again from them when it is lost; events and the states of studies are in it alone. No instance ever waits
//! for it, and every [`Error`] says what the caller can do about it.
//!
//! This crate has no sockets, actors or memory leases, and opens no file of an instance. Its calls block. The decisions behind it are in
//! `docs/decisions/17-catalogue.md`; `views.sql` is what other programs may rely on.

mod batch;
mod catalogue;
pub mod catch_up;
mod check;
mod completeness;
mod delivery;
mod events;
mod following;
mod ids;
mod names;
mod open;
mod place;
mod reader;
pub mod receipt;
mod record;
mod retention;
mod times;

pub use batch::Entered;
pub use catalogue::{Again, Catalogue, Gap, News};
pub use check::Problem;
pub use completeness::asking::{Answer, Question};
pub use completeness::due::{Circumstances, Completed};
pub use completeness::hints::{Basis, Hints};
pub use completeness::set::ContentSet;
pub use completeness::{Following, Quiet, Subscription, Wholeness};
pub use delivery::changes::{Change, ChangeProgress, Choice};
pub use delivery::{
    DeliveryNote, DeliveryState, DestinationRow, FILE_IS_GONE, Generation, Outcome, Owed, OwedKey, Sums,
};
pub use events::{EventChange, EventKind, EventNote, EventOutcome, OwedEvent, SinkRow, Told};
pub use open::{DESIGN, SCHEMA_VERSION, set_aside};
pub use reader::{
    ArrivalRow, Cursor, Deliveries, DeliveryCursor, DeliveryRow, DeliverySearch, EVENTS_LOOKED_AT,
    EVENTS_LOOKED_THROUGH, EventRow, FileRow, HadInstance, HadStudy, InstanceDelivery, InstanceProgress, InstanceRow,
    MAX_VERSIONS, NotACursor, NotADelivery, NotDelivered, Numbers, OriginRow, Owing, Page, PastEvent, PastEventPage,
    Place, Reader, Reconciled, Search, SeriesRow, StoredFile, Study, StudyDelivery, StudyRow, Totals,
};
pub use record::{MAX_TEXT_BYTES, Origin, Record, SeriesValues, State, StudyValues, ToldNumbers};
pub use retention::{Releasable, Sweep};
pub use tidegate_database::{BUSY_TIMEOUT, Error, NotAUid, PackedUid, QUERY_TIMEOUT, Remedy};
