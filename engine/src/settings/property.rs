//! librdkafka properties that a configuration cannot set, because the promises of Fairlead rest on them.

/// Says which setting to use instead of a property that Fairlead manages.
pub(super) fn managed(key: &str) -> Option<&'static str> {
    Some(match key {
        "bootstrap.servers" | "metadata.broker.list" => "set `kafka.brokers`",
        "acks" | "request.required.acks" => {
            "it is \"all\"; `engine.ack` says when a message is acknowledged to the sender"
        }
        "enable.idempotence"
        | "max.in.flight"
        | "max.in.flight.requests.per.connection"
        | "enable.gapless.guarantee" => {
            "the producer is idempotent, so that it keeps order and makes no duplicates; leave it out"
        }
        "message.timeout.ms" | "delivery.timeout.ms" | "retries" | "message.send.max.retries" => {
            "a record is retried until Kafka takes it; leave it out"
        }
        "linger.ms" | "queue.buffering.max.ms" => "set `kafka.linger`",
        "queue.buffering.max.messages" | "queue.buffering.max.kbytes" => "set `engine.memory`",
        "message.max.bytes" => "it follows `max_packet` of the sources; set that",
        "message.copy.max.bytes" => "records are handed over without copies; leave it out",
        "allow.auto.create.topics" => "set `kafka.create`, such as { partitions = 9, replication = 1 }",
        "partitioner" | "partitioner_cb" | "msg_order_cmp" => {
            "Fairlead chooses the partition from the key as Java clients do (murmur2); set `key` of the route"
        }
        "transactional.id" => "a record is confirmed by itself, without transactions; leave it out",
        "topic.metadata.refresh.interval.ms" => "topics are looked for by Fairlead itself; leave it out",
        "statistics.interval.ms" | "stats_cb" => "see /metrics of `admin.listen`",
        "log.queue" | "log_cb" | "error_cb" | "throttle_cb" | "enabled_events" | "opaque" | "background_event_cb" => {
            "Fairlead reads librdkafka's events itself; leave it out"
        }
        "dr_cb" | "dr_msg_cb" | "delivery.report.only.error" => {
            "acknowledgements rest on the delivery reports; leave it out"
        }
        _ => return None,
    })
}
