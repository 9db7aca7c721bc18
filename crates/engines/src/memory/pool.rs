//! Memory of a machine: one pool, or a host and a device.

use super::MemoryUse;

/// Memory of a machine at one time, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Memory of the host that is available without swapping (`MemAvailable`).
    pub available: u64,
    /// Memory of the host.
    pub total: u64,
    /// Free memory of the device (`cudaMemGetInfo`); `None`: engines run in host memory.
    pub device_free: Option<u64>,
    /// Memory that the device can use.
    pub device_total: Option<u64>,
    /// The device allocates from the host's memory: both figures describe one pool and are not added.
    pub integrated: bool,
}

impl Pool {
    /// This machine's host memory, for engines that run there.
    pub fn host() -> Self {
        let MemoryUse { available, total, .. } = MemoryUse::now();
        Self { available, total, ..Self::default() }
    }

    /// Whether host and device are one.
    pub fn unified(self) -> bool {
        self.integrated || self.device_free.is_none()
    }

    /// What a unified pool can still give: on an integrated GPU the smaller of both figures, since each leaves out
    /// something that the other counts (`cudaMemGetInfo` on unified memory is about `MemFree`, without the page cache;
    /// `MemAvailable` does not include the driver's memory). `count_available`: the page cache counts as free.
    pub fn free(self, count_available: bool) -> u64 {
        match self.device_free {
            Some(device) if self.integrated && !count_available => self.available.min(device),
            _ => self.available,
        }
    }
}

/// Limits of the operator for the engines' memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Limit for all engines, host and device memory added. `None`: the free memory.
    pub budget: Option<u64>,
    /// Memory that stays free for other programs.
    pub reserve: u64,
    /// On unified memory: count `MemAvailable` as free, although the GPU driver does not count the page cache.
    pub count_available: bool,
}
