use super::*;

fn peer(address: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, address], port))
}

#[test]
fn addresses_take_turns_and_each_is_first_in_first_out() {
    let mut waiting = Waiting::default();
    for number in 0..4 {
        assert_eq!(waiting.push(number, peer(1, number), WAITING_MAX), None);
    }
    waiting.push(10, peer(2, 1), WAITING_MAX);
    waiting.push(20, "[::ffff:10.0.0.2]:2".parse().unwrap(), WAITING_MAX);
    let taken: Vec<u16> = std::iter::from_fn(|| waiting.pop())
        .map(|it| it.0)
        .collect();
    assert_eq!(taken, [0, 10, 1, 20, 2, 3]);
    assert!(waiting.count == 0 && waiting.by_address.is_empty() && waiting.turn.is_empty());
}

#[test]
fn full_queue_closes_the_oldest_of_the_address_with_the_most() {
    let mut waiting = Waiting::default();
    waiting.push(0, peer(1, 1), WAITING_MAX);
    for number in 1..WAITING_MAX {
        assert_eq!(waiting.push(number, peer(2, 1), WAITING_MAX), None);
    }
    assert_eq!(waiting.push(WAITING_MAX, peer(3, 1), WAITING_MAX), Some(1));
    assert_eq!(
        waiting.push(WAITING_MAX + 1, peer(2, 1), WAITING_MAX),
        Some(2)
    );
    let first: Vec<usize> = (0..3)
        .filter_map(|_| waiting.pop())
        .map(|it| it.0)
        .collect();
    assert_eq!(first, [0, 3, WAITING_MAX]);
}

#[test]
fn every_connection_of_many_addresses_has_its_turn() {
    let mut waiting = Waiting::default();
    for number in 0..WAITING_MAX {
        let address = u32::try_from(number).unwrap().to_be_bytes();
        waiting.push(number, SocketAddr::from((address, 1)), WAITING_MAX);
    }
    assert!(waiting.push(0, peer(9, 1), WAITING_MAX).is_some());
    assert_eq!(std::iter::from_fn(|| waiting.pop()).count(), WAITING_MAX);
}
