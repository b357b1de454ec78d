//! Metrics of the account of memory.

use lineside_hub::{Memory, Pool, Stage};

use super::exposition::{Exposition, Kind};

/// Adds the metrics of the account.
pub(super) fn describe(page: &mut Exposition, memory: &Memory) {
    page.family(
        "lineside_memory_limit_bytes",
        Kind::Gauge,
        "Ceiling of the process's memory, LINESIDE_MEMORY_MAX.",
    )
    .value(memory.bytes_max());
    let mut family = page.family(
        "lineside_memory_bytes",
        Kind::Gauge,
        "Memory in use, by purpose. Their sum is compared with the ceiling.",
    );
    let retained = memory.retained();
    let history = memory.size(Pool::Publications).saturating_sub(retained);
    for (pool, bytes) in [
        ("history", history),
        ("retained", retained),
        ("queues", memory.size(Pool::Queues)),
        ("messages", memory.size(Pool::Messages)),
        ("other", memory.size(Pool::Other)),
    ] {
        family.sample(&[("pool", pool)], bytes);
    }
    let mut family = page.family(
        "lineside_memory_short_total",
        Kind::Counter,
        "Publications evicted, connections ended, requests refused and waits of publishers because memory was short, by stage.",
    );
    for stage in Stage::ALL {
        family.sample(&[("stage", stage.name())], memory.given_up(stage));
    }
}
