//! The producer on librdkafka's C interface: the one file with `unsafe`.
//!
//! Records are produced without a copy, so librdkafka reads their values until the delivery report. That is sound
//! because a [`Producer`] owns every record from [`Producer::produce`] on and gives it back only with its report;
//! dropping the producer destroys the librdkafka handle, which ends all its threads, before it drops the records.

use std::{
    collections::VecDeque,
    ffi::{CStr, CString, c_char, c_void},
    ops::Range,
    ptr,
    sync::Arc,
};

use rdkafka::{
    ClientConfig, bindings as rd,
    client::{Client, ClientContext},
    types::RDKafkaErrorCode,
};

use super::{
    config::{self, ProducerError},
    delivery::{Event, Report, Verdict, refusal, verdict},
    in_flight::InFlight,
    topics::Topics,
};
use crate::{
    message::{Record, Ticket, TopicId},
    mqtt::{Payload, Text},
    ring::Doorbell,
    settings::Settings,
};

/// Messages handed to librdkafka, or taken from a delivery report event, in one call.
const CHUNK: usize = 512;
/// Bytes that librdkafka may use for the text of an error.
const ERROR_TEXT: usize = 512;

/// One topic: librdkafka's handle and what is in flight in its partitions.
#[derive(Debug)]
struct TopicHandle {
    rkt: *mut rd::rd_kafka_topic_t,
    partitions: Vec<InFlight>,
}

/// One shard's producer.
#[derive(Debug)]
pub struct Producer {
    rk: *mut rd::rd_kafka_t,
    queue: *mut rd::rd_kafka_queue_t,
    topics: Vec<Option<TopicHandle>>,
    directory: Arc<Topics>,
    messages: Vec<rd::rd_kafka_message_t>,
    in_flight: usize,
    // Held so that the pointer given to the queue's callback stays valid; dropped after the handle.
    _doorbells: Arc<[Doorbell]>,
}

// SAFETY: librdkafka's handles may be used from any thread, and the producer owns what they point to; the raw message
// array is scratch space that is empty between calls.
unsafe impl Send for Producer {}

/// Wakes the shard; called by librdkafka's threads.
unsafe extern "C" fn wake(_: *mut rd::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: `opaque` is the doorbell given in `Producer::new`, which the producer keeps alive until after
    // rd_kafka_destroy has ended librdkafka's threads.
    unsafe { &*opaque.cast::<Doorbell>() }.ring();
}

impl Producer {
    /// A producer that rings `doorbells[shard]` when there is something to poll. librdkafka's threads inherit the
    /// CPU affinity of the calling thread. `limit` is the most records that will ever be in flight.
    ///
    /// # Errors
    /// See [`ProducerError`].
    pub fn new(
        settings: &Settings,
        limit: usize,
        topics: Arc<Topics>,
        doorbells: Arc<[Doorbell]>,
        shard: usize,
    ) -> Result<Producer, ProducerError> {
        Producer::with(&config::producer(settings, limit), topics, doorbells, shard)
    }

    fn with(
        config: &ClientConfig,
        topics: Arc<Topics>,
        doorbells: Arc<[Doorbell]>,
        shard: usize,
    ) -> Result<Producer, ProducerError> {
        let config = config.create_native_config().map_err(|error| ProducerError::Config(error.to_string()))?;
        let events = rd::RD_KAFKA_EVENT_DR | rd::RD_KAFKA_EVENT_ERROR | rd::RD_KAFKA_EVENT_LOG;
        let mut text = [0 as c_char; ERROR_TEXT];
        // SAFETY: the configuration is valid; rd_kafka_new takes it over only when it succeeds, and then `forget`
        // keeps the wrapper from freeing it. The text buffer outlives the call.
        let rk = unsafe {
            rd::rd_kafka_conf_set_events(config.ptr(), events);
            rd::rd_kafka_new(rd::rd_kafka_type_t::RD_KAFKA_PRODUCER, config.ptr(), text.as_mut_ptr(), text.len())
        };
        if rk.is_null() {
            // SAFETY: librdkafka wrote a NUL-terminated text into the buffer.
            let text = unsafe { CStr::from_ptr(text.as_ptr()) };
            return Err(ProducerError::Start(text.to_string_lossy().into_owned()));
        }
        std::mem::forget(config);
        let opaque = ptr::from_ref(&doorbells[shard]).cast_mut().cast();
        // SAFETY: `rk` is valid; the queue is released in `drop`; the doorbell outlives the handle (see `drop`).
        let queue = unsafe {
            let queue = rd::rd_kafka_queue_get_main(rk);
            rd::rd_kafka_set_log_queue(rk, queue);
            rd::rd_kafka_queue_cb_event_enable(queue, Some(wake), opaque);
            queue
        };
        Ok(Producer {
            rk,
            queue,
            topics: Vec::new(),
            directory: topics,
            messages: Vec::with_capacity(CHUNK),
            in_flight: 0,
            _doorbells: doorbells,
        })
    }

    /// Records inside librdkafka.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Every record inside librdkafka.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.topics.iter().flatten().flat_map(|topic| &topic.partitions).flat_map(|part| part.records.iter().flatten())
    }

    /// The orders of a partition's records inside librdkafka: from the oldest to behind the newest.
    #[must_use]
    pub fn orders(&self, topic: TopicId, partition: u32) -> Range<u64> {
        let topic = self.topics.get(usize::from(topic.0)).and_then(Option::as_ref);
        let in_flight = topic.and_then(|topic| topic.partitions.get(partition as usize));
        in_flight.map_or(0..0, |in_flight| in_flight.first..in_flight.next_order())
    }

    /// The record of an order; `None` if it was reported.
    #[must_use]
    pub fn record(&self, topic: TopicId, partition: u32, order: u64) -> Option<&Record> {
        let in_flight = self.topics.get(usize::from(topic.0))?.as_ref()?.partitions.get(partition as usize)?;
        in_flight.records.get(in_flight.place(order)?)?.as_ref()
    }

    /// Gives a record inside librdkafka another ticket.
    pub fn set_ticket(&mut self, topic: TopicId, partition: u32, order: u64, ticket: Ticket) {
        let topic = self.topics.get_mut(usize::from(topic.0)).and_then(Option::as_mut);
        let Some(in_flight) = topic.and_then(|topic| topic.partitions.get_mut(partition as usize)) else { return };
        let Some(place) = in_flight.place(order) else { return };
        if let Some(Some(record)) = in_flight.records.get_mut(place) {
            record.ticket = ticket;
        }
    }

    /// Hands records of one partition over, in order, at most `most` of them; they leave the front of `records`.
    ///
    /// A record that librdkafka refuses comes back through `refused`, in order. Once one is on hold nothing more
    /// is handed over in this call, so that nothing overtakes it.
    pub fn produce(
        &mut self,
        topic: TopicId,
        partition: u32,
        records: &mut VecDeque<Record>,
        most: usize,
        mut refused: impl FnMut(Report),
    ) {
        let mut left = most.min(records.len());
        let rkt = self.topic(topic, partition);
        while left > 0 {
            let taken = match records.front() {
                Some(record) if record.extra.is_some() => {
                    self.produce_one(rkt, topic, partition, records, &mut refused)
                }
                _ => self.produce_run(rkt, topic, partition, records, left.min(CHUNK), &mut refused),
            };
            match taken {
                Some(taken) => left -= taken,
                None => return,
            }
        }
    }

    /// Produces the longest run at the front without headers or a time, and of one kind of value. `None` on a hold.
    fn produce_run(
        &mut self,
        rkt: *mut rd::rd_kafka_topic_t,
        topic: TopicId,
        partition: u32,
        records: &mut VecDeque<Record>,
        most: usize,
        refused: &mut impl FnMut(Report),
    ) -> Option<usize> {
        let inline = |record: &Record| record.value.as_ref().is_some_and(|value| value.is_inline());
        let copy = records.front().is_some_and(inline);
        let in_flight = &mut self.topics[usize::from(topic.0)].as_mut().expect("opened").partitions[partition as usize];
        self.messages.clear();
        self.messages.extend(
            records
                .iter()
                .take(most)
                .take_while(|record| record.extra.is_none() && inline(record) == copy)
                .zip(in_flight.next_order()..)
                .map(|(record, order)| message(record, order)),
        );
        let count = self.messages.len();
        // The address of an inline value moves with the record: librdkafka copies those few bytes.
        let flags = if copy { rd::RD_KAFKA_MSG_F_COPY } else { 0 };
        // SAFETY: `rkt` is valid while the producer lives; keys are copied by librdkafka, and so are values under
        // F_COPY; all other values live on the heap at an address that does not move, and are owned by `in_flight`
        // from here to their report.
        unsafe {
            rd::rd_kafka_produce_batch(rkt, partition as i32, flags, self.messages.as_mut_ptr(), count as i32);
        }
        let mut held = false;
        for (message, record) in self.messages.drain(..).zip(records.drain(..count)) {
            let code = RDKafkaErrorCode::from(message.err);
            if code == RDKafkaErrorCode::NoError {
                in_flight.records.push_back(Some(record));
                self.in_flight += 1;
                continue;
            }
            let verdict = refusal(code);
            held |= matches!(verdict, Verdict::Hold(_));
            let order = in_flight.next_order();
            in_flight.records.push_back(None);
            refused(Report { record, order, verdict });
        }
        in_flight.trim();
        (!held).then_some(count)
    }

    /// Produces the front record with its headers and its time. `None` on a hold.
    fn produce_one(
        &mut self,
        rkt: *mut rd::rd_kafka_topic_t,
        topic: TopicId,
        partition: u32,
        records: &mut VecDeque<Record>,
        refused: &mut impl FnMut(Report),
    ) -> Option<usize> {
        let record = records.pop_front()?;
        let in_flight = &mut self.topics[usize::from(topic.0)].as_mut().expect("opened").partitions[partition as usize];
        let order = in_flight.next_order();
        let code = produce_with_extra(self.rk, rkt, partition, order, &record);
        if code == RDKafkaErrorCode::NoError {
            in_flight.records.push_back(Some(record));
            self.in_flight += 1;
            return Some(1);
        }
        in_flight.records.push_back(None);
        in_flight.trim();
        let verdict = refusal(code);
        refused(Report { record, order, verdict });
        (!matches!(verdict, Verdict::Hold(_))).then_some(1)
    }

    /// The handle of a topic, opened at its first use.
    fn topic(&mut self, id: TopicId, partition: u32) -> *mut rd::rd_kafka_topic_t {
        let index = usize::from(id.0);
        if self.topics.len() <= index {
            self.topics.resize_with(index + 1, || None);
        }
        let topic = self.topics[index].get_or_insert_with(|| {
            let (name, _) = self.directory.get(id).expect("a record names a known topic");
            let name = CString::new(name).expect("a topic name has no NUL");
            // SAFETY: `rk` and the name are valid; the topic's configuration is taken over; the opaque is the index
            // as a number and is never followed.
            let rkt = unsafe {
                // A new one would have librdkafka's defaults, such as a message timeout of five minutes.
                let conf = rd::rd_kafka_default_topic_conf_dup(self.rk);
                rd::rd_kafka_topic_conf_set_opaque(conf, index as *mut c_void);
                rd::rd_kafka_topic_new(self.rk, name.as_ptr(), conf)
            };
            assert!(!rkt.is_null(), "librdkafka opens a topic of a legal name");
            TopicHandle { rkt, partitions: Vec::new() }
        });
        if topic.partitions.len() <= partition as usize {
            topic.partitions.resize_with(partition as usize + 1, InFlight::default);
        }
        topic.rkt
    }

    /// Takes what librdkafka has for us: reports through `report`, the rest through `event`. Never blocks.
    pub fn poll(&mut self, mut report: impl FnMut(Report), mut event: impl FnMut(Event)) {
        loop {
            // SAFETY: the queue is valid while the producer lives.
            let polled = unsafe { rd::rd_kafka_queue_poll(self.queue, 0) };
            if polled.is_null() {
                return;
            }
            // SAFETY: `polled` is a valid event until it is destroyed below, and nothing of it is kept.
            unsafe {
                match rd::rd_kafka_event_type(polled) {
                    rd::RD_KAFKA_EVENT_DR => self.take_reports(polled, &mut report),
                    rd::RD_KAFKA_EVENT_ERROR => event(error_event(polled)),
                    rd::RD_KAFKA_EVENT_LOG => event(log_event(polled)),
                    _ => {}
                }
                rd::rd_kafka_event_destroy(polled);
            }
        }
    }

    fn take_reports(&mut self, event: *mut rd::rd_kafka_event_t, report: &mut impl FnMut(Report)) {
        let mut messages = [ptr::null::<rd::rd_kafka_message_t>(); CHUNK];
        loop {
            // SAFETY: the event is valid and the array has `CHUNK` places.
            let count = unsafe { rd::rd_kafka_event_message_array(event, messages.as_mut_ptr(), CHUNK) };
            for message in &messages[..count] {
                // SAFETY: librdkafka gave a pointer to a message that is valid until the event is destroyed, and
                // its topic handle carries the index that `topic` set.
                let (message, index) = unsafe {
                    let message = &**message;
                    (message, rd::rd_kafka_topic_opaque(message.rkt) as usize)
                };
                let Some(topic) = self.topics.get_mut(index).and_then(Option::as_mut) else { continue };
                let Some(in_flight) = topic.partitions.get_mut(message.partition as usize) else { continue };
                let order = message._private as u64;
                if let Some(record) = in_flight.take(order) {
                    self.in_flight -= 1;
                    report(Report { record, order, verdict: verdict(message.err.into()) });
                }
            }
            if count < CHUNK {
                return;
            }
        }
    }

    /// Gives up everything inside librdkafka: each record comes back as [`Verdict::Hold`] through
    /// [`Producer::poll`].
    pub fn purge(&self) {
        let flags = rd::RD_KAFKA_PURGE_F_QUEUE | rd::RD_KAFKA_PURGE_F_INFLIGHT | rd::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: `rk` is valid while the producer lives.
        unsafe { rd::rd_kafka_purge(self.rk, flags) };
    }

    /// Names the brokers of the configuration to librdkafka once more: see [`is_reminder_due`](super::is_reminder_due).
    pub fn bootstrap(&self, brokers: &str) {
        // SAFETY: `rk` is valid while the producer lives.
        unsafe { add_brokers(self.rk, brokers) };
    }

    /// Brings about a fatal error, for tests of the recovery.
    #[cfg(test)]
    pub(crate) fn fail(&self) {
        // SAFETY: `rk` is valid and the text is NUL-terminated.
        unsafe {
            rd::rd_kafka_test_fatal_error(
                self.rk,
                rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                c"test".as_ptr(),
            );
        }
    }
}

/// [`Producer::bootstrap`] of another client.
pub(super) fn bootstrap<C: ClientContext>(client: &Client<C>, brokers: &str) {
    // SAFETY: the handle is valid while the client lives.
    unsafe { add_brokers(client.native_ptr(), brokers) };
}

/// # Safety
///
/// The handle is valid.
unsafe fn add_brokers(rk: *mut rd::rd_kafka_t, brokers: &str) {
    let brokers = CString::new(brokers).expect("a list of brokers has no NUL");
    // SAFETY: the text, which is copied, is NUL-terminated.
    unsafe { rd::rd_kafka_brokers_add(rk, brokers.as_ptr()) };
}

impl Drop for Producer {
    fn drop(&mut self) {
        // SAFETY: each handle is valid and released once; rd_kafka_destroy returns when librdkafka's threads have
        // ended, so that the records and the doorbells, dropped after this, are no longer read.
        unsafe {
            rd::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            rd::rd_kafka_queue_destroy(self.queue);
            for topic in self.topics.iter().flatten() {
                rd::rd_kafka_topic_destroy(topic.rkt);
            }
            rd::rd_kafka_destroy(self.rk);
        }
    }
}

/// A record as librdkafka's message, without what is extra.
fn message(record: &Record, order: u64) -> rd::rd_kafka_message_t {
    let (key, key_len) = bytes(record.key.as_deref());
    let (payload, len) = bytes(record.value.as_deref());
    rd::rd_kafka_message_t {
        err: rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: 0,
        payload,
        len,
        key,
        key_len,
        offset: 0,
        _private: order as *mut c_void,
    }
}

fn bytes(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    match bytes {
        Some(bytes) => (bytes.as_ptr().cast_mut().cast(), bytes.len()),
        None => (ptr::null_mut(), 0),
    }
}

fn produce_with_extra(
    rk: *mut rd::rd_kafka_t,
    rkt: *mut rd::rd_kafka_topic_t,
    partition: u32,
    order: u64,
    record: &Record,
) -> RDKafkaErrorCode {
    use rd::rd_kafka_vtype_t as V;
    type U = rd::rd_kafka_vu_s__bindgen_ty_1;
    let inline = record.value.as_ref().is_some_and(|value| value.is_inline());
    let (key, key_len) = bytes(record.key.as_deref());
    let (value, len) = bytes(record.value.as_deref());
    let headers = native_headers(record.headers());
    // 0 is now.
    let time = record.extra.as_ref().and_then(|extra| extra.time).unwrap_or(0);
    let mem = |ptr, size| U { mem: rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr, size } };
    let vus = [
        (V::RD_KAFKA_VTYPE_RKT, U { rkt }),
        (V::RD_KAFKA_VTYPE_PARTITION, U { i32_: partition as i32 }),
        (V::RD_KAFKA_VTYPE_KEY, mem(key, key_len)),
        (V::RD_KAFKA_VTYPE_VALUE, mem(value, len)),
        (V::RD_KAFKA_VTYPE_MSGFLAGS, U { i: if inline { rd::RD_KAFKA_MSG_F_COPY } else { 0 } }),
        (V::RD_KAFKA_VTYPE_OPAQUE, U { ptr: order as *mut c_void }),
        (V::RD_KAFKA_VTYPE_TIMESTAMP, U { i64_: time as i64 }),
        (V::RD_KAFKA_VTYPE_HEADERS, U { headers }),
    ]
    .map(|(vtype, u)| rd::rd_kafka_vu_t { vtype, u });
    // SAFETY: as in `produce_run`; the headers are taken over only on success and freed here otherwise.
    unsafe {
        let error = rd::rd_kafka_produceva(rk, vus.as_ptr(), vus.len());
        if error.is_null() {
            return RDKafkaErrorCode::NoError;
        }
        rd::rd_kafka_headers_destroy(headers);
        let code = rd::rd_kafka_error_code(error);
        rd::rd_kafka_error_destroy(error);
        code.into()
    }
}

fn native_headers(headers: &[(Text, Payload)]) -> *mut rd::rd_kafka_headers_t {
    // SAFETY: librdkafka copies names and values within each call.
    unsafe {
        let native = rd::rd_kafka_headers_new(headers.len());
        for (name, value) in headers {
            let (value, len) = bytes(Some(value));
            rd::rd_kafka_header_add(native, name.as_ptr().cast(), name.len() as isize, value, len as isize);
        }
        native
    }
}

/// # Safety
/// `event` is a valid error event.
unsafe fn error_event(event: *mut rd::rd_kafka_event_t) -> Event {
    // SAFETY: the caller vouches for the event; the text is NUL-terminated and copied.
    let (code, text, fatal) = unsafe {
        (
            RDKafkaErrorCode::from(rd::rd_kafka_event_error(event)),
            CStr::from_ptr(rd::rd_kafka_event_error_string(event)).to_string_lossy().into_owned(),
            rd::rd_kafka_event_error_is_fatal(event) != 0,
        )
    };
    match code {
        _ if fatal => Event::Fatal(text),
        RDKafkaErrorCode::AllBrokersDown => Event::AllBrokersDown,
        _ => Event::Error(text),
    }
}

/// # Safety
/// `event` is a valid log event.
unsafe fn log_event(event: *mut rd::rd_kafka_event_t) -> Event {
    let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the caller vouches for the event; the texts are NUL-terminated and copied.
    unsafe {
        if rd::rd_kafka_event_log(event, &raw mut facility, &raw mut line, &raw mut level) != 0 || line.is_null() {
            return Event::Log { level: 7, line: String::new() };
        }
        Event::Log { level, line: CStr::from_ptr(line).to_string_lossy().into_owned() }
    }
}

#[cfg(test)]
#[path = "raw_tests.rs"]
mod tests;
