//! Dead letters against a producer made of a queue and a spool in memory.

use std::{
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use fairlead_spool::{Commit, Log, Name, Options, Read, Recovery, Spool, Upkeep, disk::Memory};

use super::super::*;
use crate::{
    dead_letter::Marks,
    kafka::{HoldReason, Report, Topics, Verdict},
    message::{DropReason, Extra, LogName, Outcome, Receipt, Record, RouteId, Ticket, TopicId},
    mqtt::{Payload, Text},
    settings::{Owner, Settings},
    spool::{Done, Jobs, Synced},
};

const LIMITS: Options =
    Options { max: 16 << 20, min_free: 0, segment: 1 << 20, group: 64 << 10, record: 128 << 10, shards: 1 };
const FOLDER: &str = "/spool";
const DEAD: &str = "[dead_letter]\ntopic = \"dead\"\n";

/// Runs what it is given at the next look.
#[derive(Default)]
struct Runner(Vec<Done<Memory>>);

impl Jobs<Memory> for Runner {
    fn commit(&mut self, commit: Commit<Memory>) {
        self.0.push(Done::Commit(commit.run(), Synced::default()));
    }

    fn upkeep(&mut self, upkeep: Upkeep<Memory>) {
        self.0.push(Done::Upkeep(upkeep.run()));
    }

    fn read(&mut self, _: Read<Memory>) {
        unreachable!("dead letters are not replayed");
    }

    fn poll(&mut self) -> Option<Done<Memory>> {
        self.0.pop()
    }
}

struct World {
    now: Instant,
    topics: Arc<Topics>,
    lane: Lane,
    dead: DeadLetters<Memory>,
    runner: Runner,
    disk: Memory,
    ended: Vec<Receipt>,
}

fn open(disk: &Memory) -> (Log<Memory>, Recovery) {
    let (spool, _) = Spool::open(disk.clone(), FOLDER, LIMITS).unwrap();
    spool.log(Name::DeadLetter(0)).unwrap()
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "an Instant to start from; virtual time from here on")]
    fn new(section: &str, spool: bool) -> World {
        let text = format!(
            "[[source]]\nname = \"harbour\"\nurl = \"mqtt://b\"\n[kafka]\nbrokers = \"k:1\"\n\
             [[route]]\nfrom = \"ais/#\"\ntopic = \"ais\"\n{section}"
        );
        let (settings, topics, disk) = (Arc::new(Settings::of(&text)), Arc::new(Topics::default()), Memory::new());
        topics.publish("ais", 2, Owner::Partition);
        let now = Instant::now();
        let log = spool.then(|| open(&disk));
        World {
            now,
            lane: Lane::new(Duration::from_millis(1), Spooling::Outage, 64 << 20),
            dead: DeadLetters::new(
                &settings,
                &topics,
                log,
                (now, UNIX_EPOCH + Duration::from_millis(1_769_860_800_000)),
            ),
            topics,
            runner: Runner::default(),
            disk,
            ended: Vec::new(),
        }
    }

    fn record(ticket: Ticket) -> Record {
        let headers = vec![(Text::from_static("unit"), Payload::from_static(b"knots"))];
        Record {
            ticket,
            topic: TopicId(0),
            route: RouteId(0),
            partition: 1,
            key: Some(Payload::from_static(b"ais/1")),
            value: Some(Payload::from_static(b"much")),
            mqtt_topic: None,
            extra: Some(Box::new(Extra { headers, ..Extra::default() })),
        }
    }

    fn refuse(&mut self, position: u32) {
        let record = World::record(Ticket::new(0, 0, 0, position));
        self.dead.handle_refused(self.now, record, DropReason::TooLarge, None);
    }

    /// One turn of a driver.
    fn turn(&mut self) {
        while let Some(done) = self.runner.poll() {
            self.dead.handle_done(self.now, done);
        }
        self.dead.poll(self.now, &mut self.lane, Some(&mut self.runner));
        while let Some(receipt) = self.dead.poll_ended() {
            self.ended.push(receipt);
        }
    }

    /// Turns until nothing more is to be done.
    fn turns(&mut self) {
        for _ in 0..10 {
            self.turn();
        }
    }

    /// What the lane hands over.
    fn sent(&mut self) -> Vec<Record> {
        let mut sent = Vec::new();
        while let Some(ready) = self.lane.poll_ready(self.now) {
            let (topic, partition, most) = (ready.topic, ready.partition, ready.most);
            sent.extend(ready.records.drain(..most));
            self.lane.handle_produced(self.now, topic, partition, most);
        }
        sent
    }

    fn outcomes(&self) -> Vec<(u32, Outcome)> {
        self.ended.iter().map(|receipt| (receipt.ticket.position(), receipt.outcome)).collect()
    }
}

#[test]
fn it_goes_to_the_topic_with_its_ticket_and_has_ended_when_it_is_there() {
    let mut world = World::new(DEAD, true);
    let dead = world.topics.publish("dead", 3, Owner::Partition).unwrap();
    world.refuse(7);
    world.turn();
    let [record] = world.sent().try_into().unwrap();
    assert_eq!((record.topic, record.ticket), (dead, Ticket::new(0, 0, 0, 7)));
    assert_eq!(record.partition, crate::route::partition::partition(b"ais/1", 3));
    assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"ais/1"[..]), Some(&b"much"[..])));
    let (message, marks) = Marks::split(record.headers()).unwrap();
    assert_eq!(message, World::record(record.ticket).headers(), "what the message had comes first");
    assert_eq!(marks.reason(), Some(DropReason::TooLarge));
    assert_eq!((marks.route().as_deref(), marks.source().as_deref()), (Some("ais/#"), Some("harbour")));
    assert_eq!((marks.topic().as_deref(), marks.time().as_deref()), (Some("ais"), Some("2026-01-31T12:00:00.000Z")));
    assert!(world.ended.is_empty(), "it is nowhere yet");
    let report = Report { record, order: 0, verdict: Verdict::Delivered };
    let Some(Settlement::Receipt(receipt)) = world.lane.handle_report(world.now, report) else { panic!() };
    assert_eq!(receipt.outcome, Outcome::DeadLettered(DropReason::TooLarge));
    assert!(world.lane.is_empty() && world.disk.paths().iter().all(|path| !path.to_string_lossy().contains("seg-")));
}

#[test]
fn until_the_topic_is_known_it_waits_as_if_it_were_in_the_lane_and_others_go_on() {
    let mut world = World::new(DEAD, false);
    world.refuse(0);
    world.turns();
    assert_eq!((world.lane.len(), world.dead.unreceipted()), (1, 1));
    assert!(!world.dead.is_settled());
    world.lane.handle_record(world.now, World::record(Ticket::new(0, 0, 0, 1)));
    assert_eq!(world.sent().len(), 1, "what is well goes on");
    world.topics.publish("dead", 1, Owner::Partition);
    world.turn();
    assert_eq!(world.sent().len(), 1);
    assert_eq!((world.lane.len(), world.dead.unreceipted()), (2, 0));
}

#[test]
fn what_the_topic_refuses_too_goes_to_the_log_with_its_first_reason() {
    let mut world = World::new(DEAD, true);
    world.topics.publish("dead", 1, Owner::Partition);
    world.refuse(7);
    world.turn();
    let [record] = world.sent().try_into().unwrap();
    let report = Report { record, order: 0, verdict: Verdict::Final(DropReason::InvalidRecord) };
    let Some(Settlement::Refused(refused)) = world.lane.handle_report(world.now, report) else { panic!() };
    world.dead.handle_refused(world.now, refused.0, refused.1, None);
    world.turns();
    assert_eq!(world.outcomes(), [(7, Outcome::DeadLettered(DropReason::TooLarge))]);
    assert_eq!((world.dead.records(), world.dead.is_settled()), (1, true));
}

#[test]
fn in_the_log_it_has_ended_when_it_is_synced() {
    let mut world = World::new("", true);
    assert!(world.dead.poll_timeout().is_none());
    (0..3).for_each(|position| world.refuse(position));
    while world.dead.records() == 0 {
        world.turn();
        assert!(world.ended.is_empty(), "nothing is synced before a segment is made");
    }
    assert_eq!((world.dead.unreceipted(), world.dead.is_settled()), (3, false));
    world.turns();
    let ended = Outcome::DeadLettered(DropReason::TooLarge);
    assert_eq!(world.outcomes().len(), 3);
    assert!(world.outcomes().iter().all(|(_, outcome)| *outcome == ended));
    assert_eq!((world.lane.len(), world.dead.unreceipted(), world.dead.records()), (0, 0, 3));
    // The next process finds them, and what they say.
    let disk = world.disk.kill();
    let (log, recovery) = open(&disk);
    assert_eq!(recovery.backlog, 3);
    drop(log);
    let found: Vec<_> = crate::spool::filed(&disk, FOLDER.as_ref(), Name::DeadLetter(0), 1).unwrap().collect();
    let first = found[0].as_ref().unwrap().record.as_ref().unwrap();
    assert_eq!((first.dead, first.kafka_topic.as_str()), (Some(DropReason::TooLarge), "ais"));
    assert_eq!(Marks::split(&first.headers).unwrap().0, World::record(Ticket::new(0, 0, 0, 0)).headers());
    assert_eq!(first.value.as_deref(), Some(&b"much"[..]));
}

#[test]
fn a_log_without_room_takes_nothing_and_nothing_is_lost() {
    let mut world = World::new("", true);
    world.disk.limit_space(Some(0));
    world.refuse(0);
    for _ in 0..10 {
        world.now += Duration::from_secs(1);
        world.turn();
    }
    assert_eq!((world.dead.stuck(), world.lane.len(), world.dead.unreceipted()), (1, 1, 1));
    assert!(world.dead.full() > 0 && world.ended.is_empty());
    world.disk.limit_space(None);
    for _ in 0..10 {
        world.now += Duration::from_secs(1);
        world.turn();
    }
    assert_eq!(world.outcomes(), [(0, Outcome::DeadLettered(DropReason::TooLarge))]);
    assert_eq!((world.dead.stuck(), world.lane.len()), (0, 0));
}

#[test]
fn without_topic_and_spool_it_is_dropped() {
    let mut world = World::new("", false);
    assert!(!world.dead.is_kept());
    world.refuse(0);
    world.turn();
    assert_eq!(world.outcomes(), [(0, Outcome::Dropped(DropReason::TooLarge))]);
}

#[test]
fn an_illegal_name_is_told() {
    let mut world = World::new(DEAD, false);
    world.topics.publish("dead", 1, Owner::Partition);
    let record = Record { topic: TopicId::NONE, ..World::record(Ticket::new(0, 0, 0, 0)) };
    world.dead.handle_refused(world.now, record, DropReason::IllegalTopic, Some("a/b"));
    world.turn();
    let [record] = world.sent().try_into().unwrap();
    assert_eq!(Marks::split(record.headers()).unwrap().1.topic().as_deref(), Some("a/b"));
}

/// What it was made of lies in the spool, and replay brings that again: two of it would end twice.
#[test]
fn when_the_lane_spills_what_lies_in_the_spool_is_forgotten() {
    let mut world = World::new(DEAD, true);
    let stored = World::record(Ticket::stored(LogName::Spool, 5));
    world.dead.handle_refused(world.now, stored.clone(), DropReason::TooLarge, None);
    world.refuse(1);
    world.turn();
    assert_eq!(world.lane.len(), 2);
    world.dead.forget_read();
    world.turn();
    assert_eq!((world.lane.len(), world.dead.unreceipted()), (1, 1));
    // The topic becomes known while the lane spills.
    world.dead.handle_refused(world.now, stored, DropReason::TooLarge, None);
    world.lane.spill(world.now);
    world.topics.publish("dead", 1, Owner::Partition);
    world.turn();
    assert_eq!(world.lane.incoming.len(), 1, "what lies nowhere else goes to the spool");
    assert_eq!(world.lane.held, 0);
}

#[test]
fn a_hold_of_the_dead_letter_topic_keeps_it_in_the_lane() {
    let mut world = World::new(DEAD, true);
    world.topics.publish("dead", 1, Owner::Partition);
    world.refuse(0);
    world.turn();
    let [record] = world.sent().try_into().unwrap();
    let report = Report { record, order: 0, verdict: Verdict::Hold(HoldReason::Unauthorized) };
    assert!(world.lane.handle_report(world.now, report).is_none());
    assert_eq!((world.lane.len(), world.lane.holds().count()), (1, 1));
}

/// Without a hold on memory, replay could bring more dead letters than there is room for.
#[test]
fn those_that_wait_keep_replay_from_bringing_more() {
    let mut world = World::new(DEAD, true);
    world.lane.drain(world.now);
    assert!(world.lane.wants_replay());
    world.lane.set_aside((1, 16 << 20));
    assert!(!world.lane.wants_replay());
}
