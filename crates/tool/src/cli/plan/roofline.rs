//! `vla-trt plan --roofline`: the minimum time of each stage and of an inference, and published figures for the board.

use std::path::Path;

use anyhow::{Context as _, anyhow, bail};

use super::PlanArguments;
use super::mixes::MixStages;
use vla_engines::memory::mib;
use vla_engines::roofline::{BOARDS, Board, Bound, Machine, Published, REACHED_SHARE, Roofs, Work};
use vla_engines::{Stage, Symbols};
use vla_policy::PolicySpec;

/// The clocks to compare, and the published figures.
pub(crate) struct Machines {
    title: String,
    /// Heading of a clock, and the machine.
    modes: Vec<(String, Machine)>,
    /// Share of the memory bandwidth for a second floor; `None`: the bandwidth was measured.
    share: Option<f64>,
    published: &'static [Published],
}

/// Minimum time of one inference.
pub(crate) struct InferenceFloor {
    policy: String,
    cameras: usize,
    /// Optimal sizes of the symbolic dimensions.
    sizes: String,
    mix: String,
    /// Seconds per clock.
    seconds: Vec<f64>,
    /// The same with a share of the memory bandwidth.
    reached: Vec<f64>,
}

impl Machines {
    /// The clocks that the arguments name.
    ///
    /// # Errors
    /// An unknown board, or an invalid speed.
    pub(crate) fn new(args: &PlanArguments) -> anyhow::Result<Self> {
        if let Some(file) = &args.roofs {
            return Self::measured(file);
        }
        for (flag, value) in [("--bandwidth-gb-s", args.bandwidth_gb_s), ("--tflops", args.tflops)] {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                bail!("{flag}: expected a number above 0, found {value}");
            }
        }
        let Some(board) = Board::named(&args.board) else {
            let names: Vec<&str> = BOARDS.iter().map(|board| board.name).collect();
            bail!(
                "--board: '{}' is not known, expected {}; any other machine by --bandwidth-gb-s and --tflops",
                args.board,
                names.join(" or ")
            );
        };
        let own = args.bandwidth_gb_s.is_some() || args.tflops.is_some();
        let gb_s = args.bandwidth_gb_s.unwrap_or(board.gb_s);
        let mode =
            |name: &str, tflops: f64| (format!("{tflops} TFLOP/s{name}"), Machine::new(gb_s * 1e9, tflops * 1e12));
        let modes = match args.tflops {
            Some(tflops) => vec![mode("", tflops)],
            None => board.modes.iter().map(|m| mode(&format!(" at {}", m.name), m.fp16_tflops)).collect(),
        };
        let title = if own { format!("{gb_s} GB/s") } else { format!("{gb_s} GB/s ({})", board.name) };
        let share = Some(REACHED_SHARE);
        Ok(Self { title, modes, share, published: if own { &[] } else { board.published } })
    }

    /// The rates in a file of `bench --roofs --json`.
    fn measured(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("--roofs {}", file.display()))?;
        let roofs = Roofs::parse(&text).map_err(|problem| anyhow!("--roofs {}: {problem}", file.display()))?;
        let tera = |rate: f64| rate / 1e12;
        let (fp16, int8) = (tera(roofs.fp16_flops_per_s), tera(roofs.int8_ops_per_s));
        let title = format!("{:.1} GB/s ({}, {}, measured)", roofs.read_bytes_per_s / 1e9, roofs.device, roofs.engine);
        let modes = vec![(format!("{fp16:.3} TFLOP/s, INT8 {int8:.3} TOP/s"), roofs.machine())];
        Ok(Self { title, modes, share: None, published: &[] })
    }

    /// Prints the stages of a policy in each mix.
    pub(crate) fn print(
        &self,
        folder: &Path,
        spec: &PolicySpec,
        mixes: &[MixStages],
        steps: u32,
    ) -> Vec<InferenceFloor> {
        let rates: Vec<&str> = self.modes.iter().map(|(name, _)| name.as_str()).collect();
        println!(
            "least time at {} and {} (FP16 dense{}), {steps} denoising steps, usual sizes\n\
             a prediction from bytes and operations, not a measurement: weights once a run, inputs, outputs, keys and values; \
             nothing between layers",
            self.title,
            rates.join(", "),
            if self.share.is_some() { "; INT8 products with weights twice, FP32 an eighth" } else { "" }
        );
        let (sizes, cameras) = (usual_sizes(&spec.stages), spec.cameras.len());
        let mut floors = Vec::new();
        for (mix, stages) in mixes {
            println!("  {mix}, cameras {cameras}, {sizes}");
            let work: Vec<Work> = stages.iter().filter_map(|stage| Work::of(stage, steps)).collect();
            let seconds = self.print_stages(&work);
            let reached = self.reached(&work);
            let (policy, sizes, mix) = (super::folder_name(folder), sizes.clone(), mix.clone());
            floors.push(InferenceFloor { policy, cameras, sizes, mix, seconds, reached });
        }
        floors
    }

    /// Minimum times of an inference with a share of the memory bandwidth, one per clock.
    fn reached(&self, work: &[Work]) -> Vec<f64> {
        let Some(share) = self.share else { return Vec::new() };
        let machines = self.modes.iter().map(|(_, machine)| machine.with_bandwidth_share(share));
        machines.map(|machine| work.iter().map(|work| work.on(machine).seconds()).sum()).collect()
    }

    /// Prints one row per stage; returns the minimum times of an inference, one per clock.
    fn print_stages(&self, work: &[Work]) -> Vec<f64> {
        let width = work.iter().map(|work| work.stage.len()).max().unwrap_or(0).max("inference".len());
        print!(
            "  {:width$} {:>9} {:>4} {:>11} {:>10} {:>9} {:>9}",
            "stage", "precision", "runs", "weights MiB", "in/out MiB", "GFLOP", "memory ms"
        );
        self.modes.iter().for_each(|_| print!(" {:>10} {:>8} {:>7}", "compute ms", "floor ms", "bound"));
        println!();
        let mut all = vec![0.0; self.modes.len()];
        for work in work {
            let Work { stage, precision, runs, weight_bytes, io_bytes, flops, .. } = work;
            let memory_s = self.modes.first().map_or(0.0, |(_, machine)| work.on(*machine).memory_s);
            print!(
                "  {stage:width$} {precision:>9} {runs:>4} {:>11.1} {:>10.2} {:>9.2} {:>9.3}",
                mib(*weight_bytes),
                mib(*io_bytes),
                *flops as f64 / 1e9,
                memory_s * 1e3
            );
            for ((_, machine), sum) in self.modes.iter().zip(&mut all) {
                let floor = work.on(*machine);
                *sum += floor.seconds();
                let bound = match floor.bound() {
                    Bound::Memory => "memory",
                    Bound::Compute => "compute",
                };
                print!(" {:>10.3} {:>8.3} {bound:>7}", floor.compute_s * 1e3, floor.seconds() * 1e3);
            }
            println!();
        }
        print!("  {:width$} {:>9} {:>4} {:>11} {:>10} {:>9} {:>9}", "inference", "", "", "", "", "", "");
        all.iter().for_each(|seconds| print!(" {:>10} {:>8.3} {:>7}", "", seconds * 1e3, ""));
        println!();
        all
    }

    /// Prints the minimum times of all policies and mixes side by side, and the published figures.
    pub(crate) fn print_summary(&self, floors: &[InferenceFloor]) {
        println!("\npredicted floor of one inference at {}, ms (a prediction, not a measurement):", self.title);
        self.print_table(floors, |floor| &floor.seconds);
        if let Some(share) = self.share {
            println!("the same at {share} of the memory bandwidth, which others measured on an AGX Orin:");
            self.print_table(floors, |floor| &floor.reached);
        }
        for Published { ms, what } in self.published {
            println!("  published for this board, not by this project: {ms} ms ({what})");
        }
    }

    fn print_table(&self, floors: &[InferenceFloor], seconds_of: fn(&InferenceFloor) -> &Vec<f64>) {
        let longest = |of: fn(&InferenceFloor) -> &str| floors.iter().map(|floor| of(floor).len()).max().unwrap_or(0);
        let (policies, sizes, mixes) = (
            longest(|floor| &floor.policy).max(6),
            longest(|floor| &floor.sizes).max(5),
            longest(|floor| &floor.mix).max(3),
        );
        print!("  {:policies$} {:>7} {:sizes$} {:mixes$}", "policy", "cameras", "sizes", "mix");
        self.modes.iter().for_each(|(name, _)| print!("  {name}"));
        println!();
        for floor in floors {
            print!("  {:policies$} {:>7} {:sizes$} {:mixes$}", floor.policy, floor.cameras, floor.sizes, floor.mix);
            for ((name, _), seconds) in self.modes.iter().zip(seconds_of(floor)) {
                print!("  {:>width$.1}", seconds * 1e3, width = name.len());
            }
            println!();
        }
    }
}

/// As `S 377, T 53`.
fn usual_sizes(stages: &[Stage]) -> String {
    let sizes: Symbols =
        stages.iter().flat_map(|stage| &stage.profile).map(|(name, range)| (name.clone(), range[1])).collect();
    let sizes: Vec<String> = sizes.iter().map(|(name, size)| format!("{name} {size}")).collect();
    sizes.join(", ")
}
