//! The bytes of one value on their way.

/// What happens to the bytes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They are written as they are.
    Copied,
    /// They are reversed in units of so many bytes.
    Swapped(u8),
    /// They are left out.
    Dropped,
}

/// A value that is being read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    pub(crate) way: Way,
    /// Bytes to come.
    pub(crate) left: u64,
    /// A unit that the pieces of the input have cut.
    carried: [u8; 8],
    carried_bytes: u8,
}

impl Value {
    pub(crate) fn new(way: Way, length: u32) -> Self {
        Self { way, left: u64::from(length), carried: [0; 8], carried_bytes: 0 }
    }

    /// Takes bytes of the value only: all of `bytes`.
    pub(crate) fn take(&mut self, bytes: &[u8], output: &mut Vec<u8>) {
        self.left -= bytes.len() as u64;
        match self.way {
            Way::Copied => output.extend_from_slice(bytes),
            Way::Swapped(unit) => self.swap(bytes, usize::from(unit), output),
            Way::Dropped => {}
        }
    }

    fn swap(&mut self, mut bytes: &[u8], unit: usize, output: &mut Vec<u8>) {
        let carried = usize::from(self.carried_bytes);
        if carried > 0 {
            let now = bytes.len().min(unit - carried);
            self.carried[carried..carried + now].copy_from_slice(&bytes[..now]);
            self.carried_bytes += now as u8;
            bytes = &bytes[now..];
            if carried + now < unit {
                return;
            }
            output.extend(self.carried[..unit].iter().rev());
            self.carried_bytes = 0;
        }
        let (whole, rest) = bytes.split_at(bytes.len() - bytes.len() % unit);
        let begin = output.len();
        output.extend_from_slice(whole);
        swap_in_place(&mut output[begin..], unit);
        self.carried[..rest.len()].copy_from_slice(rest);
        self.carried_bytes = rest.len() as u8;
    }
}

/// Units of a constant length are swapped several times faster.
fn swap_in_place(bytes: &mut [u8], unit: usize) {
    fn of<const UNIT: usize>(bytes: &mut [u8]) {
        bytes.as_chunks_mut::<UNIT>().0.iter_mut().for_each(|unit| unit.reverse());
    }
    match unit {
        2 => of::<2>(bytes),
        4 => of::<4>(bytes),
        _ => of::<8>(bytes),
    }
}
