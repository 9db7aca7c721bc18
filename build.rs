//! What CMake knows and cargo does not (cmake/cargo.cmake): the folders of the message libraries, which become the node's run path so that
//! it starts with or without a sourced workspace, and the optional message packages that were found.

/// Message packages that the node can do without; each becomes the cfg `has_<package>`.
const OPTIONAL_INTERFACES: [&str; 2] = ["control_msgs", "tf2_msgs"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=VLA_TRT_NODE_INTERFACES");
    let found = std::env::var("VLA_TRT_NODE_INTERFACES").unwrap_or_default();
    for package in OPTIONAL_INTERFACES {
        println!("cargo::rustc-check-cfg=cfg(has_{package})");
        if found.split_whitespace().any(|name| name == package) {
            println!("cargo::rustc-cfg=has_{package}");
        }
    }
    println!("cargo::rerun-if-env-changed=VLA_TRT_NODE_RPATH");
    if let Ok(folders) = std::env::var("VLA_TRT_NODE_RPATH") {
        println!("cargo::rustc-link-arg-bins=-Wl,--disable-new-dtags,-rpath,{folders}");
    }
}
