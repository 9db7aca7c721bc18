//! Sends the response of a service call, and sends it again while the middleware does not know the caller yet.
//!
//! A client may call before the node has discovered the client's response reader: requests and responses are separate topics, discovered
//! one after the other. Fast DDS then waits 100 ms for the reader, reports a timeout and drops the response, and the client waits for ever.

use std::time::Duration;

use r2r::{Error, ServiceRequest, WrappedServiceTypeSupport};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Time between two attempts; each waits up to 100 ms in the middleware.
const PERIOD: Duration = Duration::from_millis(250);
/// Attempts after the first: seven seconds in all. An attempt holds the service, so that few are made.
const ATTEMPTS: u32 = 20;
/// Responses that may wait for their callers at the same time. While an attempt waits in the middleware, the spin thread cannot take
/// another call of that service and so no camera frame: a client that never matches and calls often must not keep it waiting.
const WAITING: usize = 2;
static WAITING_RESPONSES: Semaphore = Semaphore::const_new(WAITING);

/// Sends `response`. A caller that is gone is not an error; one that is never discovered is a warning, and so is one too many of them.
pub(crate) fn respond<S>(runtime: &Handle, call: ServiceRequest<S>, response: S::Response)
where
    S: WrappedServiceTypeSupport + 'static,
    S::Request: Clone + Send,
    S::Response: Clone + Send,
{
    let attempt = move || call.clone().respond(response.clone());
    match attempt() {
        Err(Error::RCL_RET_TIMEOUT) => match WAITING_RESPONSES.try_acquire() {
            Ok(permit) => drop(runtime.spawn(async move {
                if !again(attempt).await {
                    lost();
                }
                drop(permit);
            })),
            Err(_) => lost(),
        },
        Err(error) => tracing::debug!(%error, "a service's response was not sent"),
        Ok(()) => {}
    }
}

fn lost() {
    tracing::warn!(
        "a service's response was not sent: the caller's response reader was not discovered, expected a reliable and volatile one; \
         create the client with the QoS that ROS 2 gives services by default, or call again"
    );
}

/// Attempts until one does not time out; whether there was such a one.
async fn again<A>(mut attempt: A) -> bool
where
    A: FnMut() -> Result<(), Error> + Send + 'static,
{
    for _ in 0..ATTEMPTS {
        tokio::time::sleep(PERIOD).await;
        // On a thread that may wait: the runtime's two workers also move the messages of topics.
        let made = tokio::task::spawn_blocking(move || {
            let result = attempt();
            (attempt, result)
        });
        // The runtime ends.
        let Ok((returned, result)) = made.await else { return true };
        match result {
            Err(Error::RCL_RET_TIMEOUT) => attempt = returned,
            Err(error) => {
                tracing::debug!(%error, "a service's response was not sent");
                return true;
            }
            Ok(()) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    async fn attempts(until_known: u32) -> (bool, u32) {
        let made = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&made);
        let done = again(move || {
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            if number < until_known { Err(Error::RCL_RET_TIMEOUT) } else { Ok(()) }
        });
        (done.await, made.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_is_sent_again_until_the_caller_is_discovered() {
        assert_eq!(attempts(7).await, (true, 7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_is_never_discovered_is_given_up() {
        assert_eq!(attempts(u32::MAX).await, (false, ATTEMPTS));
    }
}
