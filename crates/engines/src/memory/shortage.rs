//! Why the engines do not fit: which limit, by how much, and the plan.

use std::error::Error;
use std::fmt;

use super::plan::MemoryPlan;
use super::{Alternatives, mib};
use crate::error::Cause;

/// The limit that is exceeded. Figures are bytes.
#[derive(Debug)]
pub enum Limit {
    /// The operator's budget.
    Budget {
        /// Held and still to be allocated at the worst moment, margin included.
        needed: u64,
        /// The budget (less the reserve, if the budget is that of a whole machine).
        allowed: u64,
    },
    /// The machine's memory (the host's, or the one pool of an integrated GPU).
    Machine {
        /// Still to be allocated at the worst moment, margin included.
        needed: u64,
        /// Free now, before the reserve is subtracted.
        free: u64,
    },
    /// The memory of a discrete GPU.
    Device {
        /// Still to be allocated at the worst moment, margin included.
        needed: u64,
        /// Free now.
        free: u64,
    },
    /// An allocation of the runtime failed.
    Runtime {
        /// The failed operation.
        action: String,
        /// Message of the runtime.
        source: Cause,
    },
}

/// The engines do not fit into memory. Its text is a summary line and the table of the plan.
#[derive(Debug)]
pub struct Shortage {
    /// Stage that was to be loaded next; `None`: all are loaded.
    pub stage: Option<String>,
    /// The exceeded limit.
    pub limit: Limit,
    /// What each stage needs, and which stages are loaded.
    pub plan: MemoryPlan,
    /// Changes that would make the engines fit.
    pub alternatives: Alternatives,
}

impl Shortage {
    /// Bytes missing; 0 when an allocation of a runtime failed, which does not say by how much.
    pub fn missing(&self) -> u64 {
        self.alternatives.missing
    }

    /// One line: stage, limit and figures.
    pub fn summary(&self) -> String {
        let what = match &self.stage {
            Some(stage) => format!("not enough memory to load stage '{stage}'"),
            None => "not enough memory to run the loaded engines".to_owned(),
        };
        // Rounded up: a shortage is never shown as 0.
        let missing = (mib(self.missing()) * 10.0).ceil() / 10.0;
        match &self.limit {
            Limit::Budget { needed, allowed } => format!(
                "{what}: {:.1} MiB needed, {:.1} MiB allowed by the memory budget, {missing:.1} MiB missing",
                mib(*needed),
                mib(*allowed)
            ),
            Limit::Machine { needed, free } => {
                let reserve = mib(self.alternatives.reserve);
                let cached = self.alternatives.page_cache.map_or_else(String::new, |bytes| {
                    format!(" by the GPU driver's count, without {:.1} MiB of page cache,", mib(bytes))
                });
                format!(
                    "{what}: {:.1} MiB still to come, {:.1} MiB free{cached} of which {reserve:.1} MiB are reserved, \
                     {missing:.1} MiB missing",
                    mib(*needed),
                    mib(*free)
                )
            }
            Limit::Device { needed, free } => format!(
                "{what}: {:.1} MiB still to come on the GPU, {:.1} MiB free there, {missing:.1} MiB missing",
                mib(*needed),
                mib(*free)
            ),
            Limit::Runtime { action, source } => format!("{what}: {action}: {source}"),
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.summary(), self.plan.to_string().trim_end())
    }
}

impl Error for Shortage {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.limit {
            Limit::Runtime { source, .. } => Some(source.as_ref()),
            Limit::Budget { .. } | Limit::Machine { .. } | Limit::Device { .. } => None,
        }
    }
}
