//! The allocator, as clients of the socket ask for it.

use tidegate_memory::AllocatorStatistics;
use tidegate_memory::allocator::{self, AllocatorError};
use tidegate_memory::arenas::AllocatorDetail;
use tidegate_memory::cgroup::{self, GroupMemory, Resource};
use tidegate_memory::process::ProcessFigures;

use super::wire::{Allocator, Answer, Purged};

pub(super) fn answer_or_error<T>(outcome: Result<T, AllocatorError>, answer: impl FnOnce(T) -> Answer) -> Answer {
    outcome.map_or_else(|error| Answer::Refused(error.to_string()), answer)
}

pub(super) fn allocator_detail() -> Answer {
    let process = ProcessFigures::read();
    answer_or_error(AllocatorDetail::read(), |detail| {
        Answer::Allocator(Box::new(Allocator {
            detail,
            process_resident_bytes: process.map(|process| process.resident_bytes),
            process_virtual_bytes: process.map(|process| process.virtual_bytes),
            control_group: GroupMemory::read(),
            memory_stalled_us: cgroup::stalled(Resource::Memory).map(|stalled| stalled.as_micros() as u64),
        }))
    })
}

pub(super) fn purge() -> Answer {
    let around = || -> Result<Purged, allocator::AllocatorError> {
        let probe = allocator::AllocatorProbe::new()?;
        let before: AllocatorStatistics = probe.read()?;
        allocator::purge()?;
        Ok(Purged { before, after: probe.read()? })
    };
    around().map_or_else(|error| Answer::Refused(error.to_string()), Answer::Purge)
}
