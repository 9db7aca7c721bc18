//! Logs: `tracing` events to stderr in ROS 2's format, and into a bounded queue for /rosout.
//!
//! r2r publishes nothing on /rosout, so the node does (see [`super::rosout`]). Logging never waits: a full queue drops the event
//! and counts it, and so does a stderr without a reader (see [`super::console`]).

mod lines;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{io, panic, thread};

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::context::panic_text;
use super::level::Level;
use lines::Lines;
use vla_base::time::Stamp;

/// Events waiting for /rosout; as many as the publisher keeps for late subscribers.
pub(crate) const QUEUE: usize = 1000;

/// The logger's name until the node has one.
const UNNAMED: &str = "vla_trt";
/// What the names of our own crates begin with.
const OWN: [&str; 2] = ["vla_", "ros2_parameters"];

/// One event on its way to /rosout.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Wall clock, as rcl's own.
    pub stamp: Stamp,
    /// How serious.
    pub level: Level,
    /// The message with its fields.
    pub message: String,
    /// Source file.
    pub file: String,
    /// Source line.
    pub line: u32,
    /// Module.
    pub function: String,
}

/// The receiving end of the logger's queue, for /rosout.
pub type Records = mpsc::Receiver<Record>;

/// The handle to change the level and to give the logger its name.
#[derive(Clone)]
pub struct Logging(Arc<Shared>);

struct Shared {
    level: AtomicU8,
    console: AtomicBool,
    name: OnceLock<String>,
    queue: mpsc::Sender<Record>,
    dropped: AtomicU64,
    lines: Lines,
}

impl Logging {
    /// A logger at `level` and the receiving end of its queue, not installed yet.
    pub fn new(level: Level, console: bool) -> (Self, Records) {
        let (queue, records) = mpsc::channel(QUEUE);
        let shared = Shared {
            level: AtomicU8::new(level.number()),
            console: AtomicBool::new(console),
            name: OnceLock::new(),
            queue,
            dropped: AtomicU64::new(0),
            lines: Lines::default(),
        };
        (Self(Arc::new(shared)), records)
    }

    /// Makes this the logger of the process (of `tracing` and of the `log` crate, which r2r uses).
    /// Nothing happens when there is one already.
    pub fn install(&self) {
        // Only a second installation fails; the first logger then stays.
        tracing_subscriber::registry().with(RosLayer(self.clone())).try_init().ok();
    }

    /// Logs panics, in place of the hook that prints them: a thread that panics then ends the same way with and without a reader of
    /// stderr, and /rosout has the panic's message. RUST_BACKTRACE works as usual.
    pub fn log_panics() {
        panic::set_hook(Box::new(|info| {
            let thread = thread::current();
            let (name, message) = (thread.name().unwrap_or("without a name"), panic_text(info.payload()));
            let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
            let trace = Backtrace::capture();
            let trace = if trace.status() == BacktraceStatus::Captured { format!("\n{trace}") } else { String::new() };
            tracing::error!("thread '{name}' panicked{place}, which is a bug: {message}{trace}");
        }));
    }

    /// Messages below `level` are left out from now on.
    pub fn set_level(&self, level: Level) {
        self.0.level.store(level.number(), Ordering::Relaxed);
    }

    /// The level in force.
    pub fn level(&self) -> Level {
        Level::from_number(self.0.level.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// The node's logger name (`namespace.node`), once.
    pub fn set_name(&self, name: &str) {
        self.0.name.get_or_init(|| name.to_owned());
    }

    /// Events that did not reach /rosout because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Log lines that did not reach stderr because its reader stalled.
    pub fn lines_lost(&self) -> u64 {
        self.0.lines.lost()
    }

    /// Events still waiting for /rosout.
    pub fn pending(&self) -> usize {
        self.0.queue.max_capacity() - self.0.queue.capacity()
    }

    fn name(&self) -> &str {
        self.0.name.get().map_or(UNNAMED, String::as_str)
    }

    fn enabled(&self, level: Level, target: &str) -> bool {
        let asked = self.level();
        // Libraries log from warnings on: their messages at info are not about the robot.
        let own = OWN.iter().any(|prefix| target.starts_with(prefix));
        level >= if own || asked == Level::Debug { asked } else { asked.max(Level::Warn) }
    }

    fn accept(&self, record: Record, to_rosout: bool) {
        if self.0.console.load(Ordering::Relaxed) {
            let (sec, nanosec) = record.stamp.parts();
            let line = |level: Level, text: &str| {
                let level = level.name().to_ascii_uppercase();
                format!("[{level}] [{sec}.{nanosec:09}] [{}]: {text}\n", self.name())
            };
            let gap = |lost| line(Level::Warn, &format!("{lost} log lines were lost here: stderr was not read"));
            self.0.lines.write(&mut io::stderr().lock(), &line(record.level, &record.message), gap);
        }
        if to_rosout && self.0.queue.try_send(record).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct RosLayer(Logging);

impl<S: tracing::Subscriber> Layer<S> for RosLayer {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let level = Level::from(*metadata.level());
        // Cheap refusal before any text is made; the level is live, so callsites are not cached as disabled.
        if level < self.0.level() {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let target = fields.log_target.as_deref().unwrap_or(metadata.target());
        if !self.0.enabled(level, target) {
            return;
        }
        // r2r's message about a failed publish must not be published again.
        let to_rosout = !target.starts_with("r2r");
        let record = Record {
            stamp: wall_clock(),
            level,
            message: fields.text,
            file: metadata.file().unwrap_or_default().to_owned(),
            line: metadata.line().unwrap_or_default(),
            function: target.to_owned(),
        };
        self.0.accept(record, to_rosout);
    }
}

fn wall_clock() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// The message, then `name=value` for each field.
#[derive(Default)]
struct Fields {
    text: String,
    log_target: Option<String>,
}

impl Fields {
    fn push(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let name = field.name();
        // The `log` bridge carries the source position as fields.
        let written = match name {
            "message" if self.text.is_empty() => self.text.write_fmt(value),
            "message" => {
                self.text.insert_str(0, &format!("{value} "));
                Ok(())
            }
            "log.target" => {
                self.log_target = Some(value.to_string());
                Ok(())
            }
            _ if name.starts_with("log.") => Ok(()),
            _ if self.text.is_empty() => write!(self.text, "{name}={value}"),
            _ => write!(self.text, " {name}={value}"),
        };
        // Writing to a String fails only when a Display implementation says so; what it wrote stays.
        written.ok();
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(level: Level, act: impl FnOnce(&Logging)) -> Vec<Record> {
        let (logging, mut records) = Logging::new(level, false);
        let subscriber = tracing_subscriber::registry().with(RosLayer(logging.clone()));
        tracing::subscriber::with_default(subscriber, || act(&logging));
        std::iter::from_fn(|| records.try_recv().ok()).collect()
    }

    #[test]
    fn the_message_comes_first_and_fields_follow() {
        let records = logged(Level::Info, |_| tracing::info!(chunks = 3, name = "left", "published"));
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].message, "published chunks=3 name=left");
        assert_eq!(records[0].level, Level::Info);
        assert!(records[0].file.ends_with("logging.rs") && records[0].line > 0);
    }

    #[test]
    fn the_level_is_live_in_both_directions() {
        let records = logged(Level::Warn, |logging| {
            tracing::info!("left out");
            logging.set_level(Level::Debug);
            tracing::debug!("in");
            logging.set_level(Level::Fatal);
            tracing::error!("left out");
        });
        assert_eq!(records.iter().map(|r| r.message.as_str()).collect::<Vec<_>>(), ["in"]);
    }

    #[test]
    fn libraries_are_heard_from_warnings_on_and_r2r_never_on_rosout() {
        let records = logged(Level::Info, |_| {
            tracing::info!(target: "ort", "chatter");
            tracing::info!(target: "vla_engines::pipeline", "our own");
            tracing::warn!(target: "ort", "heard");
            tracing::error!(target: "r2r::publishers", "could not publish");
        });
        assert_eq!(records.iter().map(|r| r.message.as_str()).collect::<Vec<_>>(), ["our own", "heard"]);
    }

    #[test]
    fn a_full_queue_drops_and_counts_instead_of_waiting() {
        let mut dropped = 0;
        let records = logged(Level::Info, |logging| {
            for i in 0..QUEUE + 5 {
                tracing::info!(i, "burst");
            }
            dropped = logging.dropped();
        });
        assert_eq!((records.len(), dropped), (QUEUE, 5));
    }
}
