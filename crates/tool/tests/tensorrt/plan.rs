//! `vla-trt plan` on unified memory, where the GPU driver does not count the page cache as free.

use std::process::{Command, Output};

use super::*;

fn tool(arguments: &[&std::ffi::OsStr], device_free_mib: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    command.args(arguments).env("LD_LIBRARY_PATH", standin::folder());
    command.env("STANDIN_INTEGRATED", "1").env("STANDIN_DEVICE_FREE_MIB", device_free_mib);
    command.output().expect("it ran")
}

#[test]
fn a_plan_that_only_the_page_cache_keeps_from_fitting_says_so_and_fits_once_the_bundles_own_pages_are_gone() {
    let scratch = tempfile::tempdir().expect("a folder");
    let policy = scratch.path().join("policy");
    let made = tool(&["make-demo-policy".as_ref(), "--out".as_ref(), policy.as_os_str()], "8192");
    assert!(made.status.success(), "{made:?}");
    let plan = |more: &[&str], device_free_mib: &str| {
        let arguments: Vec<&std::ffi::OsStr> =
            ["plan".as_ref(), policy.as_os_str()].into_iter().chain(more.iter().map(AsRef::as_ref)).collect();
        let output = tool(&arguments, device_free_mib);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = plan(&[], "10");
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("by the GPU driver's count, without") && text.contains("of page cache"), "{text}");
    assert!(text.contains("memory.count_available: true (enough)") && text.contains("drop_caches"), "{text}");
    let (code, text) = plan(&["--count-available"], "10");
    assert_eq!(code, Some(0), "{text}");
    // What the driver says before the bundle's pages were dropped, twice, and after.
    let (code, text) = plan(&[], "10,10,8192");
    assert_eq!(code, Some(0), "{text}");
}
