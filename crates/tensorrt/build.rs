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

    /// Compiled once for each family.
    const SOURCES: [&str; 5] = [
        "csrc/tensorrt_shim.cc",
        "csrc/tensorrt_load.cc",
        "csrc/tensorrt_context.cc",
        "csrc/tensorrt_build.cc",
        "csrc/tensorrt_config.cc",
    ];
    /// Compiled once.
    const SHARED: &str = "csrc/tensorrt_families.cc";
    const HEADERS: [&str; 2] = ["NvInfer.h", "NvOnnxParser.h"];
    const VERSION: &str = "NvInferVersion.h";
    /// Macro of TensorRT-RTX's headers, whose files have the names of TensorRT's.
    const RTX_MACRO: &str = "TRT_MAJOR_RTX";
    const VARIABLE: &str = "TENSORRT_INCLUDE_DIR";
    const RTX_VARIABLE: &str = "TENSORRT_RTX_INCLUDE_DIR";

    pub(super) fn compile() {
        println!("cargo::rerun-if-env-changed={VARIABLE}");
        println!("cargo::rerun-if-env-changed={RTX_VARIABLE}");
        println!("cargo::rerun-if-changed=csrc");
        let rtx = find_rtx().unwrap_or_else(|words| fail(&words));
        let tensorrt = match find_tensorrt() {
            Ok(folder) => Some(folder),
            // TensorRT-RTX alone will do, unless a folder for TensorRT was named.
            Err(_) if rtx.is_some() && named(VARIABLE).is_none() => None,
            Err(words) => fail(&words),
        };
        let mut shared = cc::Build::new();
        shared.cpp(true).std("c++17").file(SHARED).warnings(true).extra_warnings(true).flag("-fvisibility=hidden");
        if let Some(folder) = &tensorrt {
            // The tests' stand-in library is compiled against the same headers.
            println!("cargo::rustc-env=VLA_TRT_TENSORRT_HEADERS={}", folder.display());
            family(folder, "vla_trt_tensorrt_shim");
            shared.define("VLA_TRT_WITH_TENSORRT", None);
        }
        if let Some(folder) = &rtx {
            println!("cargo::rustc-env=VLA_TRT_TENSORRT_RTX_HEADERS={}", folder.display());
            family(folder, "vla_trt_tensorrt_rtx_shim");
            shared.define("VLA_TRT_WITH_RTX", None);
        }
        shared.compile("vla_trt_tensorrt_families");
        println!("cargo::rustc-link-lib=dl");
    }

    /// Compiles the sources against the headers in `folder`.
    fn family(folder: &Path, library: &str) {
        println!("cargo::rerun-if-changed={}", folder.join(VERSION).display());
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").files(SOURCES).include("csrc/cuda").warnings(true).extra_warnings(true);
        // TensorRT deprecates a function one major version before removing it; tensorrt_version.h lists when.
        build.flag("-Wno-deprecated-declarations").flag("-fvisibility=hidden");
        // A compiler searches its own folders last, in an order that naming one of them would break.
        if !default_folders().iter().any(|default| default == folder) {
            build.flag("-isystem").flag(folder.as_os_str());
        }
        build.compile(library);
    }

    fn fail(words: &str) -> ! {
        eprintln!("{words}");
        // cargo prints this line, and the one above below it.
        println!("cargo::error=the feature tensorrt needs TensorRT's headers: {}", words.replace('\n', " "));
        std::process::exit(1);
    }

    /// `<arch>-linux-gnu` folders come with JetPack's and Debian's packages.
    fn default_folders() -> [PathBuf; 2] {
        let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
        [PathBuf::from(format!("/usr/include/{arch}-linux-gnu")), PathBuf::from("/usr/include")]
    }

    fn named(variable: &str) -> Option<PathBuf> {
        env::var_os(variable).filter(|folder| !folder.is_empty()).map(PathBuf::from)
    }

    /// Whether the headers in `folder` are TensorRT-RTX's.
    fn is_rtx(folder: &Path) -> bool {
        std::fs::read_to_string(folder.join(VERSION)).is_ok_and(|text| text.contains(RTX_MACRO))
    }

    fn find_tensorrt() -> Result<PathBuf, String> {
        if let Some(folder) = named(VARIABLE) {
            if is_rtx(&folder) {
                return Err(format!(
                    "{VARIABLE} is {}, which has the headers of TensorRT-RTX; name that folder in {RTX_VARIABLE} instead.",
                    folder.display()
                ));
            }
            return whole(folder, VARIABLE);
        }
        let [multiarch, plain] = default_folders();
        let usual = [
            multiarch,
            plain,
            PathBuf::from("/usr/local/tensorrt/include"),
            PathBuf::from("/usr/src/tensorrt/include"),
        ];
        // A folder with only one of the two headers: the message names the other one, which is in a separate package.
        if let Some(folder) = usual.iter().find(|folder| missing_in(folder).is_none() && !is_rtx(folder)) {
            return Ok(folder.clone());
        }
        let header = match usual.iter().any(|folder| folder.join(HEADERS[0]).is_file()) {
            true => HEADERS[1],
            false => HEADERS[0],
        };
        let looked: Vec<_> = usual.iter().map(|folder| folder.display().to_string()).collect();
        Err(format!("{header} was found in none of {}.\n{}", looked.join(", "), remedy(header)))
    }

    /// TensorRT-RTX comes as an archive, so its folder is named; `None`: the shim is compiled without it.
    fn find_rtx() -> Result<Option<PathBuf>, String> {
        let Some(folder) = named(RTX_VARIABLE) else { return Ok(None) };
        let folder = whole(folder, RTX_VARIABLE)?;
        if is_rtx(&folder) {
            return Ok(Some(folder));
        }
        Err(format!("{RTX_VARIABLE} is {}, whose headers are not those of TensorRT-RTX.", folder.display()))
    }

    /// A folder that has both headers.
    fn whole(folder: PathBuf, variable: &str) -> Result<PathBuf, String> {
        match missing_in(&folder) {
            None => Ok(folder),
            Some(header) => {
                Err(format!("{variable} is {}, and there is no {header} in it.\n{}", folder.display(), remedy(header)))
            }
        }
    }

    fn missing_in(folder: &Path) -> Option<&'static str> {
        HEADERS.into_iter().find(|header| !folder.join(header).is_file())
    }

    fn remedy(header: &str) -> String {
        let package = if header == HEADERS[0] { "libnvinfer-dev" } else { "libnvonnxparsers-dev" };
        format!(
            "Install {package} (on a Jetson: sudo apt install nvidia-tensorrt-dev, or nvidia-jetpack), or name the \
             folder of NvInfer.h and NvOnnxParser.h in {VARIABLE}, or build without the feature tensorrt."
        )
    }
}
