//! Launches on a GPU in place of the emulator, where `VLA_TRT_TEST_GPU` is 1: the same tests of the same memory, which the GPU reads and
//! writes where it lies.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

use vla_cuda::kernels::Limits;
use vla_cuda::launch::{Arguments, CastArguments, Element, Kernel, Matrix};

use crate::support::LIMITS;

/// Memory is registered with the driver by pages.
const PAGE: usize = 4096;

/// Whether launches are meant for a GPU.
pub(crate) fn is_meant() -> bool {
    std::env::var_os("VLA_TRT_TEST_GPU").is_some_and(|value| value == "1")
}

/// Whole pages with all bits set: NaNs. A GPU can use them.
pub(crate) struct Memory {
    first: *mut u128,
    words: usize,
    layout: Layout,
}

// SAFETY: it owns its memory.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// At least so many bytes, in whole words.
    pub(crate) fn new(bytes: usize) -> Self {
        let words = bytes.div_ceil(16);
        let layout = Layout::from_size_align((words * 16).max(1).next_multiple_of(PAGE), PAGE).unwrap();
        // SAFETY: the layout is not empty.
        let first = unsafe { alloc(layout) };
        if first.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: that many bytes were just allocated.
        unsafe { first.write_bytes(0xff, layout.size()) };
        let memory = Self { first: first.cast(), words, layout };
        on_device::register(&memory);
        memory
    }

    pub(crate) fn words(&self) -> &[u128] {
        // SAFETY: they are its own, and begun.
        unsafe { std::slice::from_raw_parts(self.first, self.words) }
    }

    pub(crate) fn words_mut(&mut self) -> &mut [u128] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.first, self.words) }
    }
}

impl Clone for Memory {
    fn clone(&self) -> Self {
        let mut new = Self::new(self.words * 16);
        new.words_mut().copy_from_slice(self.words());
        new
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        on_device::forget(self);
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.first.cast(), self.layout) };
    }
}

/// Runs a kernel to its end; false where launches are the emulator's, as those are that the GPU does not have.
pub(crate) fn run(kernel: Kernel, arguments: Arguments, limits: Limits) -> bool {
    is_meant() && on_device::run(kernel, arguments, limits)
}

#[cfg(not(feature = "cuda"))]
mod on_device {
    use super::{Arguments, Kernel, Limits, Memory};

    pub(super) fn register(_: &Memory) {}
    pub(super) fn forget(_: &Memory) {}
    pub(super) fn run(_: Kernel, _: Arguments, _: Limits) -> bool {
        panic!("VLA_TRT_TEST_GPU needs the feature cuda")
    }
}

#[cfg(feature = "cuda")]
mod on_device {
    use std::sync::{Arc, OnceLock};

    use cudarc::driver::sys;
    use vla_cuda::device::Module;
    use vla_cuda::driver::Cuda;
    use vla_cuda::kernels::for_capability;

    use super::{Arguments, Kernel, Limits, Memory, is_meant};

    struct Gpu {
        cuda: Cuda,
        module: Arc<Module>,
    }

    fn gpu() -> &'static Gpu {
        static GPU: OnceLock<Gpu> = OnceLock::new();
        GPU.get_or_init(|| {
            let cuda = Cuda::open().expect("a GPU, because VLA_TRT_TEST_GPU is 1");
            let properties = cuda.properties().unwrap();
            let (major, minor) = properties.compute_capability;
            let image = for_capability(major, minor).unwrap_or_else(|missing| panic!("{missing}"));
            let module = Arc::new(Module::load(&cuda, &properties, image).unwrap());
            Gpu { cuda, module }
        })
    }

    pub(super) fn register(memory: &Memory) {
        if is_meant() {
            gpu().cuda.enter().unwrap();
            let (first, bytes) = (memory.first.cast(), memory.layout.size());
            // SAFETY: whole pages that live until they are forgotten.
            unsafe { sys::cuMemHostRegister_v2(first, bytes, sys::CU_MEMHOSTREGISTER_DEVICEMAP) }.result().unwrap();
        }
    }

    pub(super) fn forget(memory: &Memory) {
        if is_meant() {
            gpu().cuda.enter().unwrap();
            // SAFETY: registered, and no kernel runs: each is waited for.
            unsafe { sys::cuMemHostUnregister(memory.first.cast()) }.result().unwrap();
        }
    }

    pub(super) fn run(kernel: Kernel, arguments: Arguments, limits: Limits) -> bool {
        let Gpu { cuda, module } = gpu();
        if matches!(kernel, Kernel::TensorProduct(..)) && !module.limits().warpgroups {
            eprintln!("SKIPPED: tensor_product on this GPU, which is no sm_90; it runs in the emulator");
            return false;
        }
        cuda.enter().unwrap();
        let prepared = module.prepare_within(kernel, arguments, limits).unwrap();
        // SAFETY: the operands are registered memory, as large as the arguments say, and live until the stream was waited for.
        unsafe { prepared.enqueue(cuda.stream().cu_stream(), false) }.unwrap();
        cuda.wait().unwrap_or_else(|error| panic!("{kernel:?}: {error}"));
        true
    }
}

#[test]
fn a_gpu_that_is_asked_for_runs_a_kernel_in_memory_of_the_tests() {
    if !is_meant() {
        eprintln!("SKIPPED: kernels on a GPU: VLA_TRT_TEST_GPU is not 1; they run in the emulator");
        return;
    }
    let (mut from, mut to) = (Memory::new(32), Memory::new(32));
    let eight = bytemuck::cast::<[u16; 8], u128>([0x3c00, 0xbc00, 0, 0x4000, 0x4200, 0x4400, 0x3800, 0x7bff]);
    from.words_mut()[0] = eight;
    let matrix = |memory: &Memory| Matrix { address: memory.words().as_ptr() as u64, stride: 8 };
    let (x, y) = (matrix(&from), matrix(&to));
    to.words_mut().fill(0);
    let element = Element::F16 as u32;
    let arguments = CastArguments { x, y, rows: 1, columns: 8, from: element, to: element };
    assert!(run(Kernel::Cast, Arguments::Cast(arguments), LIMITS));
    assert_eq!(to.words(), [eight, 0]);
}
