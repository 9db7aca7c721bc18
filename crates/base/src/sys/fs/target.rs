//! The target of an output: the file behind its symlinks, and its current state.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

use super::{Error, folder_of};

/// Symlinks that are followed, as the kernel does.
const MOST_LINKS: usize = 40;

/// The target of an output: a plain file, or a free name.
#[derive(Debug)]
pub struct Target {
    /// The output path as given.
    given: PathBuf,
    /// Folder of the file itself, without symlinks.
    folder: PathBuf,
    /// The file itself, without symlinks.
    path: PathBuf,
    existing: Option<Metadata>,
}

/// Identity of a file. Paths do not identify files, because there are links.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Identity {
    /// Device and inode.
    File(u64, u64),
    /// Device and inode of the folder, and a free name in it.
    Free(u64, u64, OsString),
}

impl Target {
    /// Follows `path`'s symlinks, a dangling one to where it points.
    ///
    /// # Errors
    /// [`Error::NoFile`] for a device node, a fifo, a socket, a folder and a file that is itself a mount point;
    /// [`Error::LinkLoop`]; [`Error::NoFolder`]; [`Error::Io`] when the path cannot be examined.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let given = || path.to_owned();
        let no_file = |found| Err(Error::NoFile { path: given(), found });
        if path.as_os_str().is_empty() {
            return no_file("an empty name");
        }
        match fs::metadata(path) {
            Ok(there) if there.is_file() => {
                let file = fs::canonicalize(path).map_err(Error::io("find", path))?;
                if is_mount(&file) {
                    return no_file(
                        "a file that is a mount point (as in containers), which cannot be replaced; mount its folder instead",
                    );
                }
                let folder = folder_of(&file).to_owned();
                Ok(Self { given: given(), folder, path: file, existing: Some(there) })
            }
            Ok(there) => no_file(kind(&there)),
            // A path that ends in a slash names a folder, also one that does not exist.
            Err(_) if path.as_os_str().as_bytes().ends_with(b"/") => no_file("the name of a folder"),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::free(path),
            Err(error) if is_loop(&error) => Err(Error::LinkLoop { path: given() }),
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                Err(Error::NoFolder { folder: folder_of(path).to_owned(), path: given() })
            }
            Err(error) => Err(Error::io("read the attributes of", path)(error)),
        }
    }

    /// A free name: the path itself, or the target of a dangling symlink.
    fn free(path: &Path) -> Result<Self, Error> {
        let mut file = path.to_owned();
        for _ in 0..MOST_LINKS {
            match fs::read_link(&file) {
                Ok(to) => file = folder_of(&file).join(to),
                Err(_) => break,
            }
        }
        let Some(name) = file.file_name() else {
            return Err(Error::NoFile { path: path.to_owned(), found: "the name of a folder" });
        };
        let folder = folder_of(&file);
        let real = fs::canonicalize(folder).ok().filter(|folder| folder.is_dir());
        let Some(real) = real else {
            return Err(Error::NoFolder { folder: folder.to_owned(), path: path.to_owned() });
        };
        Ok(Self { given: path.to_owned(), path: real.join(name), folder: real, existing: None })
    }

    /// The output path as given.
    pub fn given(&self) -> &Path {
        &self.given
    }

    /// The folder of the file itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Attributes of the existing file.
    pub fn existing(&self) -> Option<&Metadata> {
        self.existing.as_ref()
    }

    /// Identity of this target.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn identity(&self) -> Result<Identity, Error> {
        if let Some(there) = &self.existing {
            return Ok(Identity::File(there.dev(), there.ino()));
        }
        let folder = fs::metadata(&self.folder).map_err(Error::io("read the attributes of", &self.folder))?;
        Ok(Identity::Free(folder.dev(), folder.ino(), self.path.file_name().unwrap_or_default().to_owned()))
    }
}

impl Identity {
    /// Identity of an input file; `None` when it does not exist.
    pub fn of_input(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|there| Self::File(there.dev(), there.ino()))
    }
}

/// Kind of an object that is no plain file.
pub(super) fn kind(there: &Metadata) -> &'static str {
    let kind = there.file_type();
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a fifo"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device node"
    } else {
        "an object that is no plain file"
    }
}

fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// Whether the file is a mount point, which cannot be renamed over. Linux before 5.8 does not report it.
fn is_mount(file: &Path) -> bool {
    let found = rustix::fs::statx(CWD, file, AtFlags::empty(), StatxFlags::empty());
    found.is_ok_and(|found| {
        found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
            && found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    })
}
