//! Compiles the stand-in for TensorRT (`csrc/standin/`) against the headers that the shim was compiled against.
//!
//! The headers' classes have some 300 pure virtual methods, other ones in each version. What the stand-in does not
//! implement becomes a stub that ends the process with the method's name, made here from the preprocessed headers.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use vla_tensorrt::Family;

/// What a stand-in is compiled against, and how its libraries are named.
struct Kind {
    headers: &'static str,
    libraries: [&'static str; 2],
}

/// The crate of the shim.
fn shim() -> PathBuf {
    vla_trt_tests::root().join("crates/tensorrt")
}

const RUNTIME_CLASSES: &[&str] = &[
    "VBuilder",
    "VBuilderConfig",
    "VCudaEngine",
    "VEngineInspector",
    "VExecutionContext",
    "VHostMemory",
    "VLayer",
    "VNetworkDefinition",
    "VOptimizationProfile",
    "VRuntime",
    "VTensor",
    "VTimingCache",
];
const RTX_CLASSES: &[&str] = &["VRuntimeCache", "VRuntimeConfig"];
const PARSER_CLASSES: &[&str] = &["IParser", "IParserError"];

/// A folder with the stand-in's libnvinfer, libnvonnxparser and libcuda, compiled once for all tests.
pub(crate) fn folder() -> PathBuf {
    let headers = vla_tensorrt::HEADERS.expect("the headers of TensorRT: TENSORRT_INCLUDE_DIR");
    compiled(&Kind { headers, libraries: ["libnvinfer.so", "libnvonnxparser.so"] }, Family::Tensorrt)
}

/// The same for TensorRT-RTX; `None` when this was compiled without its headers, which is said.
pub(crate) fn rtx_folder() -> Option<PathBuf> {
    let Some(headers) = vla_tensorrt::RTX_HEADERS else {
        println!("SKIPPED: TensorRT-RTX's stand-in: compiled without TENSORRT_RTX_INCLUDE_DIR");
        return None;
    };
    Some(compiled(&Kind { headers, libraries: ["libtensorrt_rtx.so", "libtensorrt_onnxparser_rtx.so"] }, Family::Rtx))
}

fn compiled(kind: &Kind, family: Family) -> PathBuf {
    let sources = shim().join("csrc/standin");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("standin-{:016x}", digest(kind, &sources)));
    fs::create_dir_all(&folder).expect("a folder under target");
    // Tests run as processes of their own, side by side.
    let lock = File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("locked");
    if !folder.join("done").exists() {
        let major = family.headers().expect("compiled with these headers").major;
        let preprocessed =
            compiler(kind.headers, &folder, &["-E", "-P", "-x", "c++"], &[&write(&folder, "all.cc", INCLUDES)]);
        write(&folder, "stubs.h", &stubs(family, &String::from_utf8_lossy(&preprocessed)));
        let library = |name: &str, soname: &str, files: &[&str]| {
            let out = folder.join(name).display().to_string();
            let soname = format!("-Wl,-soname,{soname}");
            let shared = ["-shared", "-fPIC", "-fvisibility=hidden", "-pthread", &soname, "-o", &out];
            let files: Vec<PathBuf> = files.iter().map(|file| sources.join(file)).collect();
            compiler(kind.headers, &folder, &shared, &files.iter().map(PathBuf::as_path).collect::<Vec<_>>());
        };
        let [infer, parser] = kind.libraries.map(|name| format!("{name}.{major}"));
        library(&infer, &infer, &["nvinfer_runtime.cc", "nvinfer_builder.cc"]);
        library(&parser, &parser, &["nvonnxparser.cc"]);
        library("libcuda.so.1", "libcuda.so.1", &["cuda.cc"]);
        File::create(folder.join("done")).expect("a marker");
    }
    folder
}

/// A library that tells a version and has nothing else, as `name` in `folder`.
pub(crate) fn library_of_version(folder: &Path, name: &str, packed: u32) {
    let source = write(folder, "version.cc", &format!("extern \"C\" int getInferLibVersion() {{ return {packed}; }}"));
    let out = folder.join(name).display().to_string();
    compiler(HEADERLESS, folder, &["-shared", "-fPIC", "-o", &out], &[&source]);
}

/// For sources that include none of NVIDIA's headers.
const HEADERLESS: &str = "/nonexistent";
const INCLUDES: &str = "#include <NvInfer.h>\n#include <NvOnnxParser.h>\n";

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    path
}

/// Runs the C++ compiler; `include` is searched for the generated header.
fn compiler(headers: &str, include: &Path, options: &[&str], files: &[&Path]) -> Vec<u8> {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let done = Command::new(&compiler)
        .args(["-std=c++17", "-O1", "-w", "-I"])
        .arg(shim().join("csrc/cuda"))
        .arg("-I")
        .arg(include)
        .args(["-isystem", headers])
        .args(options)
        .args(files)
        .arg("-ldl")
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(done.status.success(), "{compiler} {options:?}:\n{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

fn digest(kind: &Kind, sources: &Path) -> u64 {
    let mut files: Vec<PathBuf> =
        fs::read_dir(sources).expect("the stand-in's sources").map(|entry| entry.expect("an entry").path()).collect();
    files.extend(
        ["csrc/tensorrt_version.h", "csrc/tensorrt_family.h", "csrc/tensorrt_shim.h"].map(|file| shim().join(file)),
    );
    files.push(vla_trt_tests::root().join(file!()));
    files.push(Path::new(kind.headers).join("NvInferVersion.h"));
    files.sort();
    let mut hasher = DefaultHasher::new();
    kind.headers.hash(&mut hasher);
    for file in files {
        fs::read(&file).expect("a source").hash(&mut hasher);
    }
    hasher.finish()
}

/// A subclass of each class that overrides every pure virtual method.
fn stubs(family: Family, preprocessed: &str) -> String {
    let mut text = String::new();
    let rtx = if family == Family::Rtx { RTX_CLASSES } else { &[] };
    let infer = [RUNTIME_CLASSES, rtx].concat();
    for (namespace, inner, classes) in [("nvinfer1", "apiv::", infer.as_slice()), ("nvonnxparser", "", PARSER_CLASSES)]
    {
        text += &format!("namespace {namespace} {{ namespace standin_stubs {{\n");
        for class in classes {
            text += &format!("class {class} : public {namespace}::{inner}{class} {{\n public:\n");
            for method in pure_virtual_methods(preprocessed, class) {
                text += &format!("  {method} override {{ ::standin::unexpected(\"{class}: {method}\"); }}\n");
            }
            text += "};\n";
        }
        text += "}}\n";
    }
    text
}

/// Signatures in a class's body, without `virtual` and `= 0`, on one line each.
fn pure_virtual_methods(preprocessed: &str, class: &str) -> Vec<String> {
    let head = [format!("class {class} :"), format!("class {class}\n")];
    let body = head
        .iter()
        .filter_map(|head| preprocessed.find(head.as_str()))
        .filter_map(|at| preprocessed[at..].split_once('{'))
        .map(|(_, body)| &body[..body.find("\n};").expect("the end of a class")])
        .next()
        .unwrap_or_else(|| panic!("no class {class} in the headers"));
    body.split(';')
        .filter_map(|declaration| declaration.trim_end().strip_suffix("= 0"))
        .filter_map(|declaration| Some(declaration.split_once("virtual ")?.1))
        .map(|signature| signature.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}
