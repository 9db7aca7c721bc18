//! SIMD dispatch at run time: loops compiled once for the baseline of the architecture and once for AVX2 with FMA.
//!
//! A [`Kernel`] is plain Rust that the compiler vectorises. Vectorisation neither reorders sums nor fuses a product and a
//! sum, so all paths give the same bits; `mul_add`, which is fused on every path, is an instruction only with FMA or NEON.
//! On aarch64 the portable path uses NEON.

/// Loops over contiguous memory. `run` and every function it calls must be `#[inline(always)]`: a function that is not
/// inlined is compiled for the baseline only.
pub trait Kernel {
    /// Result.
    type Output;

    /// Runs the loops.
    fn run(self) -> Self::Output;
}

/// An instruction set that this machine supports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Simd(Level);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Simd {
    /// The baseline of the architecture: SSE2 or NEON.
    pub const PORTABLE: Self = Self(Level::Portable);

    /// The widest that this machine supports.
    pub fn widest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            return Self(Level::Avx2);
        }
        Self::PORTABLE
    }

    /// Runs `kernel` compiled for this instruction set.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Level::Portable => kernel.run(),
            // SAFETY: only `widest` makes this value, after it detected AVX2 and FMA on this machine.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { run_avx2(kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
