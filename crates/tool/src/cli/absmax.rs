//! `vla-trt export --absmax-from`: measures on a bag which tensors of a policy exceed the range of half precision.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};

use super::bar::Bar;
use super::settings::{bag_or_dataset, overrides, settings_for};
use vla_bags::BagReader;
use vla_base::tensor::DType;
use vla_datasets::Dataset;
use vla_export::bundle;
use vla_export::bundle::Request;
use vla_export::staging::Staging;
use vla_offline::activation_range;
use vla_offline::activation_range::{Options, Progress, Report};
use vla_offline::replay::{BagClock, Source};
use vla_policy::PolicySpec;
use vla_runtime::parameters::Settings;

/// File of a bundle with the measurements.
const FILE: &str = "absmax.csv";

/// Options of the measurement.
#[derive(clap::Args, Debug)]
pub(crate) struct Absmax {
    /// Run the network over this bag or LeRobot data set on ONNX Runtime in FP32, record the largest magnitude of each inner tensor in
    /// absmax.csv of the bundle, and print which stages FP16 cannot represent. Needs --absmax-params.
    #[arg(long, value_name = "BAG", requires = "absmax_params")]
    absmax_from: Option<PathBuf>,
    /// The clock that counts where that bag's header stamps and log times are of two clocks.
    #[arg(long, value_name = "header|log", requires = "absmax_from")]
    absmax_clock: Option<BagClock>,
    /// The node's parameters for that bag, as `vla-trt replay --params` takes them: which topic feeds which camera, which
    /// joints feed which state key.
    #[arg(long, value_name = "FILE", requires = "absmax_from")]
    absmax_params: Option<PathBuf>,
    /// Set one of these parameters, as the node's `-p` does; may be given several times.
    #[arg(long, value_name = "NAME:=VALUE", requires = "absmax_from")]
    absmax_param: Vec<String>,
    /// Observations at most, spread evenly over the bag.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    absmax_observations: u16,
}

impl Absmax {
    /// Measures if requested. Its temporary files are deleted at the end; a policy in `out` is not changed.
    ///
    /// # Errors
    /// Invalid bag or parameters, before the export starts; errors of running the network.
    pub(crate) fn measure(&self, request: &Request, out: &Path) -> anyhow::Result<Option<Report>> {
        let Some(bag) = &self.absmax_from else { return Ok(None) };
        // Checked before the export, which takes minutes.
        let source = bag_or_dataset(bag, self.absmax_clock);
        match &source {
            Source::Bag(_) => drop(BagReader::open(bag)?),
            Source::Dataset(_) => drop(Dataset::open(bag)?),
        }
        overrides(self.absmax_params.as_deref(), &self.absmax_param)?;
        let scratch = Staging::scratch(out)?;
        let mut bar = Bar::new();
        bundle::fill_measured(request, scratch.dir(), &mut |progress| bar.show(progress))?;
        drop(bar);
        let spec = PolicySpec::load(scratch.dir())?;
        let settings: Arc<Settings> = settings_for(&spec, &source, self.absmax_params.as_deref(), &self.absmax_param)?;
        let options = Options { source, observations: usize::from(self.absmax_observations) };
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{msg:24} [{bar:40}] {pos}/{len} {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        let report = activation_range::measure(spec, &settings, &options, &mut |progress| show(&bar, progress));
        bar.finish_and_clear();
        Ok(Some(report?))
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    let (message, done, total) = match progress {
        Progress::Replay(fraction) => ("reading the bag".to_owned(), (fraction * 100.0) as u64, 100),
        Progress::Stage { stage, done, total } => (format!("measuring {stage}"), done as u64, total as u64),
    };
    bar.set_message(message);
    bar.set_length(total);
    bar.set_position(done);
}

/// Writes the report into the bundle and prints it, with a warning for each stage that was exported in half precision and
/// exceeds its range.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn publish(report: &Report, request: &Request, out: &Path) -> anyhow::Result<()> {
    let path = out.join(FILE);
    vla_base::sys::fs::replace(&path, report.csv().as_bytes())?;
    print!("{report}");
    for stage in report.stages.iter().filter(|stage| stage.leaves()) {
        let part = stage.name.split('_').next().unwrap_or_default();
        if request.dtype_of.get(part).copied().unwrap_or(request.dtype) == DType::F16 {
            tracing::warn!("{} was exported as fp16, which cannot hold it: add --dtype-of {part}=fp32", stage.name);
        }
    }
    println!("{}", path.display());
    Ok(())
}
