//! Runs the kernels of `vla_cuda` on the CPU, for tests.
//!
//! The kernels are compiled by the host's C++ compiler. A block's threads run one at a time in random order between barriers, so a
//! missing barrier is likely to give wrong results; vector accesses check their alignment; shared memory begins as NaNs. Time is not
//! emulated, nor are two clusters that run at once.

#![expect(unsafe_code, reason = "calls into the emulator's C++")]

mod random;

pub use random::Random;

use std::ffi::{CStr, CString, c_char, c_void};

unsafe extern "C" {
    #[allow(clippy::too_many_arguments)]
    fn vla_cuda_emulate(
        name: *const c_char,
        grid: *const u32,
        block: *const u32,
        cluster: u32,
        shared: u32,
        arguments: *const c_void,
        size: usize,
        seed: u64,
        before: Option<extern "C" fn(*mut c_void)>,
        context: *mut c_void,
    ) -> *const c_char;
    fn vla_cuda_emulator_layout(i: usize) -> *const Layout;
}

#[repr(C)]
struct Layout {
    field: *const c_char,
    value: usize,
}

/// How a kernel is launched.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Blocks of a cluster, along the grid's first dimension.
    pub cluster: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// Seed of the order in which threads run.
    pub seed: u64,
}

/// Runs a kernel to its end.
///
/// # Errors
/// Unknown kernel, other size of arguments, unaligned vector access, deadlock: with block and thread.
///
/// # Safety
/// `arguments` is the kernel's structure and its size (`vla_cuda::launch::Parameters::raw`), and every address in it is of memory on the host that is large enough for what the
/// structure says and that nothing else uses during the call.
pub unsafe fn emulate(name: &str, grid: &Grid, arguments: (*const c_void, usize)) -> Result<(), String> {
    // SAFETY: the caller's promise.
    unsafe { emulate_after(name, grid, arguments, || ()) }
}

/// As [`emulate`], with `before` called when every thread of the first block waits for the launch before: what the kernel reads
/// earlier, it must not need from `before`.
///
/// # Errors
/// As [`emulate`].
///
/// # Safety
/// As [`emulate`]; `before` may write through the same addresses.
pub unsafe fn emulate_after<F: FnMut()>(
    name: &str,
    grid: &Grid,
    arguments: (*const c_void, usize),
    mut before: F,
) -> Result<(), String> {
    extern "C" fn call<F: FnMut()>(context: *mut c_void) {
        // SAFETY: `context` is the `before` below, which lives until the emulation returns.
        unsafe { (*context.cast::<F>())() }
    }
    let name = CString::new(name).map_err(|error| error.to_string())?;
    // SAFETY: the caller promises what the arguments say; the other pointers live until the call returns.
    let error = unsafe {
        vla_cuda_emulate(
            name.as_ptr(),
            grid.grid.as_ptr(),
            grid.block.as_ptr(),
            grid.cluster,
            grid.shared,
            arguments.0,
            arguments.1,
            grid.seed,
            Some(call::<F>),
            (&raw mut before).cast(),
        )
    };
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a string that lives until this thread's next call.
    Err(unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned())
}

/// The emulator's tensor map of a matrix of 16-bit elements: its address, columns, rows, bytes from row to row, and the rows of a tile.
pub fn tensor_map(address: u64, columns: u64, rows: u64, stride: u64, tile_rows: u64) -> [u64; 16] {
    let mut words = [0; 16];
    words[..5].copy_from_slice(&[address, columns, rows, stride, tile_rows]);
    words
}

/// Offsets of the fields of the kernels' structures (`"Matrix.stride"`), and the structures' sizes (`"Matrix"`).
pub fn layouts() -> Vec<(String, usize)> {
    let mut found = Vec::new();
    loop {
        // SAFETY: a static table, null behind its end.
        let Some(layout) = (unsafe { vla_cuda_emulator_layout(found.len()).as_ref() }) else { return found };
        // SAFETY: a string literal.
        let field = unsafe { CStr::from_ptr(layout.field) };
        found.push((field.to_string_lossy().into_owned(), layout.value));
    }
}
