//! What makes engines fit into memory.

use vla_engines::memory::{Alternatives, LowerPrecision, Shortage, mib};

/// Every change that would help, with its figure and whether it is enough.
pub fn shortage(shortage: &Shortage) -> String {
    let found = &shortage.alternatives;
    let mut lines = Vec::new();
    lines.extend(found.page_cache.map(|cached| {
        format!(
            "the page cache, {:.1} MiB that MemAvailable counts and the GPU driver does not: drop it (sync; echo 1 | sudo tee \
             /proc/sys/vm/drop_caches), or count it as free: memory.count_available: true (enough)",
            mib(cached)
        )
    }));
    lines.push(order(found));
    lines.push(profile(found));
    lines.extend(found.fitting_budget.map(|bytes| format!("memory.budget_mib: {} or more", bytes.div_ceil(1 << 20))));
    lines.extend(reserve(found));
    lines.extend(lower_precision(&found.lower_precision));
    if found.unified {
        lines.push(
            "closing the desktop and other programs (sudo systemctl isolate multi-user.target): how much that frees is not \
             known in advance"
                .to_owned(),
        );
        lines.push(
            "swap or zram: lets the system move the memory of other programs away, which raises the free memory; memory that \
             CUDA allocates is never swapped"
                .to_owned(),
        );
    } else {
        lines.push(
            "other programs on the GPU: nvidia-smi shows their memory; swap does not help, CUDA memory is never swapped"
                .to_owned(),
        );
    }
    format!("  what would help:\n    {}", lines.join("\n    "))
}

const fn enough(is_enough: bool) -> &'static str {
    if is_enough { "enough" } else { "not enough by itself" }
}

fn order(found: &Alternatives) -> String {
    match &found.order {
        Some((order, gain)) => format!(
            "engines.load_order: [{}] needs {:.1} MiB less ({})",
            order.join(", "),
            mib(*gain),
            enough(found.order_fits)
        ),
        None => "another load order: no, none needs less".to_owned(),
    }
}

fn profile(found: &Alternatives) -> String {
    match found.profile {
        Some(0) => "a lower maximum in the profiles: no, it saves nothing at the worst moment".to_owned(),
        Some(gain) => format!(
            "a lower maximum in the profiles: up to {:.1} MiB less, at their optimal sizes ({}); build again after it",
            mib(gain),
            enough(found.missing > 0 && gain >= found.missing)
        ),
        None => "a lower maximum in the profiles: how much it saves is not known".to_owned(),
    }
}

fn reserve(found: &Alternatives) -> Option<String> {
    match found.fitting_reserve {
        Some(bytes) => Some(format!("memory.reserve_mib: {} or less", bytes >> 20)),
        None if found.reserve > 0 && found.fitting_budget.is_none() => {
            Some("a smaller memory.reserve_mib: no, not even 0 is enough".to_owned())
        }
        None => None,
    }
}

fn lower_precision(found: &LowerPrecision) -> Option<String> {
    let single = (!found.single.is_empty())
        .then(|| format!("fp16 instead of fp32 for {} (precision in policy.yaml)", found.single.join(", ")));
    let half = (!found.half.is_empty()).then(|| {
        format!("8-bit products instead of fp16 for {} (vla-trt quantize, docs/quantize.md)", found.half.join(", "))
    });
    let changes: Vec<String> = single.into_iter().chain(half).collect();
    (!changes.is_empty()).then(|| format!("smaller engines: {}; build again after it", changes.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_engines_are_proposed_by_the_precision_of_each_stage() {
        let of = |single: &[&str], half: &[&str]| {
            let names = |stages: &[&str]| stages.iter().map(|stage| (*stage).to_owned()).collect();
            lower_precision(&LowerPrecision { single: names(single), half: names(half) })
        };
        let both = of(&["vision"], &["language"]).expect("a remedy");
        assert!(both.contains("fp32 for vision") && both.contains("fp16 for language"), "{both}");
        assert!(!of(&[], &["step"]).expect("a remedy").contains("fp32"));
        assert_eq!(of(&[], &[]), None);
    }
}
