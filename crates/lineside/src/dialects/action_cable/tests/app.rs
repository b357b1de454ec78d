use lineside_protocol::frame::runner::Command as ToRunner;

use super::*;
use crate::broker::AppQueue;
use crate::broker::runners::{Report, RunnerId};

const ROOM: &str = r#"{"channel":"RoomChannel","id":1}"#;

/// What an app decides whose channels run in the app.
fn ruby() -> Value {
    let mut decided = stock();
    decided["context"] = json!("the context");
    decided["process"] = json!("puma[1]");
    decided
}

/// A runner with its queue.
struct Process {
    id: RunnerId,
    queue: Arc<AppQueue>,
}

impl Process {
    fn open(stage: &Stage, name: &str) -> Self {
        let queue = Arc::<AppQueue>::default();
        let id = stage.broker.runners().open(name, &queue);
        Self { id, queue }
    }

    /// Takes the next command: its kind, its identifier, and whether the context comes with it.
    fn next(&self) -> Option<(Kind, String, bool)> {
        let command = self.queue.take_command()?;
        let is_new = command.context.as_deref() == Some("the context");
        Some((
            command.command,
            command.identifier.unwrap_or_default(),
            is_new,
        ))
    }

    fn next_command(&self) -> ToRunner {
        self.queue.take_command().expect("a command waits")
    }
}

impl Stage {
    fn send(&mut self, command: &str, data: &str) -> Vec<Value> {
        let text = json!({"command": command, "identifier": ROOM, "data": data}).to_string();
        self.run(|connection, turn| connection.receive(&text, turn))
            .unwrap()
    }

    fn report(&mut self, process: &Process, report: Report) -> Result<Vec<Value>, CloseCode> {
        self.run(|connection, turn| connection.report(process.id, report, turn))
    }

    fn confirm(&mut self, process: &Process) -> Vec<Value> {
        let confirm = json!({"identifier": ROOM, "type": "confirm_subscription"});
        self.report(process, Report::Text(confirm.to_string()))
            .unwrap()
    }

    fn stream(&mut self, process: &Process, stream: &str) {
        let report = Report::Stream {
            identifier: ROOM.into(),
            stream: stream.into(),
        };
        assert_eq!(self.report(process, report), Ok(vec![]));
    }

    fn done(&mut self, process: &Process, number: u64) {
        self.done_with(process, number, None);
    }

    /// Reports that a command was run, and the variables of its channel object.
    fn done_with(&mut self, process: &Process, number: u64, variables: Option<&str>) {
        let variables = variables.map(str::to_owned);
        let done = Report::Done { number, variables };
        assert_eq!(self.report(process, done), Ok(vec![]));
    }

    /// Performs an action of the room, after which its channel object has these variables.
    fn perform(&mut self, process: &Process, variables: Option<&str>) {
        self.send("message", r#"{"action":"speak"}"#);
        let number = process.next_command().id;
        self.done_with(process, number, variables);
    }

    /// A connection whose room streams `room` in this process.
    fn in_room(process: &str) -> (Self, Process) {
        let mut stage = Self::new(&ruby());
        let process = Process::open(&stage, process);
        assert_eq!(stage.send("subscribe", ""), [] as [Value; 0]);
        assert_eq!(process.next(), Some((Kind::Subscribe, ROOM.into(), true)));
        stage.stream(&process, "room");
        assert_eq!(stage.confirm(&process).len(), 1);
        stage.done(&process, 1);
        (stage, process)
    }

    fn end_runner(&mut self, process: &Process, is_clean: bool) {
        self.broker.runners().close(process.id, is_clean);
        let id = process.id;
        self.act(|connection, turn| connection.runner_closed(id, is_clean, turn));
    }
}

#[test]
fn commands_are_sent_one_at_a_time_and_the_context_once() {
    let mut stage = Stage::new(&ruby());
    let process = Process::open(&stage, "puma[1]");
    stage.send("subscribe", "");
    assert_eq!(process.next(), Some((Kind::Subscribe, ROOM.into(), true)));
    assert!(stage.connection.is_busy());
    stage.send("message", r#"{"action":"speak"}"#);
    assert_eq!(process.next(), None);
    stage.done(&process, 1);
    let command = process.next_command();
    assert_eq!(command.command, Kind::Message);
    assert_eq!(command.data.as_deref(), Some(r#"{"action":"speak"}"#));
    assert_eq!((command.id, command.context), (2, None));
    stage.done(&process, 2);
    assert!(!stage.connection.is_busy());
}

#[test]
fn streams_of_the_app_are_fanned_out_here() {
    let (mut stage, process) = Stage::in_room("puma[1]");
    assert_eq!(
        stage.publish("cable:room", "1"),
        Ok(vec![message(ROOM, &json!(1))])
    );
    stage.stream(&process, "other");
    stage.stream(&process, "action_cable/Z2lkOi8vYQ");
    let stop = Report::StopStream {
        identifier: ROOM.into(),
        stream: "room".into(),
    };
    stage.report(&process, stop).unwrap();
    assert_eq!(stage.publish("cable:room", "2"), Ok(vec![]));
    assert_eq!(stage.publish("cable:other", "3").unwrap().len(), 1);
    stage.send("unsubscribe", "");
    assert_eq!(stage.publish("cable:other", "4"), Ok(vec![]));
    assert_eq!(
        process.next(),
        Some((Kind::Unsubscribe, ROOM.into(), false))
    );
}

#[test]
fn texts_of_the_app_are_sent_as_they_are_except_a_disconnect() {
    let (mut stage, process) = Stage::in_room("puma[1]");
    let text = json!({"identifier": ROOM, "message": {"typing": "Ada"}});
    let sent = stage.report(&process, Report::Text(text.to_string()));
    assert_eq!(sent, Ok(vec![text]));
    let reject = json!({"identifier": ROOM, "type": "reject_subscription"});
    let sent = stage.report(&process, Report::Text(reject.to_string()));
    assert_eq!(sent, Ok(vec![reject]));
    assert_eq!(stage.publish("cable:room", "1"), Ok(vec![]));
    let disconnect = json!({"type": "disconnect", "reason": "banned", "reconnect": false});
    let sent = stage.report(&process, Report::Text(disconnect.to_string()));
    assert_eq!(sent, Err(codes::CLOSE_TOKEN_REVOKED));
    assert_eq!(stage.closing(codes::CLOSE_TOKEN_REVOKED), disconnect);
}

#[test]
fn channels_of_a_dead_process_are_ended_and_made_anew_without_a_gap() {
    let (mut stage, first) = Stage::in_room("puma[1]");
    let second = Process::open(&stage, "puma[2]");
    stage.stream(&first, "gone");
    stage.end_runner(&first, false);
    assert_eq!(second.next(), Some((Kind::End, ROOM.into(), true)));
    assert_eq!(stage.publish("cable:room", "1").unwrap().len(), 1);
    stage.done(&second, 2);
    assert_eq!(second.next(), Some((Kind::Subscribe, ROOM.into(), false)));
    stage.stream(&second, "room");
    assert_eq!(
        stage.confirm(&second),
        [] as [Value; 0],
        "the browser has it"
    );
    assert_eq!(stage.publish("cable:gone", "2").unwrap().len(), 1);
    stage.done(&second, 3);
    assert_eq!(stage.publish("cable:gone", "3"), Ok(vec![]));
    assert_eq!(stage.publish("cable:room", "4").unwrap().len(), 1);
    assert_eq!(stage.confirm(&first), [] as [Value; 0], "of a dead process");
    let late = json!({"identifier": ROOM, "message": 1}).to_string();
    assert_eq!(stage.report(&first, Report::Text(late)), Ok(vec![]));
}

#[test]
fn channels_of_a_process_that_has_left_are_only_made_anew() {
    let (mut stage, first) = Stage::in_room("puma[1]");
    let second = Process::open(&stage, "puma[2]");
    let key = format!("0.{}", stage.id);
    stage.broker.runners().report(first.id, &key, Report::Left);
    stage.report(&first, Report::Left).unwrap();
    assert_eq!(first.next(), None, "it gets nothing more");
    assert_eq!(second.next(), Some((Kind::Subscribe, ROOM.into(), true)));
    stage.end_runner(&first, false);
    assert_eq!(second.next(), None);
}

#[test]
fn action_of_a_dead_process_is_not_run_again() {
    let (mut stage, first) = Stage::in_room("puma[1]");
    let second = Process::open(&stage, "puma[2]");
    stage.send("message", "{}");
    assert_eq!(first.next().map(|it| it.0), Some(Kind::Message));
    stage.end_runner(&first, false);
    assert_eq!(second.next().map(|it| it.0), Some(Kind::End));
    stage.done(&second, 3);
    assert_eq!(second.next().map(|it| it.0), Some(Kind::Subscribe));
    stage.done(&second, 4);
    assert_eq!(second.next(), None);
    assert!(!stage.connection.is_busy());
}

#[test]
fn action_that_a_process_has_not_run_before_it_left_is_run_by_the_next_one() {
    let (mut stage, first) = Stage::in_room("puma[1]");
    let second = Process::open(&stage, "puma[2]");
    stage.send("message", r#"{"action":"say"}"#);
    let number = first.next_command().id;
    let key = format!("0.{}", stage.id);
    stage.broker.runners().report(first.id, &key, Report::Left);
    stage.report(&first, Report::Left).unwrap();
    stage.done(&first, number);
    assert_eq!(second.next(), Some((Kind::Subscribe, ROOM.into(), true)));
    stage.done(&second, number + 1);
    let command = second.next_command();
    assert_eq!(command.command, Kind::Message);
    assert_eq!(command.data.as_deref(), Some(r#"{"action":"say"}"#));
    stage.done(&second, number + 2);
    assert_eq!(second.next(), None);
    assert!(!stage.connection.is_busy());
}

#[test]
fn command_waits_for_a_process_up_to_its_deadline() {
    let mut stage = Stage::new(&ruby());
    stage.send("subscribe", "");
    assert!(stage.connection.is_busy());
    stage.now_ms = 59_999;
    assert_eq!(stage.run(Connection::expire), Ok(vec![]));
    let process = Process::open(&stage, "puma[3]");
    stage.act(|connection, turn| connection.runner_opened(turn));
    assert_eq!(process.next(), Some((Kind::Subscribe, ROOM.into(), true)));
    stage.now_ms = 60_000;
    assert_eq!(stage.run(Connection::expire), Err(codes::CLOSE_APP_TIMEOUT));
}

#[test]
fn close_is_given_to_another_process_until_it_is_done() {
    let (mut stage, first) = Stage::in_room("puma[1]");
    stage.act(|connection, turn| connection.closed(turn));
    let close = first.next_command();
    assert_eq!((close.command, close.id), (Kind::Close, 0));
    assert_eq!((close.context, close.ended), (None, vec![]));
    stage.broker.runners().close(first.id, false);
    let second = Process::open(&stage, "puma[2]");
    let close = second.next_command();
    assert_eq!(close.context.as_deref(), Some("the context"));
    assert_eq!(close.ended, [ROOM]);
    let done = Report::Done {
        number: 0,
        variables: None,
    };
    stage
        .broker
        .runners()
        .report(second.id, &close.connection, done);
    stage.broker.runners().close(second.id, false);
    let third = Process::open(&stage, "puma[3]");
    assert_eq!(third.next(), None);
}

#[test]
fn unsubscribed_of_a_dead_process_gets_the_newest_variables_of_its_object() {
    let (mut stage, first) = Stage::in_room("puma[1]");
    let second = Process::open(&stage, "puma[2]");
    for variables in [Some("old"), Some("new"), None] {
        stage.perform(&first, variables);
    }
    stage.end_runner(&first, false);
    let end = second.next_command();
    assert_eq!((end.command, &*end.variables.unwrap()), (Kind::End, "new"));
    // The process that has the command dies too.
    let third = Process::open(&stage, "puma[3]");
    stage.end_runner(&second, false);
    let end = third.next_command();
    assert_eq!((end.command, &*end.variables.unwrap()), (Kind::End, "new"));
    stage.done(&third, end.id);
    // The new object has none yet.
    let subscribe = third.next_command();
    assert_eq!(subscribe.command, Kind::Subscribe);
    stage.done(&third, subscribe.id);
    let fourth = Process::open(&stage, "puma[4]");
    stage.end_runner(&third, false);
    let end = fourth.next_command();
    assert_eq!((end.command, end.variables), (Kind::End, None));
}

#[test]
fn unsubscribe_that_a_process_dies_with_is_run_with_the_variables() {
    let (mut stage, first) = Stage::in_room("puma[1]");
    let second = Process::open(&stage, "puma[2]");
    stage.perform(&first, Some("v"));
    stage.send("unsubscribe", "");
    let unsubscribe = first.next_command();
    assert_eq!(
        (unsubscribe.command, unsubscribe.variables),
        (Kind::Unsubscribe, None)
    );
    stage.end_runner(&first, false);
    let end = second.next_command();
    assert_eq!((end.command, &*end.variables.unwrap()), (Kind::End, "v"));
}

#[test]
fn close_after_the_end_of_a_process_has_the_variables() {
    for is_moving in [false, true] {
        let (mut stage, first) = Stage::in_room("puma[1]");
        stage.perform(&first, Some("v"));
        if is_moving {
            // No process has taken the channel object over when the browser leaves.
            stage.end_runner(&first, false);
            stage.act(|connection, turn| connection.closed(turn));
        } else {
            stage.act(|connection, turn| connection.closed(turn));
            stage.broker.runners().close(first.id, false);
        }
        let second = Process::open(&stage, "puma[2]");
        let close = second.next_command();
        assert_eq!(
            (close.command, close.ended),
            (Kind::Close, vec![ROOM.into()])
        );
        let expected = [(ROOM.to_owned(), "v".to_owned())].into();
        assert_eq!(close.ended_variables, expected, "{is_moving}");
    }
}

#[test]
fn close_of_a_process_that_ended_its_objects_itself_is_dropped() {
    let (mut stage, first) = Stage::in_room("puma[1]");
    stage.broker.runners().close(first.id, true);
    stage.act(|connection, turn| connection.closed(turn));
    let second = Process::open(&stage, "puma[2]");
    assert_eq!(second.next(), None);
}

#[test]
fn connection_without_channels_in_the_app_is_closed_there_if_its_class_disconnects() {
    let mut decided = ruby();
    for disconnects in [false, true] {
        decided["disconnects"] = json!(disconnects);
        let mut stage = Stage::new(&decided);
        let process = Process::open(&stage, "puma[1]");
        stage.subscribe(&turbo(BOOKS));
        stage.act(|connection, turn| connection.closed(turn));
        assert_eq!(
            process.next().map(|it| it.0),
            disconnects.then_some(Kind::Close)
        );
    }
}
