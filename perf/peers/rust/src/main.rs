//! MQTT to Kafka as most would write it: bridge MQTT_HOST MQTT_PORT KAFKA TOPIC WINDOW QOS

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Packet, Publish};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, kafka, topic, window, qos] = arguments.try_into().ok().context("six arguments")?;
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &kafka)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .create()?;
    let window: u16 = window.parse()?;
    let mut options = MqttOptions::new("rust", host, port.parse()?);
    let mut session = ConnectProperties::new();
    session.session_expiry_interval = Some(3600);
    session.receive_maximum = Some(window);
    options.set_clean_start(false).set_connect_properties(session);
    options.set_manual_acks(true).set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, usize::from(window));
    let qos = match qos.as_str() {
        "0" => QoS::AtMostOnce,
        "1" => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    let mut stop = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = stop.recv() => break,
            event = events.poll() => match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => client.subscribe("#", qos).await?,
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    tokio::spawn(deliver(client.clone(), producer.clone(), topic.clone(), publish));
                }
                Ok(_) => {}
                Err(error) => {
                    eprintln!("{error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            },
        }
    }
    producer.flush(Timeout::After(Duration::from_secs(30)))?;
    Ok(())
}

async fn deliver(client: AsyncClient, producer: FutureProducer, topic: String, publish: Publish) {
    let key = &publish.topic[..];
    let record = FutureRecord::to(&topic).key(key).payload(&publish.payload[..]);
    match producer.send(record, Timeout::Never).await {
        Ok(_) => drop(client.ack(&publish).await),
        Err((error, _)) => eprintln!("{error}"),
    }
}
