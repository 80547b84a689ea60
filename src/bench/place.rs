//! A folder for what is measured: nobody else can read it, and it goes when the run does.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, Result};
use crate::random::Random;

/// A folder that is removed when dropped.
#[derive(Debug)]
pub(crate) struct Place(PathBuf);

// === impl Place ===

impl Place {
    /// Error: `Invalid` when `directory` takes no folder.
    pub(crate) fn make(directory: &Path, random: &dyn Random) -> Result<Self> {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        let path = directory.join(format!("verigate-bench-{}", URL_SAFE_NO_PAD.encode(bytes)));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Error::invalid("directory", format!("{} cannot be made: {error}", path.display())))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The length of all files in the folder of this name; none when it cannot be read.
    pub(crate) fn bytes(&self, name: &str) -> Option<u64> {
        bytes_below(&self.0.join(name)).ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Left behind at worst, in a folder for temporary files.
        drop(fs::remove_dir_all(&self.0));
    }
}

fn bytes_below(folder: &Path) -> std::io::Result<u64> {
    fs::read_dir(folder)?.try_fold(0, |sum, entry| {
        let entry = entry?;
        // Whoever uses the folder may have removed it since.
        let Ok(metadata) = entry.metadata() else { return Ok(sum) };
        Ok(sum + if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    #[test]
    fn a_place_knows_its_size_and_goes() {
        let parent = tempfile::tempdir().unwrap();
        let place = Place::make(parent.path(), &OsRandom).unwrap();
        fs::create_dir_all(place.path().join("data/blobs")).unwrap();
        fs::write(place.path().join("outside"), [0; 10]).unwrap();
        fs::write(place.path().join("data/db"), [0; 200]).unwrap();
        fs::write(place.path().join("data/blobs/1"), [0; 3]).unwrap();
        assert_eq!((place.bytes("data"), place.bytes("nothing")), (Some(203), None));
        drop(place);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
