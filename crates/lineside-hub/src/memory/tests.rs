use super::*;

#[test]
fn account_without_a_ceiling_is_never_short() {
    let memory = Memory::default();
    memory.change(Pool::Publications, 0, 1 << 40);
    assert!(Stage::ALL.iter().all(|stage| !memory.is_short(*stage)));
    assert!(!memory.is_short_for_backlogs());
}

#[test]
fn stages_begin_in_their_order() {
    let memory = Memory::default();
    memory.limit(1_000_000);
    let begun = |used| {
        memory.set(Pool::Other, used);
        let begun = Stage::ALL.iter().filter(|stage| memory.is_short(**stage));
        begun.map(|stage| stage.name()).collect::<Vec<_>>()
    };
    let all = Stage::ALL.map(Stage::name);
    assert_eq!(begun(800_000), [""; 0]);
    for (count, used) in [810_000, 860_000, 890_000, 920_000, 960_000]
        .into_iter()
        .enumerate()
    {
        assert_eq!(begun(used), all[..=count]);
    }
}

#[test]
fn backlogs_have_a_share_of_their_own() {
    let memory = Memory::default();
    memory.limit(1_000_000);
    memory.change(Pool::Publications, 0, 500_000);
    memory.set(Pool::History, 400_000);
    memory.change(Pool::Queues, 0, 150_000);
    assert_eq!(memory.retained(), 100_000);
    assert!(!memory.is_short_for_backlogs());
    memory.set(Pool::History, 390_000);
    assert!(memory.is_short_for_backlogs() && !memory.is_short(Stage::History));
}

#[test]
fn publishers_wait_only_while_a_pool_can_release_memory() {
    let memory = Memory::default();
    memory.limit(1_000_000);
    memory.set(Pool::Other, 960_000);
    memory.change(Pool::Queues, 0, 50_000);
    assert!(memory.is_short(Stage::Publishers) && !memory.must_wait());
    memory.change(Pool::Queues, 50_000, 60_000);
    assert!(memory.must_wait());
    memory.set(Pool::Other, 880_000);
    assert!(!memory.must_wait());
}
