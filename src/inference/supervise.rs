//! Loading, serving and reloading, after a refused load or a lost device.

use vla_engines::ErrorClass;

/// Why no policy is loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// Class of the error.
    pub class: ErrorClass,
    /// The error and what to do about it.
    pub reason: String,
}

/// Why serving ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The node ends.
    Shutdown,
    /// Every call to the device fails until it is created again.
    DeviceLost(String),
    /// The policy is to be loaded again from its folder.
    Reload,
    /// The policy is to be freed.
    Unload,
    /// The policy is gone for another reason.
    Failed(Failure),
}

/// The policy and its engines, as the supervision uses them.
pub(crate) trait PolicyLifecycle {
    /// A loaded policy. Dropping it frees its engines.
    type Session;

    /// Loads it; the reason when that is refused, with nothing left behind.
    fn load(&mut self) -> Result<Self::Session, Failure>;

    /// Runs until something ends it. The session is gone afterwards.
    fn serve(&mut self, session: Self::Session) -> End;

    /// Most reloads after a lost device, by the present settings.
    fn max_restarts(&self) -> u32;

    /// Called before a reload after a lost device, the `restarts`-th since the start or the last `~/reload`.
    fn restarting(&mut self, restarts: u32, reason: &str);

    /// Waits with no policy until one is asked for; false at the end of the node.
    fn unloaded(&mut self) -> bool;

    /// As [`PolicyLifecycle::unloaded`], after a failure.
    fn degraded(&mut self, failure: &Failure) -> bool;
}

/// Runs until the node ends, beginning without a policy. A lost device is loaded again at most [`PolicyLifecycle::max_restarts`] times between two reloads;
/// a refused load waits for the next request to load.
pub(crate) fn supervise(lifecycle: &mut impl PolicyLifecycle) {
    let mut restarts = 0;
    if !lifecycle.unloaded() {
        return;
    }
    loop {
        let end = match lifecycle.load() {
            Ok(session) => lifecycle.serve(session),
            Err(failure) => End::Failed(failure),
        };
        let failure = match end {
            End::Shutdown => return,
            End::Unload if lifecycle.unloaded() => {
                restarts = 0;
                continue;
            }
            End::Unload => return,
            End::Reload => {
                restarts = 0;
                continue;
            }
            End::DeviceLost(reason) if restarts < lifecycle.max_restarts() => {
                restarts += 1;
                lifecycle.restarting(restarts, &reason);
                continue;
            }
            End::DeviceLost(reason) => Failure {
                class: ErrorClass::DeviceLost,
                reason: format!("{reason}\nloaded again {restarts} times already (engine.max_restarts)"),
            },
            End::Failed(failure) => failure,
        };
        if !lifecycle.degraded(&failure) {
            return;
        }
        restarts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in lifecycle: each load and each session end as written down beforehand, and everything is noted.
    struct Scripted {
        loads: Vec<Result<(), &'static str>>,
        ends: Vec<End>,
        reloads: usize,
        max_restarts: u32,
        log: Vec<String>,
        classes: Vec<ErrorClass>,
    }

    fn failure(reason: &str) -> Failure {
        Failure { class: ErrorClass::DoesNotFit, reason: reason.to_owned() }
    }

    impl PolicyLifecycle for Scripted {
        type Session = ();

        fn load(&mut self) -> Result<(), Failure> {
            self.log.push("load".into());
            let next = if self.loads.is_empty() { Ok(()) } else { self.loads.remove(0) };
            next.map_err(failure)
        }

        fn serve(&mut self, (): ()) -> End {
            if self.ends.is_empty() { End::Shutdown } else { self.ends.remove(0) }
        }

        fn max_restarts(&self) -> u32 {
            self.max_restarts
        }

        fn restarting(&mut self, restarts: u32, reason: &str) {
            self.log.push(format!("restart {restarts}: {reason}"));
        }

        fn unloaded(&mut self) -> bool {
            self.log.push("unloaded".into());
            true
        }

        fn degraded(&mut self, failure: &Failure) -> bool {
            self.log.push(format!("degraded: {}", failure.reason));
            self.classes.push(failure.class);
            self.reloads = self.reloads.wrapping_sub(1);
            self.reloads != usize::MAX
        }
    }

    fn supervised(loads: &[Result<(), &'static str>], ends: &[End], reloads: usize, max_restarts: u32) -> Scripted {
        let (loads, ends, log, classes) = (loads.to_vec(), ends.to_vec(), Vec::new(), Vec::new());
        let mut lifecycle = Scripted { loads, ends, reloads, max_restarts, log, classes };
        supervise(&mut lifecycle);
        lifecycle
    }

    fn run(loads: &[Result<(), &'static str>], ends: &[End], reloads: usize, max_restarts: u32) -> Vec<String> {
        let mut log = supervised(loads, ends, reloads, max_restarts).log;
        assert_eq!(log.remove(0), "unloaded", "the start");
        log
    }

    fn lost() -> End {
        End::DeviceLost("CUDA error 700".into())
    }

    #[test]
    fn a_lost_device_is_loaded_again_at_most_as_often_as_allowed_and_then_the_node_is_degraded() {
        assert_eq!(
            run(&[], &[lost(), lost(), lost(), lost()], 0, 2),
            [
                "load",
                "restart 1: CUDA error 700",
                "load",
                "restart 2: CUDA error 700",
                "load",
                "degraded: CUDA error 700\nloaded again 2 times already (engine.max_restarts)",
            ]
        );
        assert_eq!(
            run(&[], &[lost()], 0, 0)[1..],
            ["degraded: CUDA error 700\nloaded again 0 times already (engine.max_restarts)"]
        );
    }

    #[test]
    fn a_reload_gives_the_restarts_anew() {
        let log = run(&[], &[lost(), lost(), lost()], 1, 1);
        assert_eq!(log.iter().filter(|entry| entry.starts_with("restart 1")).count(), 2, "{log:?}");
    }

    #[test]
    fn a_reload_of_a_running_policy_loads_again_and_one_that_is_refused_then_leaves_none() {
        assert_eq!(run(&[], &[End::Reload, End::Reload], 0, 0), ["load", "load", "load"]);
        let loads = [Ok(()), Err("no such stage")];
        assert_eq!(
            run(&loads, &[lost(), End::Reload], 0, 1),
            ["load", "restart 1: CUDA error 700", "load", "degraded: no such stage"]
        );
        assert_eq!(run(&loads, &[End::Reload], 1, 0), ["load", "load", "degraded: no such stage", "load"]);
        // The restarts of before are forgotten.
        let log = run(&[], &[lost(), End::Reload, lost()], 0, 1);
        assert_eq!(log.iter().filter(|entry| entry.starts_with("restart 1")).count(), 2, "{log:?}");
    }

    #[test]
    fn a_refused_load_waits_for_a_reload_and_does_not_count_as_a_restart() {
        assert_eq!(run(&[Err("too large"), Ok(())], &[], 1, 3), ["load", "degraded: too large", "load"]);
    }

    #[test]
    fn a_load_that_fails_after_a_lost_device_ends_the_restarts() {
        let log = run(&[Ok(()), Err("no GPU")], &[lost()], 0, 3);
        assert_eq!(log, ["load", "restart 1: CUDA error 700", "load", "degraded: no GPU"]);
    }

    #[test]
    fn the_class_of_the_error_tells_a_lost_device_from_a_refused_load() {
        assert_eq!(supervised(&[], &[lost()], 0, 0).classes, [ErrorClass::DeviceLost]);
        assert_eq!(supervised(&[Err("too large")], &[], 0, 3).classes, [ErrorClass::DoesNotFit]);
    }

    #[test]
    fn a_freed_policy_is_loaded_when_one_is_asked_for_again_with_every_restart_left() {
        assert_eq!(run(&[], &[End::Unload, End::Unload], 0, 0), ["load", "unloaded", "load", "unloaded", "load"]);
        let log = run(&[], &[lost(), End::Unload, lost()], 0, 1);
        assert_eq!(log.iter().filter(|entry| entry.starts_with("restart 1")).count(), 2, "{log:?}");
    }

    #[test]
    fn the_end_of_the_node_ends_everything() {
        assert_eq!(run(&[], &[End::Shutdown], 5, 3), ["load"]);
        assert_eq!(run(&[], &[End::Failed(failure("a bug"))], 0, 3), ["load", "degraded: a bug"]);
    }
}
