"""MQTT to Kafka as a short script: bridge.py MQTT_HOST MQTT_PORT KAFKA TOPIC WINDOW QOS receipt|delivery"""

import signal
import sys

import paho.mqtt.client as mqtt
from confluent_kafka import Producer
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

host, port, kafka, topic, window, qos, when = sys.argv[1:]
producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "linger.ms": 5})
by_delivery = when == "delivery"


def connected(client, _userdata, _flags, reason, _properties):
    if reason.is_failure:
        sys.exit(f"the broker refuses: {reason}")
    client.subscribe("#", qos=int(qos))


def received(client, _userdata, message):
    delivered = None
    if by_delivery:

        def delivered(error, _record, mid=message.mid, qos=message.qos):
            if error is None:
                client.ack(mid, qos)

    while True:
        try:
            producer.produce(topic, message.payload, message.topic.encode(), on_delivery=delivered)
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)


client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2, client_id="python", protocol=mqtt.MQTTv5, manual_ack=by_delivery
)
client.on_connect = connected
client.on_message = received
session = Properties(PacketTypes.CONNECT)
session.SessionExpiryInterval = 3600
session.ReceiveMaximum = int(window)
client.connect(host, int(port), clean_start=False, properties=session)

stop = False


def stopped(_signal, _frame):
    global stop
    stop = True


signal.signal(signal.SIGTERM, stopped)
# Not loop_forever: without messages nothing else would serve the delivery reports.
while not stop:
    if client.loop(timeout=0.005) != mqtt.MQTT_ERR_SUCCESS:
        try:
            client.reconnect()
        except OSError:
            pass
    producer.poll(0)
producer.flush(30)
client.disconnect()
