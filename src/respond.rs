//! Sends the response of a service call, and sends it again while the middleware does not know the caller yet.
//!
//! A client may call before the node has discovered the client's response reader: requests and responses are separate topics, discovered
//! one after the other. Fast DDS then waits 100 ms for the reader, reports a timeout and drops the response, and the client waits for ever.

use std::time::Duration;

use r2r::{Error, ServiceRequest, WrappedServiceTypeSupport};
use tokio::runtime::Handle;

/// Time between two attempts; each waits up to 100 ms in the middleware.
const PERIOD: Duration = Duration::from_millis(250);
/// Attempts after the first: seven seconds in all. An attempt holds the service, so that few are made.
const ATTEMPTS: u32 = 20;

/// Sends `response`. A caller that is gone is not an error; one that is never discovered is a warning.
pub(crate) fn respond<S>(runtime: &Handle, call: ServiceRequest<S>, response: S::Response)
where
    S: WrappedServiceTypeSupport + 'static,
    S::Request: Clone + Send,
    S::Response: Clone + Send,
{
    let attempt = move || call.clone().respond(response.clone());
    match attempt() {
        Err(Error::RCL_RET_TIMEOUT) => drop(runtime.spawn(async move {
            if !again(attempt).await {
                tracing::warn!(
                    "a service's response did not reach its caller: the caller's response reader was not discovered; \
                    its QoS may not match (reliable, volatile)"
                );
            }
        })),
        Err(error) => tracing::debug!(%error, "a service's response was not sent"),
        Ok(()) => {}
    }
}

/// Attempts until one does not time out; whether there was such a one.
async fn again(mut attempt: impl FnMut() -> Result<(), Error>) -> bool {
    for _ in 0..ATTEMPTS {
        tokio::time::sleep(PERIOD).await;
        match attempt() {
            Err(Error::RCL_RET_TIMEOUT) => {}
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
    use super::*;

    async fn attempts(until_known: u32) -> (bool, u32) {
        let mut made = 0;
        let done = again(|| {
            made += 1;
            if made < until_known { Err(Error::RCL_RET_TIMEOUT) } else { Ok(()) }
        });
        (done.await, made)
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
