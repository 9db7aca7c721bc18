//! Products on the device: their descriptors, algorithms, and the plans that depend on both.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::PRODUCT_WORKSPACE;
use super::engine::LoadedOperations;
use super::instance::refused;
use super::measure::Measurer;
use super::module::Module;
use crate::DeviceBlock;
use crate::cublas::{Algorithm, Descriptors, Handle, Library};
use crate::driver::Cuda;
use crate::launch::{Launch, Product};
use crate::plan::Plan;
use crate::tactics::{Key, Machine, Split, Tactics};
use vla_engines::provenance::DeviceIdentity;
use vla_engines::{Error, Symbols};

/// cuBLASLt in the device's context, with the memory that its algorithms work in: one block, because products run one after the other
/// on one stream.
#[derive(Clone)]
pub(super) struct Products {
    pub(super) handle: Arc<Handle>,
    workspace: Arc<DeviceBlock>,
}

/// A product with everything looked up.
pub(super) struct PreparedProduct {
    descriptors: Descriptors,
    algorithm: Algorithm,
    addresses: [u64; 3],
    workspace: Arc<DeviceBlock>,
}

impl Products {
    pub(super) fn new(cuda: &Cuda, library: Library) -> Result<Self, Error> {
        let handle = Arc::new(Handle::new(cuda, library)?);
        Ok(Self { handle, workspace: Arc::new(DeviceBlock::zeroed(cuda, PRODUCT_WORKSPACE)?) })
    }

    /// The plan of an engine for these sizes. Products that no tactic is known for are measured, once for each load: a plan for other
    /// sizes later takes the nearest tactics, so that it delays no inference by more than its making. Weights are put into tiles that its
    /// launches read so.
    pub(super) fn plan(
        &self,
        cuda: &Cuda,
        module: &Arc<Module>,
        engine: &LoadedOperations,
        symbols: &Symbols,
    ) -> Result<Plan, Error> {
        let plan = |choose: &dyn crate::tactics::Choose| {
            Plan::new(&engine.program, &engine.layout, symbols, choose).map_err(refused(&engine.stage))
        };
        let mut tactics = engine.tactics.borrow_mut();
        if !tactics.measured {
            tactics.choices.forget_without_room(module.limits());
            let whole = plan(&Split::WHOLE)?;
            let keys: BTreeSet<Key> = whole.products().map(Key::of).collect();
            let missing: Vec<Key> = keys.into_iter().filter(|key| tactics.choices.nearest(key).is_none()).collect();
            if !missing.is_empty() {
                tracing::info!(
                    stage = %engine.stage,
                    "measuring the algorithms of {} products; the next start takes them from {}",
                    missing.len(),
                    tactics.file.display()
                );
                let mut measurer = Measurer::new(self, cuda, module, &engine.weights)?;
                match tactics.choices.measure(missing, &mut measurer) {
                    Ok(unmeasured) => {
                        for key in unmeasured {
                            tracing::warn!(stage = %engine.stage, ?key, "no algorithm could be measured");
                        }
                    }
                    // Measuring takes memory that no plan counts, and products run without it.
                    Err(error @ Error::OutOfMemory { .. }) => {
                        tracing::warn!(stage = %engine.stage, "products run by cuBLASLt's own choice of algorithms: {error}");
                    }
                    Err(error) => return Err(error),
                }
                tactics.keep();
            }
            tactics.measured = true;
        }
        let plan = plan(&tactics.choices)?;
        self.tile(cuda, module, engine, &plan)?;
        Ok(plan)
    }

    /// Puts weights into tiles that the plan's launches want there, by way of the workspace. The stream is empty before and after.
    fn tile(&self, cuda: &Cuda, module: &Arc<Module>, engine: &LoadedOperations, plan: &Plan) -> Result<(), Error> {
        let refused = |reason: String| Error::Device {
            action: format!("putting weights of stage '{}' into tiles", engine.stage),
            source: reason.into(),
        };
        let wanted = plan.tilings(engine.weights.address());
        let mut places = engine.places.borrow_mut();
        let missing = places.missing(&wanted).map_err(refused)?;
        let (room, bytes) = (self.workspace.address(), self.workspace.bytes() as u64);
        let mut prepared = Vec::new();
        for tiling in &missing {
            let launches = tiling.launches(room, bytes);
            let launches = launches.ok_or_else(|| {
                refused(format!(
                    "expected room for tiles of {} outputs by {} channels, found {bytes} bytes",
                    tiling.outputs, tiling.from
                ))
            })?;
            for launch in launches {
                if let Launch::Kernel { kernel, arguments } = launch {
                    prepared.push(module.prepare(kernel, arguments)?);
                }
            }
        }
        places.moving(&missing);
        // SAFETY: the weights are of the engine's block and the room is of this value, both as large as the launches say; they live
        // until the stream was waited for, also after an error.
        let enqueued =
            prepared.iter().try_for_each(|kernel| unsafe { kernel.enqueue(cuda.stream().cu_stream(), false) });
        if !missing.is_empty() {
            cuda.wait()?;
        }
        enqueued?;
        places.arrived(&wanted);
        Ok(())
    }

    /// A product of a plan, by the measured algorithm where the library takes it, else by its own first choice.
    pub(super) fn prepare(&self, tactics: &Tactics, product: Product) -> Result<PreparedProduct, Error> {
        let descriptors = Descriptors::new(&self.handle, &product)?;
        let addresses = [product.weight, product.x.address, product.y.address];
        // Algorithms are measured on aligned memory, and the library's check does not look at addresses.
        let aligned = addresses.iter().all(|address| address.is_multiple_of(16));
        let measured = tactics.algorithm(&product).filter(|_| aligned).and_then(Algorithm::of_bytes);
        let measured = measured.filter(|algorithm| descriptors.accepts(algorithm, PRODUCT_WORKSPACE));
        let algorithm = match measured {
            Some(algorithm) => algorithm,
            None => descriptors.algorithms(PRODUCT_WORKSPACE, addresses, false)?.first().copied().ok_or_else(|| {
                let Product { rows, from, to, element, parts, .. } = product;
                let what = format!("[{rows}, {from}] x [{from}, {to}] in {element:?}, {parts} parts");
                Error::Device {
                    action: "preparing a product".to_owned(),
                    source: format!("no algorithm for {what}").into(),
                }
            })?,
        };
        Ok(self.by(descriptors, algorithm, &product))
    }

    /// A product by an algorithm that the library takes.
    pub(super) fn by(&self, descriptors: Descriptors, algorithm: Algorithm, product: &Product) -> PreparedProduct {
        let addresses = [product.weight, product.x.address, product.y.address];
        PreparedProduct { descriptors, algorithm, addresses, workspace: Arc::clone(&self.workspace) }
    }
}

impl PreparedProduct {
    /// Puts the product on the stream.
    ///
    /// # Safety
    /// The product's addresses are of memory on the device, as large as it says, which lives until the stream is done; the context is
    /// current, and all products of a device are put on its one stream.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub(super) unsafe fn enqueue(&self, stream: *mut c_void) -> Result<(), Error> {
        let workspace = (self.workspace.address(), self.workspace.bytes());
        // SAFETY: the workspace is of this value; the rest is the caller's.
        unsafe { self.descriptors.enqueue(&self.algorithm, self.addresses, workspace, stream) }
    }
}

/// Tactics of one engine, with the file that keeps them.
pub(super) struct KeptTactics {
    pub(super) choices: Tactics,
    /// Whether this load has measured what was missing.
    measured: bool,
    file: PathBuf,
}

impl KeptTactics {
    /// Those of the list of operations `file`, for this device. A file of another device or version, or a damaged one, is replaced
    /// after the next measuring.
    pub(super) fn open(file: &Path, device: &DeviceIdentity) -> Self {
        let machine = Machine {
            device: device.gpu.clone(),
            compute_capability: device.sm_version.clone(),
            driver: device.driver.clone(),
            cublaslt: device.tensorrt.clone(),
        };
        let mut name = file.as_os_str().to_owned();
        name.push(".tactics.json");
        let file = PathBuf::from(name);
        let (choices, unusable) = Tactics::read_or_new(&file, &machine);
        if let Some(reason) = unusable {
            tracing::warn!("{reason}");
        }
        Self { choices, measured: false, file }
    }

    /// Writes the file. One that cannot be written costs the next start its time only.
    fn keep(&self) {
        if let Err(error) = self.choices.write(&self.file) {
            tracing::warn!("the measured algorithms were not kept: {error}");
        }
    }
}
