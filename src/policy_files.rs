//! Checks once a second whether the files of the loaded policy have changed on disk. The loaded policy does not change with them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::latest::Latest;
use super::report::{Engines, Report};

/// Time between two checks.
const PERIOD: Duration = Duration::from_secs(1);

/// Runs until the task is aborted; stores its findings in `report` and logs new ones.
pub(crate) async fn watch(report: Arc<Latest<Report>>) {
    let mut look = tokio::time::interval(PERIOD);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let Some(engines) = report.get().engines else { continue };
        // On a blocking thread: a slow disk delays no other task.
        let looked = Arc::clone(&engines);
        let Ok(found) = tokio::task::spawn_blocking(move || changed(&looked)).await else { continue };
        note(&report, &engines, found);
    }
}

fn changed(engines: &Engines) -> Option<Arc<str>> {
    let changed = engines.files.changed();
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    (!changed.is_empty()).then(|| changed.into_iter().map(name).collect::<Vec<_>>().join(", ").into())
}

/// Stores the finding, unless another policy was loaded meanwhile.
fn note(report: &Latest<Report>, engines: &Arc<Engines>, found: Option<Arc<str>>) {
    let mut is_new = false;
    report.update(|report| {
        if report.engines.as_ref().is_some_and(|loaded| Arc::ptr_eq(loaded, engines)) {
            is_new = report.changed_on_disk != found;
            report.changed_on_disk.clone_from(&found);
        }
    });
    match found.filter(|_| is_new) {
        Some(files) => tracing::warn!(
            "the policy on disk differs from the loaded one ({}); ~/reload loads it. Changed files: {files}",
            engines.fingerprint
        ),
        None if is_new => tracing::info!("the policy on disk equals the loaded one again"),
        None => {}
    }
}
