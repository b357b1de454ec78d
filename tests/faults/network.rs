//! Network faults between pages and sidecar.

use std::time::Duration;

use lineside_tests::random::Random;

use crate::load::Load;
use crate::proxy::{Direction, Directions, End};
use crate::support::{place, rounds, within};

/// Temporary network fault.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// No byte passes; later all held bytes do.
    BlackHole,
    /// No byte passes, then a reset.
    BlackHoleAndReset,
    Cut,
    Reset,
    /// New connections are refused.
    Refused,
    /// Pages read the end of the stream, and can still send.
    HalfClosed,
    /// Bytes pass late and one at a time.
    Sliced,
    /// Bytes pass slowly.
    Trickling,
}

const FAULTS: [Fault; 8] = [
    Fault::BlackHole,
    Fault::BlackHoleAndReset,
    Fault::Cut,
    Fault::Reset,
    Fault::Refused,
    Fault::HalfClosed,
    Fault::Sliced,
    Fault::Trickling,
];

/// Applies a fault until `calls` more publications were made.
fn apply(fault: Fault, load: &Load, calls: u64) {
    match fault {
        Fault::BlackHole => load.web.set(Directions::black_hole()),
        Fault::BlackHoleAndReset => {
            load.web.set(Directions::black_hole());
            load.await_calls(calls);
            load.web.end(End::Reset);
        }
        Fault::Cut => load.web.end(End::Cut),
        Fault::Reset => load.web.end(End::Reset),
        Fault::Refused => {
            load.web.refuse(true);
            load.web.end(End::Cut);
        }
        Fault::HalfClosed => {
            let down = Direction {
                closed: true,
                ..Direction::default()
            };
            let up = Direction::default();
            load.web
                .live()
                .iter()
                .for_each(|it| it.set(Directions { up, down }));
        }
        Fault::Sliced => load.web.set(Directions::both(Direction {
            delay: Duration::from_millis(5),
            slice_bytes: 1,
            ..Direction::default()
        })),
        Fault::Trickling => load.web.set(Directions::both(Direction {
            bytes_per_second: 4_000,
            ..Direction::default()
        })),
    }
    load.await_calls(calls);
    load.web.set(Directions::default());
    load.web.refuse(false);
}

#[test]
fn short_network_faults_lose_and_repeat_nothing() {
    let faults = rounds(32, 200);
    let load = Load::start("faults").browse(10).publish(3, 300);
    let mut random = Random::new(faults);
    for fault in FAULTS.iter().cycle().take(faults.try_into().unwrap()) {
        apply(*fault, &load, random.between(10, 200));
        load.await_messages(5);
    }
    let report = load.settle();
    report.assert_nothing_lost();
    report.print(&format!("R-05: {faults} network faults of 10 pages"));
}

#[test]
fn suspended_sidecar_loses_nothing() {
    let stops = rounds(10, 60);
    let load = Load::start("suspended").browse(8).publish(3, 240);
    for _ in 0..stops {
        load.await_messages(3);
        load.suspend(100);
        load.resume();
    }
    let report = load.settle();
    report.assert_nothing_lost();
    report.print(&format!("R-05: {stops} times SIGSTOP and SIGCONT"));
}

#[test]
fn dead_connection_is_closed_at_both_ends() {
    let blackhole = Direction {
        blackhole: true,
        ..Direction::default()
    };
    let passing = Direction::default();
    let dead = [
        Directions::both(blackhole),
        Directions {
            up: blackhole,
            down: passing,
        },
        Directions {
            up: passing,
            down: blackhole,
        },
    ];
    let load = Load::start_in("half-open", place().with("LINESIDE_HEARTBEAT_SECONDS", 1))
        .browse(6)
        .publish(1, 60);
    for _ in 0..rounds(1, 2) {
        load.await_messages(1);
        let before = load.welcomes();
        let descriptors = load.descriptors();
        let lines = load.web.live();
        for (line, directions) in lines.iter().zip(dead.iter().cycle()) {
            line.set(*directions);
        }
        load.await_reconnects(&before);
        // The proxy holds the dead connections open, so it is the sidecar that closes its sockets.
        within("the sidecar closes the dead connections", || {
            (load.descriptors() <= descriptors).then_some(())
        });
        lines.iter().for_each(|line| line.end(End::Cut));
    }
    let report = load.settle();
    report.assert_nothing_lost();
    report.print("R-19: connections dead up, down or both directions");
}
