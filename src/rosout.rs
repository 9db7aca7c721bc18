//! /rosout, which r2r does not publish: `rcl_interfaces/Log` with the QoS of rcl's own.

use r2r::rcl_interfaces::msg::Log;
use r2r::{Node, Publisher, QosProfile};
use tokio::sync::mpsc;

use super::convert::{clean, time};
use super::error::Error;
use super::logging::{QUEUE, Record};

/// The publisher of /rosout.
#[derive(Clone)]
pub(crate) struct Rosout {
    publisher: Publisher<Log>,
    name: String,
}

impl Rosout {
    /// Creates the publisher: reliable, transient local, depth [`QUEUE`], so that a late `ros2 topic echo` sees the start.
    ///
    /// # Errors
    /// When the middleware refuses the topic.
    pub(crate) fn create(node: &mut Node) -> Result<Self, Error> {
        let name = clean(node.logger());
        let qos = QosProfile::default().keep_last(QUEUE).reliable().transient_local();
        let publisher = node.create_publisher("/rosout", qos).map_err(|e| Error::endpoint("topic", "/rosout", e))?;
        Ok(Self { publisher, name })
    }

    /// Publishes one record. A failure is not logged: that would end here again.
    pub(crate) fn publish(&self, record: Record) {
        let log = Log {
            stamp: time(record.stamp),
            level: record.level.number(),
            name: self.name.clone(),
            msg: clean(record.message),
            file: clean(record.file),
            function: clean(record.function),
            line: record.line,
        };
        self.publisher.publish(&log).ok();
    }

    /// Publishes what comes until the queue closes or the task is aborted.
    pub(crate) async fn run(self, records: &mut mpsc::Receiver<Record>) {
        while let Some(record) = records.recv().await {
            self.publish(record);
        }
    }
}
