//! Programs as a whole: plans of lists of operations, run on the CPU and compared with the lists' evaluation in double precision.
//!
//! Kernels run in the emulator, products in a plain loop. Memory that a plan has not written is NaN.
#![allow(clippy::unwrap_used)]

mod programs {
    mod damaged;
    mod demo;
    mod device;
    mod eight_bits;
    mod figures;
    mod inference;
    mod random;
    mod run;
    mod stages;
    mod tiled;
}
