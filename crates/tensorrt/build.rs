//! Compiles the TensorRT shim (`csrc/`) when the feature `tensorrt` is on; does nothing otherwise.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "tensorrt")]
    shim::compile();
}

#[cfg(feature = "tensorrt")]
mod shim {
    use std::env;
    use std::path::{Path, PathBuf};

    const SOURCES: [&str; 4] =
        ["csrc/tensorrt_shim.cc", "csrc/tensorrt_load.cc", "csrc/tensorrt_build.cc", "csrc/tensorrt_config.cc"];
    const HEADERS: [&str; 2] = ["NvInfer.h", "NvOnnxParser.h"];

    pub(super) fn compile() {
        println!("cargo::rerun-if-env-changed=TENSORRT_INCLUDE_DIR");
        println!("cargo::rerun-if-changed=csrc");
        let folder = find_headers().unwrap_or_else(|words| {
            eprintln!("{words}");
            // cargo prints this line, and the one above below it.
            println!("cargo::error=the feature tensorrt needs TensorRT's headers: {}", words.replace('\n', " "));
            std::process::exit(1);
        });
        println!("cargo::rerun-if-changed={}", folder.join("NvInferVersion.h").display());
        // The tests' stand-in library is compiled against the same headers.
        println!("cargo::rustc-env=VLA_TRT_TENSORRT_HEADERS={}", folder.display());

        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").files(SOURCES).include("csrc/cuda").warnings(true).extra_warnings(true);
        // TensorRT deprecates a function one major version before removing it; tensorrt_version.h lists when.
        build.flag("-Wno-deprecated-declarations").flag("-fvisibility=hidden");
        // A compiler searches its own folders last, in an order that naming one of them would break.
        if !default_folders().contains(&folder) {
            build.flag("-isystem").flag(folder.as_os_str());
        }
        build.compile("vla_trt_tensorrt_shim");
        println!("cargo::rustc-link-lib=dl");
    }

    /// `<arch>-linux-gnu` folders come with JetPack's and Debian's packages.
    fn default_folders() -> [PathBuf; 2] {
        let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
        [PathBuf::from(format!("/usr/include/{arch}-linux-gnu")), PathBuf::from("/usr/include")]
    }

    fn find_headers() -> Result<PathBuf, String> {
        if let Some(folder) = env::var_os("TENSORRT_INCLUDE_DIR").filter(|folder| !folder.is_empty()) {
            let folder = PathBuf::from(folder);
            return match missing_in(&folder) {
                None => Ok(folder),
                Some(header) => Err(format!(
                    "TENSORRT_INCLUDE_DIR is {}, and there is no {header} in it.\n{}",
                    folder.display(),
                    remedy(header)
                )),
            };
        }
        let [multiarch, plain] = default_folders();
        let usual = [
            multiarch,
            plain,
            PathBuf::from("/usr/local/tensorrt/include"),
            PathBuf::from("/usr/src/tensorrt/include"),
        ];
        // A folder with only one of the two headers: the message names the other one, which is in a separate package.
        if let Some(folder) = usual.iter().find(|folder| missing_in(folder).is_none()) {
            return Ok(folder.clone());
        }
        let header = match usual.iter().any(|folder| folder.join(HEADERS[0]).is_file()) {
            true => HEADERS[1],
            false => HEADERS[0],
        };
        let looked: Vec<_> = usual.iter().map(|folder| folder.display().to_string()).collect();
        Err(format!("{header} was found in none of {}.\n{}", looked.join(", "), remedy(header)))
    }

    fn missing_in(folder: &Path) -> Option<&'static str> {
        HEADERS.into_iter().find(|header| !folder.join(header).is_file())
    }

    fn remedy(header: &str) -> String {
        let package = if header == HEADERS[0] { "libnvinfer-dev" } else { "libnvonnxparsers-dev" };
        format!(
            "Install {package} (on a Jetson: sudo apt install nvidia-tensorrt-dev, or nvidia-jetpack), or name the \
             folder of NvInfer.h and NvOnnxParser.h in TENSORRT_INCLUDE_DIR, or build without the feature tensorrt."
        )
    }
}
