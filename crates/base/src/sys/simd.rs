//! Loops compiled twice: once for every machine of the architecture, once for the wider vector registers that most
//! x86-64 machines have. Which one runs is decided at run time.
//!
//! Nothing here computes: a [`Kernel`] is plain Rust that the compiler vectorises. Vectorising neither reorders sums nor
//! contracts a product and a sum, so all paths give the same bits. On aarch64 the portable path is the NEON one.

/// Plain loops over contiguous memory. `run` and all that it calls must be `#[inline(always)]`: what is not inlined is
/// compiled for every machine.
pub trait Kernel {
    /// What it makes.
    type Output;

    /// Does the work.
    fn run(self) -> Self::Output;
}

/// A set of instructions that kernels are compiled for. One that is there is one that this machine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Simd(Level);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Simd {
    /// What every machine of the architecture has: SSE2 or NEON.
    pub const PORTABLE: Self = Self(Level::Portable);

    /// The widest that this machine has.
    pub fn widest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self(Level::Avx2);
        }
        Self::PORTABLE
    }

    /// Runs `kernel` compiled for these instructions.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Level::Portable => kernel.run(),
            // SAFETY: `widest` makes this value, and only after it found AVX2 on this machine.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { run_avx2(kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}
