use super::*;

/// TensorRT's own packing of a version.
fn packed(major: u32, minor: u32, patch: u32) -> u32 {
    major * if major < 10 { 1000 } else { 10000 } + minor * 100 + patch
}

/// What opening a library of this version, and nothing beside it, says.
fn open_version(name: &str, version: u32) -> Result<Library, Error> {
    let dir = tempfile::tempdir().expect("a folder");
    standin::library_of_version(dir.path(), name, version);
    Library::open_in(dir.path())
}

#[test]
fn a_missing_library_is_named_with_the_loaders_words_and_what_to_install() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = Library::open_in(dir.path()).err().expect("nothing to open");
    assert!(matches!(error, Error::Library { .. }), "{error:?}");
    let words = error.to_string();
    let major = Library::headers().major;
    for expected in [
        format!("{}/libnvinfer.so.{major}: cannot open shared object file", dir.path().display()),
        format!("Install TensorRT {major}"),
        format!("libnvonnxparsers{major}"),
    ] {
        assert!(words.contains(&expected), "{words}");
    }
}

#[test]
fn the_library_tells_its_version_and_the_headers_theirs() {
    let library = Library::open_in(&standin::folder()).expect("the stand-in");
    assert_eq!(library.version(), Library::headers());
}

#[test]
fn another_major_version_is_refused_with_both_versions_also_under_its_own_name_only() {
    let headers = Library::headers();
    let other = if headers.major == 10 { 8 } else { 10 };
    for name in [format!("libnvinfer.so.{other}"), format!("libnvinfer.so.{}", headers.major), "libnvinfer.so".into()] {
        let error = open_version(&name, packed(other, 3, 7)).err().expect("another version");
        assert!(matches!(error, Error::Version { .. }), "{name}: {error:?}");
        let words = error.to_string();
        assert!(words.contains(&format!("headers of TensorRT {headers}")), "{words}");
        assert!(words.contains(&format!("library found is {other}.3.7")), "{words}");
    }
}

#[test]
fn a_newer_minor_version_serves_and_an_older_one_is_refused() {
    let headers = Library::headers();
    let name = format!("libnvinfer.so.{}", headers.major);
    let newer = open_version(&name, packed(headers.major, headers.minor + 1, 0)).expect("a newer one");
    assert_eq!((newer.version().major, newer.version().minor), (headers.major, headers.minor + 1));
    if let Some(minor) = headers.minor.checked_sub(1) {
        let error = open_version(&name, packed(headers.major, minor, 9)).err().expect("an older one");
        assert!(error.to_string().contains(&format!("the older {}.{minor}.9", headers.major)), "{error}");
    }
}

#[test]
fn a_library_that_is_not_tensorrt_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = format!("libnvinfer.so.{}", Library::headers().major);
    fs::copy(standin::folder().join("libcuda.so.1"), dir.path().join(&name)).expect("copied");
    let error = Library::open_in(dir.path()).err().expect("no TensorRT");
    assert!(error.to_string().contains("no symbol getInferLibVersion"), "{error}");

    // In another folder: the loader knows the first file, by its inode, until the process ends.
    let dir = tempfile::tempdir().expect("a folder");
    standin::library_of_version(
        dir.path(),
        &name,
        packed(Library::headers().major, Library::headers().minor, Library::headers().patch),
    );
    let library = Library::open_in(dir.path()).expect("it tells a version");
    let error = Runtime::new(&library, &Log::new()).err().expect("nothing else in it");
    assert!(error.to_string().contains("no symbol createInferRuntime_INTERNAL"), "{error}");
}

#[test]
fn a_machine_without_a_device_is_told_in_tensorrts_words() {
    let bench = Bench::new();
    // The stand-in asks for the variable; setting it in this process would reach other tests.
    let output = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "library::without_device", "--ignored", "--nocapture"])
        .env("STANDIN_NO_DEVICE", "1")
        .output()
        .expect("run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    drop(bench.runtime());
}

/// Run by the test above, with the variable set.
#[test]
#[ignore = "run by a_machine_without_a_device_is_told_in_tensorrts_words"]
fn without_device() {
    let library = Library::open_in(&standin::folder()).expect("the stand-in");
    let (reason, log) = refusal(Runtime::new(&library, &Log::new()).err().expect("no device"));
    assert_eq!(reason, "TensorRT created no runtime");
    assert_eq!(log, ["standin: CUDA initialization failure with error: 35"]);
}
