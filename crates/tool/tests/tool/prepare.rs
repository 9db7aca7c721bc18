//! `vla-trt prepare-system` on a Jetson laid out in a folder: real shell scripts stand for its programs and log how they
//! were called; nothing of this machine is changed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use vla_trt::prepare::{Error, Preparation, STATE};

/// `nvpmodel`: keeps its mode as the real one does; mode 1 needs a reboot and asks.
const NVPMODEL: &str = r#"#!/bin/sh
root="$(dirname "$0")/../.."
echo "nvpmodel $*" >> "$root/log"
case "$1" in
  -q) echo "NV Power Mode: SOME"; cat "$root/var/lib/nvpmodel/status" | sed 's/pmode:0*\([0-9]\)/\1/' ;;
  -m) if [ "$2" = 0 ] && [ -e "$root/needs_reboot" ]; then
        echo "NVPM WARN: Reboot required for changing to this power mode: 0"
        echo "DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:"
        read -r answer
        echo "answered $answer" >> "$root/log"
        exit 0
      fi
      [ -e "$root/stuck" ] && { echo "NVPM ERROR: stuck"; exit 1; }
      echo "pmode:000$2" > "$root/var/lib/nvpmodel/status" ;;
esac
"#;

const JETSON_CLOCKS: &str = r#"#!/bin/sh
root="$(dirname "$0")/../.."
echo "jetson_clocks $1" >> "$root/log"
case "$1" in
  --store) cp "$root/clock" "$2" ;;
  --restore) cp "$2" "$root/clock" ;;
  *) [ -e "$root/clocks_fail" ] && { echo "cannot"; exit 1; }
     echo held > "$root/clock" ;;
esac
"#;

struct Jetson(TempDir);

impl Jetson {
    fn new() -> Self {
        let jetson = Self(tempfile::tempdir().expect("a folder"));
        jetson.write("etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=MAXN_SUPER >\n< POWER_MODEL ID=2 NAME=15W >\n");
        jetson.write("var/lib/nvpmodel/status", "pmode:0002\n");
        jetson.write("proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 7000000 kB\nCached: 2097152 kB\n");
        jetson.write("proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 4194304 0 5\n");
        jetson.write("sys/block/zram0/mm_stat", "8192 4096 3145728 0 3145728 0 0 0 0\n");
        jetson.write("proc/900/comm", "gnome-shell\n");
        jetson.write("proc/sys/vm/drop_caches", "0\n");
        jetson.write("clock", "free\n");
        jetson.program("nvpmodel", NVPMODEL);
        jetson.program("jetson_clocks", JETSON_CLOCKS);
        jetson.program("sync", "#!/bin/sh\necho sync >> \"$(dirname \"$0\")/../../log\"\n");
        jetson
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn program(&self, name: &str, text: &str) {
        self.write(&format!("usr/bin/{name}"), text);
        let path = self.root().join("usr/bin").join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("executable");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap_or_default().trim().to_owned()
    }

    fn calls(&self) -> Vec<String> {
        let log = self.read("log");
        log.lines().filter(|line| *line != "nvpmodel -q").map(str::to_owned).collect()
    }

    fn is_as_it_was(&self) {
        assert_eq!(
            (self.read("var/lib/nvpmodel/status").as_str(), self.read("clock").as_str()),
            ("pmode:0002", "free")
        );
        assert!(!self.has_note(), "the note is gone");
    }

    fn is_prepared(&self) -> bool {
        self.read("var/lib/nvpmodel/status") == "pmode:0000" && self.read("clock") == "held"
    }

    fn has_note(&self) -> bool {
        self.root().join(STATE.trim_start_matches('/')).exists()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
        command.args(["prepare-system", "--uid", "0", "--root"]).arg(self.root()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = self.command(arguments).output().expect("started");
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }

    /// Starts it and waits until everything is prepared.
    fn start(&self, arguments: &[&str]) -> Child {
        let child = self.command(arguments).stderr(Stdio::null()).spawn().expect("started");
        self.until(|| self.is_prepared() && self.read("proc/sys/vm/drop_caches") == "3");
        child
    }

    fn until(&self, what: impl Fn() -> bool) {
        let started = Instant::now();
        while !what() {
            assert!(started.elapsed() < Duration::from_secs(20), "log:\n{}", self.read("log"));
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).expect("a process"), signal).expect("sent");
}

#[test]
fn a_jetson_is_prepared_and_put_back_in_reverse_order() {
    let jetson = Jetson::new();
    let guard = Preparation::for_user(jetson.root(), 0).apply().expect("prepared");
    assert!(jetson.is_prepared() && jetson.has_note());
    assert_eq!(jetson.read("proc/sys/vm/drop_caches"), "3");
    assert_eq!(guard.done()[0], "power mode 15W (2) -> MAXN_SUPER (0)");
    let back = guard.restore().expect("put back");
    assert_eq!(back, ["clocks as they were", "power mode 15W (2)"]);
    let all = [
        "nvpmodel -m 0",
        "jetson_clocks --store",
        "jetson_clocks ",
        "sync",
        "jetson_clocks --restore",
        "nvpmodel -m 2",
    ];
    assert_eq!(jetson.calls(), all);
    jetson.is_as_it_was();
}

#[test]
fn a_guard_that_is_dropped_puts_everything_back() {
    let jetson = Jetson::new();
    drop(Preparation::for_user(jetson.root(), 0).apply().expect("prepared"));
    jetson.is_as_it_was();
}

#[test]
fn the_plan_names_each_step_with_reason_cost_and_command() {
    let jetson = Jetson::new();
    let (code, text) = jetson.run(&["--dry-run"]);
    assert_eq!(code, Some(0));
    for words in [
        "gnome-shell running",
        "4096 MiB zram that holds 3 MiB",
        "15W (2) to MAXN_SUPER (0) until the end",
        "costs power",
        "runs: sudo nvpmodel -m 0",
        "jetson_clocks --restore FILE",
        "2048 MiB of them",
    ] {
        assert!(text.contains(words), "'{words}' in\n{text}");
    }
    assert!(jetson.calls().is_empty(), "nothing is run");
    jetson.is_as_it_was();
}

#[test]
fn who_is_not_root_gets_the_commands_and_the_command_runs_all_the_same() {
    let jetson = Jetson::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vla-trt"));
    command.args(["prepare-system", "--uid", "1000", "--root"]).arg(jetson.root()).args(["--", "sh", "-c", "exit 7"]);
    let Output { status, stderr, .. } = command.output().expect("started");
    let text = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(7), "{text}");
    assert!(text.contains("to do it: sudo nvpmodel -m 0") && text.contains("not root"), "{text}");
    assert!(jetson.calls().is_empty());
    jetson.is_as_it_was();
}

#[test]
fn a_machine_without_the_programs_says_what_a_jetson_would_do() {
    let jetson = Jetson::new();
    fs::remove_dir_all(jetson.root().join("usr")).expect("removed");
    let plan = Preparation::for_user(jetson.root(), 0);
    let text = plan.to_string();
    assert!(text.contains("no nvpmodel here; on a Jetson") && text.contains("no jetson_clocks here"), "{text}");
    let guard = plan.apply().expect("prepared");
    assert_eq!(guard.done().len(), 1, "{:?}", guard.done());
    assert!(guard.done()[0].starts_with("page caches dropped (sync is not there"), "{:?}", guard.done());
    assert!(guard.restore().expect("nothing to do").is_empty());
}

#[test]
fn the_highest_mode_is_left_alone() {
    let jetson = Jetson::new();
    jetson.write("var/lib/nvpmodel/status", "pmode:0000\n");
    let plan = Preparation::for_user(jetson.root(), 0);
    assert!(plan.to_string().contains("MAXN_SUPER (0) already, left as it is"), "{plan}");
    plan.apply().expect("prepared").restore().expect("put back");
    assert!(jetson.calls().iter().all(|call| !call.starts_with("nvpmodel")), "{:?}", jetson.calls());
    assert_eq!(jetson.read("var/lib/nvpmodel/status"), "pmode:0000");
}

#[test]
fn caches_that_cannot_be_dropped_are_told_and_the_rest_is_done() {
    let jetson = Jetson::new();
    // A folder refuses the write to root as well, as a read-only /proc does.
    fs::remove_file(jetson.root().join("proc/sys/vm/drop_caches")).expect("removed");
    fs::create_dir(jetson.root().join("proc/sys/vm/drop_caches")).expect("a folder");
    let guard = Preparation::for_user(jetson.root(), 0).apply().expect("prepared");
    assert!(jetson.is_prepared());
    let last = guard.done().last().expect("a line");
    assert!(last.starts_with("not done: page caches:") && last.contains("drop_caches"), "{last}");
    guard.restore().expect("put back");
    jetson.is_as_it_was();
}

#[test]
fn a_mode_that_needs_a_reboot_is_declined_and_told() {
    let jetson = Jetson::new();
    jetson.write("needs_reboot", "");
    let guard = Preparation::for_user(jetson.root(), 0).apply().expect("prepared");
    assert!(guard.done()[0].contains("needs a reboot, which was declined"), "{:?}", guard.done());
    assert!(jetson.calls().contains(&"answered no".to_owned()), "{:?}", jetson.calls());
    guard.restore().expect("put back");
    jetson.is_as_it_was();
}

#[test]
fn clocks_that_fail_half_way_are_put_back() {
    let jetson = Jetson::new();
    jetson.write("clocks_fail", "");
    let guard = Preparation::for_user(jetson.root(), 0).apply().expect("prepared");
    assert!(guard.done()[1].starts_with("not done: jetson_clocks failed"), "{:?}", guard.done());
    guard.restore().expect("put back");
    assert!(jetson.calls().contains(&"jetson_clocks --restore".to_owned()));
    jetson.is_as_it_was();
}

#[test]
fn a_failing_command_ends_with_its_code_and_the_machine_put_back() {
    let jetson = Jetson::new();
    let (code, text) = jetson.run(&["--", "sh", "-c", "exit 9"]);
    assert_eq!(code, Some(9), "{text}");
    assert!(text.contains("prepared: clocks held") && text.contains("put back: clocks as they were"), "{text}");
    jetson.is_as_it_was();
    let (code, text) = jetson.run(&["--", "/no/such/program"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("starting /no/such/program"), "{text}");
    jetson.is_as_it_was();
}

#[test]
fn ctrl_c_puts_the_machine_back() {
    let jetson = Jetson::new();
    let mut child = jetson.start(&[]);
    signal(&child, Signal::INT);
    assert_eq!(child.wait().expect("ended").code(), Some(0));
    jetson.is_as_it_was();
}

#[test]
fn sigterm_ends_the_command_first_and_puts_the_machine_back() {
    let jetson = Jetson::new();
    let mut child = jetson.start(&["--", "sleep", "600"]);
    // The command may not have started yet: then it never does.
    signal(&child, Signal::TERM);
    let code = child.wait().expect("ended").code();
    assert!(matches!(code, Some(0 | 143)), "{code:?}");
    jetson.is_as_it_was();
}

#[test]
fn the_run_after_a_killed_one_puts_the_machine_back() {
    let jetson = Jetson::new();
    let mut child = jetson.start(&[]);
    let busy = Preparation::for_user(jetson.root(), 0).apply().expect_err("another run");
    assert!(matches!(&busy, Error::Busy { holder, .. } if *holder == child.id().to_string()), "{busy}");
    signal(&child, Signal::KILL);
    child.wait().expect("ended");
    assert!(jetson.is_prepared() && jetson.has_note());
    let (code, text) = jetson.run(&["--", "true"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("an earlier run was killed; put back: clocks as they were, power mode 15W (2)"), "{text}");
    jetson.is_as_it_was();
}

#[test]
fn what_cannot_be_put_back_is_an_error_with_the_command_and_the_note_stays() {
    let jetson = Jetson::new();
    let guard = Preparation::for_user(jetson.root(), 0).apply().expect("prepared");
    jetson.write("stuck", "");
    let error = guard.restore().expect_err("stuck").to_string();
    assert!(error.contains("NVPM ERROR: stuck") && error.contains("by hand: sudo nvpmodel -m 2"), "{error}");
    assert!(jetson.has_note());
    fs::remove_file(jetson.root().join("stuck")).expect("removed");
    jetson.run(&["--", "true"]);
    jetson.is_as_it_was();
}

#[test]
fn a_note_that_is_damaged_stops_before_anything_is_changed() {
    let jetson = Jetson::new();
    jetson.write(STATE.trim_start_matches('/'), "{");
    let error = Preparation::for_user(jetson.root(), 0).apply().expect_err("damaged");
    assert!(matches!(error, Error::State { .. }) && error.to_string().contains("by hand"), "{error}");
    assert!(jetson.calls().is_empty());
}
