//! Gives the node a run path: CMake names the folders of the message libraries that it was built against (cmake/cargo.cmake), so that the
//! node starts with or without a sourced workspace.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=VLA_TRT_NODE_RPATH");
    if let Ok(folders) = std::env::var("VLA_TRT_NODE_RPATH") {
        println!("cargo::rustc-link-arg-bins=-Wl,--disable-new-dtags,-rpath,{folders}");
    }
}
