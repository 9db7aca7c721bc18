//! One file, written beside its target and renamed to it when complete.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, XattrFlags};
use rustix::io::Errno;

use super::target::{Target, kind};
use super::{Error, LEAST_SPACE, clear_stale, free_space, require_space, temporary};

/// Extended attribute of the access control list.
const ACL: &str = "system.posix_acl_access";

/// Creates a file that must not be there yet, at its name, for a recording that grows.
///
/// # Errors
/// [`Error::NoFolder`] without its folder; [`Error::Unwritable`], also when something of that name is there.
pub fn create_new(path: &Path) -> Result<File, Error> {
    let folder = super::folder_of(path).to_owned();
    File::options().write(true).create_new(true).open(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => Error::NoFolder { folder, path: path.to_owned() },
        _ => Error::Unwritable { folder, path: path.to_owned(), source },
    })
}

/// The new content of a file, under a temporary name until [`commit`](Self::commit); deleted when dropped before.
#[derive(Debug)]
pub struct Replacement {
    given: PathBuf,
    folder: PathBuf,
    target: PathBuf,
    temporary: PathBuf,
    file: File,
    committed: bool,
}

impl Replacement {
    /// Starts the new content of `path`. A symlink is followed, and stays; permissions and owner of an existing file are kept,
    /// as far as this user is allowed to. Removes temporary files of killed processes from the folder.
    ///
    /// # Errors
    /// Those of [`Target::of`]; [`Error::Unwritable`] when no file can be made there; [`Error::Space`] and
    /// [`Error::Quota`] when not even 256 KiB can be written.
    pub fn create(path: &Path) -> Result<Self, Error> {
        Self::create_for(path, 0)
    }

    /// As [`create`](Self::create), for a file of `bytes`.
    ///
    /// # Errors
    /// As [`create`](Self::create), and [`Error::Space`] when the disk has less.
    pub fn create_for(path: &Path, bytes: u64) -> Result<Self, Error> {
        let target = Target::of(path)?;
        clear_stale(target.folder());
        let mode = if target.existing().is_some() { 0o600 } else { 0o666 };
        let made = temporary::create(target.folder(), target.path().file_name().unwrap_or_default(), |temporary| {
            File::options().read(true).write(true).create_new(true).mode(mode).open(temporary)
        });
        let (temporary, file) = made.map_err(|source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => no_room(&target, LEAST_SPACE, source),
            _ => Error::Unwritable { folder: target.folder().to_owned(), path: path.to_owned(), source },
        })?;
        let new = Self {
            given: path.to_owned(),
            folder: target.folder().to_owned(),
            target: target.path().to_owned(),
            temporary,
            file,
            committed: false,
        };
        if let Some(there) = target.existing() {
            new.copy_attributes(there)?;
        }
        new.reserve(&target, bytes)?;
        Ok(new)
    }

    /// Checks for room: compares `bytes` with the free space, and reserves a little to detect quotas and limits.
    fn reserve(&self, target: &Target, bytes: u64) -> Result<(), Error> {
        require_space(&self.given, &self.folder, bytes)?;
        let tried = if bytes == 0 { LEAST_SPACE } else { bytes.min(LEAST_SPACE) };
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, tried) {
            Ok(()) => self.file.set_len(0).map_err(Error::io("write", &self.given)),
            Err(full @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(no_room(target, tried, full.into())),
            // Not every file system supports it.
            Err(_) => Ok(()),
        }
    }

    /// Gives the new file the owner and the permissions of the existing one.
    fn copy_attributes(&self, there: &Metadata) -> Result<(), Error> {
        let own = self.file.metadata().map_err(Error::io("read the attributes of", &self.temporary))?;
        let (owner, group) = (there.uid() != own.uid(), there.gid() != own.gid());
        let given = |owner, group| std::os::unix::fs::fchown(&self.file, owner, group);
        if owner && given(Some(there.uid()), None).is_err() {
            tracing::warn!(
                "{}: only root can keep its owner, user {}; the new file belongs to user {}",
                self.given.display(),
                there.uid(),
                own.uid()
            );
        }
        if group && let Err(error) = given(None, Some(there.gid())) {
            tracing::warn!("{}: cannot keep its group {}: {error}", self.given.display(), there.gid());
        }
        let permissions = fs::Permissions::from_mode(there.mode() & 0o777);
        self.file.set_permissions(permissions).map_err(Error::io("set the permissions of", &self.temporary))?;
        let mut list = vec![0; 4096];
        if let Ok(length) = rustix::fs::getxattr(&self.target, ACL, list.as_mut_slice()) {
            list.truncate(length);
            if let Err(error) = rustix::fs::fsetxattr(&self.file, ACL, &list, XattrFlags::empty()) {
                tracing::warn!("{}: cannot keep its access control list: {error}", self.given.display());
            }
        }
        Ok(())
    }

    /// The target file.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// Syncs the content to the disk and renames it to the target.
    ///
    /// # Errors
    /// [`Error::NoFile`] when the name was taken by another kind of object meanwhile, [`Error::Io`]; the old content is
    /// then still there.
    pub fn commit(mut self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::io("write", &self.given))?;
        refuse_other(&self.given, &self.target)?;
        fs::rename(&self.temporary, &self.target).map_err(Error::io("replace", &self.given))?;
        self.committed = true;
        sync_folder(&self.folder);
        Ok(())
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for Replacement {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        if let Err(error) = fs::remove_file(&self.temporary) {
            tracing::warn!("cannot remove {}: {error}", self.temporary.display());
        }
    }
}

/// Replaces the content of `path` by `bytes` atomically.
///
/// # Errors
/// As [`Replacement::create_for`] and [`Replacement::commit`].
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = Replacement::create_for(path, bytes.len() as u64)?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.commit()
}

/// Moves a file to `path` as [`replace`] writes it: a symlink stays, and an object that is no plain file is refused.
///
/// # Errors
/// Those of [`Target::of`] and [`Error::Io`]; for another disk those of [`Replacement`].
pub fn move_to(from: &Path, path: &Path) -> Result<(), Error> {
    let target = Target::of(path)?;
    File::open(from).and_then(|file| file.sync_all()).map_err(Error::io("write", from))?;
    match fs::rename(from, target.path()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            let mut source = File::open(from).map_err(Error::io("read", from))?;
            let size = source.metadata().map_err(Error::io("read", from))?.len();
            let mut file = Replacement::create_for(path, size)?;
            io::copy(&mut source, &mut file).map_err(Error::io("write", path))?;
            file.commit()?;
            return fs::remove_file(from).map_err(Error::io("remove", from));
        }
        Err(error) => return Err(Error::io("replace", path)(error)),
    }
    sync_folder(target.folder());
    Ok(())
}

fn refuse_other(given: &Path, target: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(target) {
        Ok(there) if !there.is_file() => Err(Error::NoFile { path: given.to_owned(), found: kind(&there) }),
        _ => Ok(()),
    }
}

/// Syncs the new name. A folder that cannot be synced (some network mounts) keeps the file.
fn sync_folder(folder: &Path) {
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        tracing::debug!(%error, folder = %folder.display(), "sync");
    }
}

fn no_room(target: &Target, needed: u64, source: io::Error) -> Error {
    let (path, folder) = (target.given().to_owned(), target.folder().to_owned());
    match free_space(&folder) {
        Ok(free) if free < needed => Error::Space { path, folder, needed, free },
        _ => Error::Quota { path, folder, needed, source },
    }
}
