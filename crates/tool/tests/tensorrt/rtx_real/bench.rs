//! Parses and builds one ONNX file with the real library.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use vla_builder::{Request, ahead};
use vla_engines::onnx::Network;
use vla_policy::PolicySpec;
use vla_tensorrt::{BuildOptions, Built, Error, Family, Library, Log, build};

/// The GPUs that every network is built for.
const FOR: &[&str] = &["sm86", "sm89", "sm120"];

/// The library, or the reason to skip.
pub(super) struct Rtx {
    pub(super) folder: PathBuf,
    pub(super) library: Library,
}

/// What a build made of a network.
pub(super) struct Plan {
    pub(super) bytes: u64,
    /// First bytes of the plan.
    pub(super) head: Vec<u8>,
    pub(super) built: Built,
    /// Bytes of the network's weights as stored.
    pub(super) weights: u64,
    /// Nodes of the network by operator.
    pub(super) operators: BTreeMap<String, usize>,
}

impl Rtx {
    pub(super) fn open() -> Option<Self> {
        let folder = std::env::var_os("VLA_TRT_TEST_RTX").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let Some(folder) = folder else {
            println!(
                "SKIPPED: TensorRT-RTX's parser and builder: VLA_TRT_TEST_RTX names no folder (scripts/setup_tensorrt_rtx.sh)"
            );
            return None;
        };
        let library = Library::open_family(Family::Rtx, Some(&folder)).expect("TensorRT-RTX");
        Some(Self { folder, library })
    }

    /// Builds one network for [`FOR`]. Any ONNX file will do; `profile` has the range of each symbolic dimension.
    pub(super) fn plan(&self, onnx: &Path, profile: &[(String, [usize; 3])]) -> Result<Plan, Error> {
        let mut out = Counted::default();
        let built = self.write(onnx, profile, &mut out)?;
        let network = Network::open(onnx).expect("a network");
        let mut operators = BTreeMap::new();
        for (_, operator) in network.nodes() {
            *operators.entry(operator.to_owned()).or_default() += 1;
        }
        Ok(Plan { bytes: out.bytes, head: out.head, built, weights: network.weight_bytes(), operators })
    }

    /// Writes a plan to `out`.
    pub(super) fn write(
        &self,
        onnx: &Path,
        profile: &[(String, [usize; 3])],
        out: &mut (dyn Write + Send),
    ) -> Result<Built, Error> {
        let request =
            Request { onnx: onnx.to_owned(), profile: profile.iter().cloned().collect(), ..Request::default() };
        let profiles = request.profiles().expect("a range for every symbol");
        let options = BuildOptions {
            strongly_typed: true,
            compute_capabilities: FOR.iter().map(|text| ahead::capability(text).expect(text)).collect(),
            profiles: if profiles.is_empty() { Vec::new() } else { vec![profiles] },
            ..BuildOptions::default()
        };
        build(&self.library, &Log::new(), onnx, &options, out, &mut |_| true)
    }

    /// Builds every stage of a bundle; the stages' names and plans.
    pub(super) fn policy(&self, folder: &Path) -> Vec<(String, Plan)> {
        let spec = PolicySpec::load(folder).expect("a policy");
        let plan = |stage: vla_engines::Stage| {
            let plan = self.plan(&stage.onnx, &stage.profile).unwrap_or_else(|error| panic!("{}: {error}", stage.name));
            (stage.name, plan)
        };
        spec.engine_stages().into_iter().map(plan).collect()
    }
}

impl Plan {
    /// Layers of the parsed network of this type.
    pub(super) fn layers(&self, layer_type: &str) -> usize {
        self.built.layer_types.get(layer_type).copied().unwrap_or_default()
    }

    /// Nodes of the network with one of these operators.
    pub(super) fn nodes(&self, operators: &[&str]) -> usize {
        operators.iter().filter_map(|operator| self.operators.get(*operator)).sum()
    }

    /// Asserts what holds for every network: it is an engine of TensorRT-RTX, each product and softmax of the network is a layer,
    /// and the weights are in the plan, beside at most `kernels` bytes.
    pub(super) fn assert_whole(&self, name: &str, kernels: u64) {
        assert_eq!(Family::of_engine(&self.head), Some(Family::Rtx), "{name}: {:?}", self.head);
        assert_eq!(self.built.bytes, self.bytes, "{name}");
        assert_eq!(
            self.layers("matrix_multiply"),
            self.nodes(&["MatMul", "Gemm"]),
            "{name}: {:?}",
            self.built.layer_types
        );
        assert_eq!(self.layers("softmax"), self.nodes(&["Softmax"]), "{name}: {:?}", self.built.layer_types);
        let range = self.weights * 9 / 10..=self.weights * 11 / 10 + kernels;
        assert!(range.contains(&self.bytes), "{name}: {} bytes of plan, {} of weights", self.bytes, self.weights);
    }
}

/// Counts what is written and keeps the beginning.
#[derive(Default)]
struct Counted {
    bytes: u64,
    head: Vec<u8>,
}

impl Write for Counted {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let kept = piece.len().min(64 - self.head.len());
        self.head.extend_from_slice(&piece[..kept]);
        self.bytes += piece.len() as u64;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
