# Sourced by the programs here: one Kafka, and runs of firehose -> fairlead -> Kafka on it. It arranges; the load
# generator measures.
#
# 100-byte messages, QoS 1, acks=all, idempotent, 1,000 MQTT topics, 9 partitions, keyed by the MQTT topic, one shard on
# core 0.
jars=$PWD/tests/.servers/kafka
[ -d "$jars" ] || { echo "no Kafka jars: run tests/run once" >&2; exit 69; }
folder=$(mktemp -d "${TMPDIR:-/tmp}/fairlead-perf.XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
free_port() { comm -23 <(seq 20000 29999) <(ss -Htan | awk '{ sub(/.*:/, "", $4); print $4 }' | sort -u) | shuf -n 1; }
kafka=$(free_port) controller=$(free_port) mqtt=$(free_port) admin=$(free_port)

cat > "$folder/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$kafka,CONTROLLER://127.0.0.1:$controller
log.dirs=$folder/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
num.io.threads=2
num.network.threads=2
END
java -cp "$jars/*" kafka.tools.StorageTool format -t fairleadPerfCluster000 -c "$folder/server.properties" \
    >"$folder/format.log" 2>&1
java -Xmx1g -cp "$jars/*" kafka.Kafka "$folder/server.properties" >"$folder/kafka.log" 2>&1 &
echo $! >"$folder/kafka.pid"
until (exec 9<>"/dev/tcp/127.0.0.1/$kafka") 2>/dev/null; do sleep 0.2; done

# The Kafka topic of the next runs; the first of them creates it.
topic=fire

# run ID WINDOW MESSAGES RATE ACK: writes $folder/result.json, and the generator's line into $folder/fire.log. Processes with
# the same ACK share a state folder, so that the spool's first segments are made once.
run() {
    local id=$1 window=$2 messages=$3 rate=$4 ack=$5 fire bridge
    cat > "$folder/fairlead.toml" <<END
[[source]]
name = "fire"
url = "mqtt://127.0.0.1:$mqtt"
receive_maximum = $window
[kafka]
brokers = "127.0.0.1:$kafka"
create = { partitions = 9, replication = 1 }
[[route]]
from = "#"
topic = "$topic"
[engine]
cpus = [0]
ack = "$ack"
state = "$folder/state-$ack"
[admin]
listen = "127.0.0.1:$admin"
END
    target/release/fairlead-loadgen firehose --listen "127.0.0.1:$mqtt" --messages "$messages" --window "$window" \
        --rate "$rate" --pid "@$folder/bridge.pid" --sample-pids "kafka=@$folder/kafka.pid" \
        --result "$folder/result.json" --run-id "$id" >"$folder/fire.log" 2>&1 &
    fire=$!
    until grep -q listening "$folder/fire.log"; do sleep 0.1; done
    target/release/fairlead run -c "$folder/fairlead.toml" >"$folder/run.log" 2>&1 &
    bridge=$!
    echo $bridge >"$folder/bridge.pid"
    wait $fire
    # What the spool has acknowledged is still on its way.
    until curl -sf "http://127.0.0.1:$admin/metrics" | awk '/^fairlead_pending_messages/ { sum += $2 } END { exit sum > 0 }'; do
        sleep 0.2
    done
    kill -TERM $bridge
    wait $bridge
}

# verify ID: everything that run ID sent is in Kafka, once and in order.
verify() {
    target/release/fairlead-loadgen verify --brokers "127.0.0.1:$kafka" --topic "$topic" --run-id "$1" \
        --expect "$folder/result.json" >"$folder/verify.log" 2>&1 || { cat "$folder/verify.log"; exit 1; }
}
