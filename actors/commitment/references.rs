//! The references of a request on their way to the file: packed, in blocks, each of them leased.

use tidegate_commitment::{NotAUid, PackedUid, Reference};
use tidegate_memory::{BudgetExhausted, Holder, MemoryLease, Stage};
use tidegate_protocol::commitment::Reference as Named;

/// Bytes of a block. A packed UID has 255 bytes at most.
const BLOCK_BYTES: usize = 64 << 10;
/// The longest that a reference takes.
const MOST_BYTES: usize = 2 * (1 + u8::MAX as usize);

/// Why a reference was not added.
#[derive(Debug)]
pub(crate) enum NotAdded {
    /// A UID of it is none.
    NotAUid,
    /// The memory budget has no room.
    NoMemory,
}

impl From<NotAUid> for NotAdded {
    fn from(_: NotAUid) -> Self {
        Self::NotAUid
    }
}

impl From<BudgetExhausted> for NotAdded {
    fn from(_: BudgetExhausted) -> Self {
        Self::NoMemory
    }
}

/// The references, in the order of the request.
#[derive(Default)]
pub(crate) struct References {
    /// In each, one behind the other: the length and the bytes of both UIDs of a reference.
    blocks: Vec<Vec<u8>>,
    count: usize,
    _leases: Vec<MemoryLease>,
}

impl References {
    pub(crate) fn push(&mut self, named: Named<'_>, holder: &Holder) -> Result<(), NotAdded> {
        let sop_class: PackedUid = named.sop_class.parse()?;
        let sop_instance: PackedUid = named.sop_instance.parse()?;
        if self.blocks.last().is_none_or(|block| block.len() + MOST_BYTES > BLOCK_BYTES) {
            self._leases.push(holder.lease(Stage::Commitment, BLOCK_BYTES as u64)?);
            self.blocks.push(Vec::with_capacity(BLOCK_BYTES));
        }
        if let Some(block) = self.blocks.last_mut() {
            for uid in [&sop_class, &sop_instance] {
                let bytes = uid.as_bytes();
                block.push(u8::try_from(bytes.len()).map_err(|_| NotAdded::NotAUid)?);
                block.extend_from_slice(bytes);
            }
            self.count += 1;
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { blocks: self.blocks.iter(), block: &[], left: self.count }
    }
}

/// See [`References::iter`].
pub(super) struct Iter<'a> {
    blocks: std::slice::Iter<'a, Vec<u8>>,
    block: &'a [u8],
    left: usize,
}

impl Iter<'_> {
    fn uid(&mut self) -> Option<PackedUid> {
        let (length, rest) = self.block.split_first()?;
        let (bytes, rest) = rest.split_at_checked(usize::from(*length))?;
        self.block = rest;
        PackedUid::from_bytes(bytes).ok()
    }
}

impl Iterator for Iter<'_> {
    type Item = Reference;

    fn next(&mut self) -> Option<Reference> {
        if self.block.is_empty() {
            self.block = self.blocks.next()?;
        }
        let reference = Reference { sop_class: self.uid()?, sop_instance: self.uid()? };
        self.left = self.left.saturating_sub(1);
        Some(reference)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use tidegate_memory::MemoryBudget;

    use super::*;

    #[test]
    fn references_come_out_as_they_went_in_and_their_memory_is_leased() {
        let budget = MemoryBudget::new(8 << 20);
        let holder = budget.open_account("peer");
        let mut references = References::default();
        let instance = |number: usize| format!("1.2.826.0.1.3680043.9.{number}.{}", "7".repeat(number % 30));
        for number in 0..10_000 {
            let named = Named { sop_class: "1.2.840.10008.5.1.4.1.1.2", sop_instance: &instance(number) };
            references.push(named, &holder).unwrap();
        }
        assert_eq!((references.len(), references.iter().len()), (10_000, 10_000));
        for (number, reference) in references.iter().enumerate() {
            assert_eq!(reference.sop_instance.to_string(), instance(number));
        }
        let held = budget.held();
        assert!((300_000..800_000).contains(&held), "{held}");
        let odd = Named { sop_class: "1.2/3", sop_instance: "1.2" };
        assert!(matches!(references.push(odd, &holder), Err(NotAdded::NotAUid)));
        drop(references);
        assert_eq!(budget.held(), 0);
    }
}
