//! From a reader of the catalogue to an answer.

use tidegate_catalogue::{Error, Reader};

use super::model::{Destinations, Outbox};
use super::search::Asked;

/// The destinations that the catalogue knows.
pub(crate) fn destinations(reader: &mut Reader) -> Result<Destinations, Error> {
    let destinations = reader.destinations()?.into_iter().map(Into::into).collect();
    Ok(Destinations { destinations })
}

/// A page of the deliveries that fit.
pub(crate) fn page(reader: &mut Reader, Asked { search, after, limit }: &Asked) -> Result<Outbox, Error> {
    let found = reader.deliveries(search, *after, *limit)?;
    let next = found.next.map(|next| next.to_string());
    Ok(Outbox { deliveries: found.deliveries.into_iter().map(Into::into).collect(), next })
}
