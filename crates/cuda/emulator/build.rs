//! Compiles the kernels with the C++ compiler of the host.

fn main() {
    for folder in ["cpp", "../kernels"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .debug(false)
        // Fibers switch by longjmp between stacks, which the fortified longjmp refuses.
        .flag("-U_FORTIFY_SOURCE")
        .flag_if_supported("-fno-math-errno")
        .flag_if_supported("-Wno-unknown-pragmas")
        // `__launch_bounds__` and names that both languages have.
        .flag_if_supported("-Wno-unused-parameter")
        .include("cpp")
        .include("../kernels")
        .file("cpp/emulator.cpp")
        .file("cpp/kernels.cpp")
        .file("cpp/layouts.cpp")
        .compile("vla_cuda_emulator");
}
