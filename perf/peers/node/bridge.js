// MQTT to Kafka as a short script: bridge.js MQTT KAFKA TOPIC WINDOW QOS
const mqtt = require("mqtt");
const { Kafka, Partitioners, logLevel } = require("kafkajs");

const [url, kafka, topic, window, qos] = process.argv.slice(2);
// The most messages of a batch, and how long one may wait.
const BATCH = 5000;
const LINGER_MS = 5;

const producer = new Kafka({ brokers: kafka.split(","), logLevel: logLevel.ERROR }).producer({
  idempotent: true,
  maxInFlightRequests: 1,
  createPartitioner: Partitioners.DefaultPartitioner,
});
let waiting = [];
let sending = Promise.resolve();
let timer = null;

function send() {
  clearTimeout(timer);
  timer = null;
  const messages = waiting;
  waiting = [];
  if (messages.length > 0) {
    // One batch after another, so that the order of a topic holds.
    sending = sending.then(() => producer.send({ topic, acks: -1, messages })).catch((error) => console.error(error.message));
  }
}

async function main() {
  await producer.connect();
  const client = mqtt.connect(url, {
    clientId: "node",
    protocolVersion: 5,
    clean: false,
    properties: { sessionExpiryInterval: 3600, receiveMaximum: Number(window) },
  });
  client.on("connect", () => client.subscribe("#", { qos: Number(qos) }));
  client.on("error", (error) => console.error(error.message));
  client.on("message", (key, value) => {
    waiting.push({ key, value });
    if (waiting.length >= BATCH) send();
    else if (timer === null) timer = setTimeout(send, LINGER_MS);
  });
  process.on("SIGTERM", async () => {
    await client.endAsync();
    send();
    await sending;
    await producer.disconnect();
    process.exit(0);
  });
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
