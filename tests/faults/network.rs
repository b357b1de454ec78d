//! Networks that fail between pages and sidecar, without anybody's fault.

use std::time::Duration;

use lineside_tests::random::Random;

use crate::load::Load;
use crate::proxy::{End, Way, Ways};
use crate::support::{place, rounds, within};

/// What a network does for a while.
#[derive(Clone, Copy, Debug)]
enum Blip {
    /// Nothing passes; then everything does.
    Pulled,
    /// Nothing passes, and then the connection is gone.
    PulledAndReset,
    Cut,
    Reset,
    /// Nobody gets through.
    Refused,
    /// The pages are told that nothing more comes, and may still send.
    HalfClosed,
    /// Everything late, a byte at a time.
    Sliced,
    /// Little at a time.
    Trickling,
}

const BLIPS: [Blip; 8] = [
    Blip::Pulled,
    Blip::PulledAndReset,
    Blip::Cut,
    Blip::Reset,
    Blip::Refused,
    Blip::HalfClosed,
    Blip::Sliced,
    Blip::Trickling,
];

/// Lets it happen until so many publications were made meanwhile.
fn happen(blip: Blip, load: &Load, meanwhile: u64) {
    match blip {
        Blip::Pulled => load.web.set(Ways::pulled()),
        Blip::PulledAndReset => {
            load.web.set(Ways::pulled());
            load.publishes(meanwhile);
            load.web.end(End::Reset);
        }
        Blip::Cut => load.web.end(End::Cut),
        Blip::Reset => load.web.end(End::Reset),
        Blip::Refused => {
            load.web.refuse(true);
            load.web.end(End::Cut);
        }
        Blip::HalfClosed => {
            let down = Way {
                closed: true,
                ..Way::default()
            };
            let up = Way::default();
            load.web
                .live()
                .iter()
                .for_each(|it| it.set(Ways { up, down }));
        }
        Blip::Sliced => load.web.set(Ways::both(Way {
            delay: Duration::from_millis(5),
            slice_bytes: 1,
            ..Way::default()
        })),
        Blip::Trickling => load.web.set(Ways::both(Way {
            bytes_per_second: 4_000,
            ..Way::default()
        })),
    }
    load.publishes(meanwhile);
    load.web.set(Ways::default());
    load.web.refuse(false);
}

#[test]
fn short_network_faults_lose_and_repeat_nothing() {
    let blips = rounds(32, 200);
    let load = Load::start("blips").browse(10).publish(3, 300);
    let mut random = Random::new(blips);
    for blip in BLIPS.iter().cycle().take(blips.try_into().unwrap()) {
        happen(*blip, &load, random.between(10, 200));
        load.flows(5);
    }
    let settled = load.settle();
    settled.nothing_lost();
    settled.print(&format!("R-05: {blips} blips of 10 pages"));
}

#[test]
fn suspended_sidecar_loses_nothing() {
    let stops = rounds(10, 60);
    let load = Load::start("suspended").browse(8).publish(3, 240);
    for _ in 0..stops {
        load.flows(3);
        load.suspend(100);
        load.wake();
    }
    let settled = load.settle();
    settled.nothing_lost();
    settled.print(&format!("R-05: {stops} times SIGSTOP and SIGCONT"));
}

#[test]
fn dead_connection_is_closed_at_both_ends() {
    let blackhole = Way {
        blackhole: true,
        ..Way::default()
    };
    let passing = Way::default();
    let dead = [
        Ways::both(blackhole),
        Ways {
            up: blackhole,
            down: passing,
        },
        Ways {
            up: passing,
            down: blackhole,
        },
    ];
    let load = Load::start_in("half-open", place().with("LINESIDE_HEARTBEAT_SECONDS", 1))
        .browse(6)
        .publish(1, 60);
    for _ in 0..rounds(1, 2) {
        load.flows(1);
        let before = load.welcomes();
        let descriptors = load.descriptors();
        let lines = load.web.live();
        for (line, ways) in lines.iter().zip(dead.iter().cycle()) {
            line.set(*ways);
        }
        load.all_came_back(&before);
        // The proxy holds the dead lines open: what the sidecar had of them it gave up by itself.
        within("the sidecar has given up the dead lines", || {
            (load.descriptors() <= descriptors).then_some(())
        });
        lines.iter().for_each(|line| line.end(End::Cut));
    }
    let settled = load.settle();
    settled.nothing_lost();
    settled.print("R-19: dead up, dead down, dead both ways");
}
