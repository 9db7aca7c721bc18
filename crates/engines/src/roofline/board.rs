//! Boards by name, with the figures that their manufacturers publish.

use super::Machine;

/// A clock of a board's GPU, which decides its arithmetic.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mode {
    /// Its name, for people.
    pub name: &'static str,
    /// Dense FP16 TFLOP/s of the tensor cores.
    pub fp16_tflops: f64,
}

/// A latency that others published for the board, for comparison with a prediction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Published {
    /// Milliseconds of one inference.
    pub ms: f64,
    /// Author, network and conditions of the measurement.
    pub what: &'static str,
}

/// A board.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Board {
    /// Name on the command line.
    pub name: &'static str,
    /// Memory bandwidth, GB/s (1e9).
    pub gb_s: f64,
    /// Clocks, the slowest first.
    pub modes: &'static [Mode],
    /// What others published for it.
    pub published: &'static [Published],
}

/// Dense FP16: tensor cores x FP16 multiply-adds a cycle (256 a core) x 2 x clock. Orin NX has 32 of them, AGX Orin 64. The
/// vendor's TOPS are INT8, sparse, and of the deep-learning accelerators too.
pub const BOARDS: [Board; 2] = [
    Board {
        name: "orin-nx-16",
        gb_s: 102.4,
        modes: &[
            Mode { name: "918 MHz", fp16_tflops: 15.0 },
            Mode { name: "1173 MHz (MAXN_SUPER)", fp16_tflops: 19.0 },
        ],
        published: &[Published {
            ms: 252.3,
            what: "vla.cpp (VinRobotics), GR00T N1.6, one view of 224 px, 4 steps, MAXN_SUPER, measured by its authors",
        }],
    },
    Board {
        name: "agx-orin-64",
        gb_s: 204.8,
        modes: &[Mode { name: "1300 MHz", fp16_tflops: 42.6 }],
        published: &[
            Published {
                ms: 133.1,
                what: "vla.cpp (VinRobotics), GR00T N1.6, one view of 224 px, 4 steps, measured by its authors",
            },
            Published { ms: 173.0, what: "NVIDIA, GR00T N1.6, DiT in TensorRT, one view, 4 steps, its README" },
        ],
    },
];

impl Board {
    /// The board of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        BOARDS.iter().find(|board| board.name == name)
    }

    /// The machine that it is in a mode.
    pub fn machine(&self, mode: Mode) -> Machine {
        Machine::new(self.gb_s * 1e9, mode.fp16_tflops * 1e12)
    }
}
