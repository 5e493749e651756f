//! The file of an instance, opened and held against its record.

use tidegate_catalogue::Owed;
use tidegate_storage::digest::Digest;
use tidegate_storage::survey::{NotSendable, Outgoing};

use super::association::Association;
use super::plan::Task;
use super::settling::Attempt;

impl Association {
    /// The file of an instance, and how much of it is in the buffer.
    pub(super) fn open_file(&mut self, task: &Task) -> Result<(Outgoing, usize), Attempt> {
        let owed = &task.owed;
        let mut opened = self.survey.outgoing(&owed.path, &mut self.buffer);
        if opened.as_ref().is_err_and(|error| *error == NotSendable::Gone) {
            // Perhaps the root is, for a while: then nothing is concluded.
            self.survey = self.store.survey().map_err(|error| Attempt::Unreadable(error.to_string()))?;
            opened = self.survey.outgoing(&owed.path, &mut self.buffer);
        }
        let (file, filled) = opened.map_err(|error| match error {
            NotSendable::Gone => Attempt::NoFile(tidegate_catalogue::FILE_IS_GONE.to_owned()),
            NotSendable::NotAnInstance => Attempt::NoFile(error.to_string()),
            NotSendable::Unreadable(_) => Attempt::Unreadable(error.to_string()),
        })?;
        let meta = file.meta();
        let is_same = owed.sop_instance_uid.is(meta.sop_instance_uid.as_str().as_bytes())
            && *owed.transfer_syntax_uid == *meta.transfer_syntax_uid
            && file.bytes() == owed.bytes
            && self.is_of_record(&file, filled, owed);
        if !is_same {
            return Err(Attempt::NoFile("the file is not what was stored".to_owned()));
        }
        Ok((file, filled))
    }

    /// Whether its content is that of its record, as far as that costs next to nothing: a file that was read as a whole has the digest, and one that
    /// carries a digest was not stored anew since. The bytes of a long file pass from the page cache to the socket, and nobody sees them.
    fn is_of_record(&self, file: &Outgoing, filled: usize, owed: &Owed) -> bool {
        let Some(digest) = owed.digest else { return true };
        let is_whole = filled as u64 == file.bytes();
        let seen = if is_whole { Some(Digest::of([&self.buffer[..filled]])) } else { file.recorded() };
        seen.is_none_or(|seen| seen.value() == digest)
    }
}
