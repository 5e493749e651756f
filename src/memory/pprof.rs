//! The format of pprof (`profile.proto`), as far as a heap profile without the names of functions needs it.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

/// `perftools.profiles.Profile`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

/// Names are indices into the table of strings.
#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    /// The innermost first.
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "3")]
    memory_limit: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(int64, tag = "6")]
    build_id: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
}

impl Profile {
    /// An empty profile of bytes in use that was recorded for `duration`, with a sample every `period_bytes`.
    pub(crate) fn new(duration: Duration, period_bytes: u64) -> Self {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let mut profile = Self {
            string_table: vec![String::new()], // index 0 is no name
            time_nanos: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos),
            duration_nanos: nanos(duration),
            period: period_bytes as i64,
            ..Self::default()
        };
        let (space, bytes) = (profile.string("inuse_space"), profile.string("bytes"));
        profile.sample_type = vec![ValueType { r#type: space, unit: bytes }];
        let space = profile.string("space");
        profile.period_type = Some(ValueType { r#type: space, unit: bytes });
        profile
    }

    fn string(&mut self, text: &str) -> i64 {
        self.string_table.push(text.to_owned());
        self.string_table.len() as i64 - 1
    }

    /// Adds an executable or library, in which addresses are those of the file.
    pub(crate) fn add_object(&mut self, name: &str, build_id: Option<&str>) {
        let filename = self.string(name);
        let build_id = build_id.map_or(0, |build_id| self.string(build_id));
        let id = self.mapping.len() as u64 + 1;
        self.mapping.push(Mapping { id, memory_limit: u64::MAX, filename, build_id });
    }

    /// Adds bytes that are held and the calls that allocated them, the innermost first: each the index of an object and an address in it.
    pub(crate) fn add_stack(&mut self, bytes: u64, calls: impl Iterator<Item = (usize, u64)>) {
        let mut location_id = Vec::new();
        for (object, address) in calls {
            let id = self.location.len() as u64 + 1;
            self.location.push(Location { id, mapping_id: object as u64 + 1, address });
            location_id.push(id);
        }
        self.sample.push(Sample { location_id, value: vec![i64::try_from(bytes).unwrap_or(i64::MAX)] });
    }

    /// The profile as tools read it: compressed protocol buffers.
    pub(crate) fn encode(&self) -> std::io::Result<Vec<u8>> {
        let mut zipped = GzEncoder::new(Vec::new(), Compression::default());
        zipped.write_all(&self.encode_to_vec())?;
        zipped.finish()
    }
}
