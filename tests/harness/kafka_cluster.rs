//! A real Apache Kafka of three brokers and a controller, so that any broker may go and the others go on.

use std::ops::Deref;

use crate::{
    kafka_client::KafkaClient,
    kafka_node::{KafkaNode, START},
    port::free_port,
    wait::wait_until,
};

/// Brokers.
const BROKERS: u16 = 3;
/// The controller's `node.id`; those of the brokers count from 1.
const CONTROLLER: u16 = 100;

/// Three brokers, each with a process and data of its own.
#[derive(Debug)]
pub struct KafkaCluster {
    brokers: Vec<KafkaNode>,
    _controller: KafkaNode,
    client: KafkaClient,
}

impl KafkaCluster {
    /// Starts all of it, and waits until every broker is a member.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[must_use]
    pub fn start() -> KafkaCluster {
        let port = free_port();
        let quorum = |role: &str, id: u16| {
            format!(
                "process.roles={role}\n\
                 node.id={id}\n\
                 controller.quorum.voters={CONTROLLER}@127.0.0.1:{port}\n\
                 controller.listener.names=CONTROLLER\n\
                 listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            )
        };
        let listen = format!("listeners=CONTROLLER://127.0.0.1:{port}\n");
        let mut controller = KafkaNode::formatted("128m", &(quorum("controller", CONTROLLER) + &listen));
        controller.start();
        let (mut brokers, mut addresses) = (Vec::new(), Vec::new());
        for id in 1..=BROKERS {
            let address = format!("127.0.0.1:{}", free_port());
            // A follower that is away leaves the in-sync replicas soon.
            let own = format!("listeners=PLAINTEXT://{address}\nreplica.lag.time.max.ms=3000\n");
            let mut broker = KafkaNode::formatted("256m", &(quorum("broker", id) + &own));
            broker.start();
            brokers.push(broker);
            addresses.push(address);
        }
        let client = KafkaClient::new(addresses.join(","));
        let cluster = KafkaCluster { brokers, _controller: controller, client };
        wait_until(START, "three brokers of Kafka answer", || cluster.members() == usize::from(BROKERS));
        cluster
    }

    /// Ends a broker in good order (SIGTERM): it hands its partitions to the others first.
    ///
    /// # Panics
    ///
    /// When it does not run or does not end.
    pub fn stop(&mut self, broker: i32) {
        self.node(broker).stop();
    }

    /// Ends a broker with SIGKILL.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub fn kill(&mut self, broker: i32) {
        self.node(broker).take().kill();
    }

    /// Starts a broker again on the same port and data.
    ///
    /// # Panics
    ///
    /// When it runs already.
    pub fn restart(&mut self, broker: i32) {
        self.node(broker).start();
    }

    fn node(&mut self, broker: i32) -> &mut KafkaNode {
        usize::try_from(broker - 1).ok().and_then(|place| self.brokers.get_mut(place)).expect("a broker, from 1 on")
    }
}

impl Deref for KafkaCluster {
    type Target = KafkaClient;

    fn deref(&self) -> &KafkaClient {
        &self.client
    }
}
