//! Metrics of the process, with the names of Prometheus' client libraries
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>). Metrics
//! that the system does not provide are omitted.

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};

use super::exposition::{Exposition, Kind, Seconds};
use crate::memory::kibibytes;

/// Adds the metrics of the process. `started_ms` is its start, in milliseconds since the Unix epoch.
pub(super) fn describe(page: &mut Exposition, started_ms: u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(bytes) = kibibytes(&status, "VmRSS:") {
        page.family(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory.",
        )
        .value(bytes);
    }
    if let Some(bytes) = kibibytes(&status, "VmSize:") {
        page.family(
            "process_virtual_memory_bytes",
            Kind::Gauge,
            "Virtual memory.",
        )
        .value(bytes);
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        // Without the one that reads the folder.
        let open = descriptors.count().saturating_sub(1);
        page.family("process_open_fds", Kind::Gauge, "Open file descriptors.")
            .value(open);
    }
    if let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        page.family(
            "process_max_fds",
            Kind::Gauge,
            "Maximum number of open file descriptors.",
        )
        .value(most);
    }
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let ms = |time: TimeVal| u64::try_from(time.num_milliseconds()).unwrap_or_default();
        let spent = Seconds(ms(usage.user_time()) + ms(usage.system_time()));
        page.family(
            "process_cpu_seconds_total",
            Kind::Counter,
            "User and system CPU time.",
        )
        .value(spent);
    }
    page.family(
        "process_start_time_seconds",
        Kind::Gauge,
        "Start of the process, since the Unix epoch.",
    )
    .value(Seconds(started_ms));
}
