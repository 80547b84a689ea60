//! A backup as it came from anywhere. A letter says how the input is used: `a` as a file, `b` as the payload of a frame,
//! whose entries are written and read back.

use verigate::keeping::reader::Reader;
use verigate::store::entries;

use crate::targets::choose;

pub(crate) fn run(data: &[u8]) {
    match choose(data, 2) {
        Some((0, rest)) => {
            let Ok(mut reader) = Reader::open(rest) else { return };
            while let Ok(Some(_)) = reader.read() {}
        }
        Some((_, rest)) => {
            let Some(read) = entries::decode(rest) else { return };
            let mut written = Vec::new();
            read.iter().for_each(|(key, write)| entries::encode(&mut written, key, write));
            assert_eq!(entries::decode(&written), Some(read), "what was written");
        }
        None => {}
    }
}
