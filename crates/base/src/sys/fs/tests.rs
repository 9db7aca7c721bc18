use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn refused(path: &Path) -> Error {
    let whole = replace(path, b"new").expect_err("refused");
    let listed = Outputs::default().file("--output", path).check().expect_err("refused before anything runs");
    assert_eq!(whole.to_string(), listed.to_string());
    whole
}

#[test]
fn what_is_no_plain_file_is_refused_by_name_and_stays_what_it_was() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a fifo");
    let _socket = UnixListener::bind(at("socket")).expect("a socket");
    fs::create_dir(at("folder")).expect("a folder");
    symlink("fifo", at("link_to_fifo")).expect("a link");
    symlink("folder", at("link_to_folder")).expect("a link");
    let mut cases = vec![
        ("fifo", "a fifo"),
        ("socket", "a socket"),
        ("folder", "a folder"),
        ("folder/", "a folder"),
        ("nothing/", "the name of a folder"),
        ("link_to_fifo", "a fifo"),
        ("link_to_folder", "a folder"),
    ];
    // The null device's numbers; only root may.
    match mknodat(CWD, at("device"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 3)) {
        Ok(()) => cases.push(("device", "a device node")),
        Err(error) => eprintln!("SKIPPED: device node: {error}"),
    }
    let before = names(dir.path());
    for (name, kind) in cases {
        let error = refused(&at(name));
        assert!(
            matches!(&error, Error::NoFile { path, found } if *path == at(name) && found.starts_with(kind)),
            "{error}"
        );
    }
    assert_eq!(names(dir.path()), before, "nothing is left beside them");
    assert!(fs::symlink_metadata(at("fifo")).expect("there").file_type().is_fifo());
    for (path, kind) in [("/dev/null", "a device node"), ("", "an empty name"), ("/", "a folder")] {
        let error = refused(Path::new(path));
        assert!(matches!(&error, Error::NoFile { found, .. } if *found == kind), "{error}");
    }
}

#[test]
fn a_symlink_stays_and_the_file_behind_it_is_replaced_in_its_own_folder() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("far")).expect("a folder");
    fs::write(at("far/file"), "old").expect("written");
    symlink("far/file", at("relative")).expect("a link");
    symlink(at("relative"), at("twice")).expect("a link");
    symlink("far/new", at("dangling")).expect("a link");
    for (name, file) in [("relative", "far/file"), ("twice", "far/file"), ("dangling", "far/new")] {
        let mut next = Replacement::create(&at(name)).expect("begun");
        assert!(names(&at("far")).iter().any(|name| is_temporary(OsStr::new(name))), "written where the file is");
        next.write_all(name.as_bytes()).expect("written");
        next.commit().expect("in place");
        assert_eq!(fs::read_to_string(at(file)).expect("a file"), name);
        assert!(fs::symlink_metadata(at(name)).expect("there").is_symlink(), "{name}");
    }
    assert_eq!(names(dir.path()), ["dangling", "far", "relative", "twice"]);
    assert_eq!(names(&at("far")), ["file", "new"]);
    symlink("b", at("a")).expect("a link");
    symlink("a", at("b")).expect("a link");
    assert!(matches!(refused(&at("a")), Error::LinkLoop { .. }));
    symlink("missing/file", at("into_nothing")).expect("a link");
    let error = refused(&at("into_nothing"));
    assert!(matches!(&error, Error::NoFolder { folder, .. } if folder.ends_with("missing")), "{error}");
}

#[test]
fn a_replaced_file_keeps_its_permissions_and_its_owner() {
    let dir = folder();
    let file = dir.path().join("private");
    fs::write(&file, "old").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("set");
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&file, Some(1234), Some(4321)).expect("given away");
    }
    let mut next = Replacement::create(&file).expect("begun");
    next.write_all(b"new").expect("written");
    let partial = dir.path().join(names(dir.path()).into_iter().find(|name| name != "private").expect("a temporary"));
    assert_eq!(fs::metadata(&partial).expect("there").mode() & 0o777, 0o640, "nor can others read it meanwhile");
    next.commit().expect("in place");
    let now = fs::metadata(&file).expect("there");
    assert_eq!(now.mode() & 0o777, 0o640);
    if root {
        assert_eq!((now.uid(), now.gid()), (1234, 4321));
    }
    assert_eq!(fs::read_to_string(&file).expect("reads"), "new");
}

#[test]
fn what_is_not_committed_leaves_the_old_content_and_nothing_else() {
    let dir = folder();
    let file = dir.path().join("file");
    fs::write(&file, "old").expect("written");
    let mut next = Replacement::create(&file).expect("begun");
    next.write_all(b"half").expect("written");
    drop(next);
    assert_eq!(fs::read_to_string(&file).expect("reads"), "old");
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn what_took_the_name_meanwhile_is_not_replaced() {
    let dir = folder();
    let file = dir.path().join("file");
    let next = Replacement::create(&file).expect("begun");
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR, 0).expect("a fifo");
    assert!(next.commit().expect_err("refused").to_string().contains("a fifo"));
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn temporaries_of_ended_processes_go_and_those_in_use_stay() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    let stale = format!(".c.mcap.1-0{SUFFIX}");
    fs::write(at(&stale), "half").expect("written");
    fs::create_dir(at(&format!(".policy.1-0{SUFFIX}"))).expect("a folder");
    fs::write(at(&format!(".policy.1-0{SUFFIX}/weights")), "half").expect("written");
    let others = [format!("c.1-0{SUFFIX}"), ".hidden".to_owned(), ".c.mcap.1.tmp".to_owned()];
    others.iter().for_each(|name| fs::write(at(name), "theirs").expect("written"));
    let in_use = Replacement::create(&at("a")).expect("begun");
    let scratch = ScratchFolder::make_for(&at("b")).expect("made");
    replace(&at("d"), b"whole").expect("written");
    let left = names(dir.path());
    assert!(!left.contains(&stale) && !left.iter().any(|name| name.starts_with(".policy")), "{left:?}");
    assert!(others.iter().all(|name| left.contains(name)), "{left:?}");
    assert!(scratch.path().is_dir());
    in_use.commit().expect("nobody took it away");
    drop(scratch);
    let mut expected: Vec<&str> = others.iter().map(String::as_str).chain(["a", "d"]).collect();
    expected.sort_unstable();
    assert_eq!(names(dir.path()), expected);
}

#[test]
fn the_longest_name_of_the_file_system_can_be_written() {
    let dir = folder();
    let file = dir.path().join(OsStr::from_bytes(&[b'\xfc'; 255]));
    replace(&file, b"x").expect("written");
    assert_eq!(fs::read(&file).expect("reads"), b"x");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
}

#[test]
fn one_file_under_two_roles_is_refused_whatever_links_lead_to_it() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("bag"), "recorded").expect("written");
    fs::hard_link(at("bag"), at("hard")).expect("a link");
    symlink("bag", at("soft")).expect("a link");
    symlink("new", at("to_new")).expect("a link");
    symlink(dir.path(), at("here")).expect("a link");
    let reading =
        |output: PathBuf| Outputs::default().file("--output", output.as_path()).reading("the bag", [at("bag")]).check();
    for name in ["bag", "./bag", "hard", "soft", "here/bag"] {
        let error = reading(at(name)).expect_err("refused");
        let Error::SameFile { output, other, .. } = &error else { panic!("{error}") };
        assert_eq!((output.as_str(), other.as_str()), ("--output", "the bag"));
    }
    reading(at("other")).expect("another file");
    let both =
        |a: PathBuf, b: PathBuf| Outputs::default().file("--output", a.as_path()).file("--report", b.as_path()).check();
    for (a, b) in [("new", "new"), ("new", "./new"), ("new", "to_new"), ("to_new", "here/new"), ("bag", "hard")] {
        let error = both(at(a), at(b)).expect_err("refused");
        let Error::SameFile { output, other, .. } = &error else { panic!("{a} {b}: {error}") };
        assert_eq!((output.as_str(), other.as_str()), ("--report", "--output"), "{a} {b}");
    }
    both(at("new"), at("new2")).expect("two files");
    assert_eq!(fs::read_to_string(at("bag")).expect("there"), "recorded");
    assert_eq!(names(dir.path()), ["bag", "hard", "here", "soft", "to_new"], "looking leaves nothing");
}

#[test]
fn a_missing_folder_a_folder_without_permission_and_a_full_disk_are_reported_before_writing() {
    let dir = folder();
    let error = refused(&dir.path().join("no/file"));
    assert!(matches!(&error, Error::NoFolder { folder, .. } if folder.ends_with("no")), "{error}");
    fs::write(dir.path().join("file"), "").expect("written");
    assert!(matches!(refused(&dir.path().join("file/below")), Error::NoFolder { .. }));
    // Not even root makes files there.
    let error = refused(Path::new("/proc/vla_trt_test"));
    assert!(matches!(&error, Error::Unwritable { folder, .. } if folder == Path::new("/proc")), "{error}");
    let error = Replacement::create_for(&dir.path().join("large"), 1 << 62).expect_err("no disk is so large");
    let Error::Space { needed, free, .. } = &error else { panic!("{error:?}") };
    assert!(*needed == 1 << 62 && *free < *needed && error.to_string().contains("MiB free on the disk of"), "{error}");
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn a_whole_file_is_moved_to_where_a_symlink_points() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("far")).expect("a folder");
    fs::write(at("far/engine"), "old").expect("written");
    symlink("far/engine", at("engine")).expect("a link");
    fs::write(at("trial"), "new").expect("written");
    move_to(&at("trial"), &at("engine")).expect("moved");
    assert_eq!(fs::read_to_string(at("far/engine")).expect("there"), "new");
    assert_eq!(names(dir.path()), ["engine", "far"]);
}
