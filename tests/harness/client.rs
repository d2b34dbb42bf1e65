//! A small MQTT 5.0 client: publishes a message at a time and reads what it subscribed to.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::wire::{self, Frame, V5};

/// Longest answer of the broker.
const ANSWER: Duration = Duration::from_secs(10);

/// A connected client.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    pending: Vec<u8>,
    packet_id: u16,
}

impl Client {
    /// Connects to 127.0.0.1 with Clean Start.
    ///
    /// # Panics
    ///
    /// When the broker refuses.
    #[must_use]
    pub fn connect(port: u16, client_id: &str) -> Client {
        Client::try_connect(port, client_id, None).expect("the broker accepts the test's client")
    }

    /// [`Client::connect`] with a login, as a result.
    ///
    /// # Errors
    ///
    /// What the socket says; `ConnectionRefused` also when CONNACK carries an error.
    pub fn try_connect(port: u16, client_id: &str, login: Option<(&str, &str)>) -> io::Result<Client> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), ANSWER)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(&wire::connect(V5, client_id, login))?;
        let mut client = Client { stream, pending: Vec::new(), packet_id: 0 };
        let connack = client.read()?;
        if connack.kind() == wire::CONNACK && connack.body[1] == 0 {
            Ok(client)
        } else {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    /// Publishes, and at QoS 1 and 2 waits until the broker has taken the message over.
    ///
    /// # Panics
    ///
    /// When the broker does not answer as it should.
    pub fn publish(&mut self, topic: &str, qos: u8, payload: &[u8]) {
        self.publish_with(topic.as_bytes(), qos << 1, &[], payload);
    }

    /// [`Client::publish`] with any flags and properties.
    ///
    /// # Panics
    ///
    /// When the broker does not answer as it should.
    pub fn publish_with(&mut self, topic: &[u8], flags: u8, properties: &[u8], payload: &[u8]) {
        let id = self.next_id();
        self.send(&wire::publish_with(V5, topic, flags, id, properties, payload));
        match flags >> 1 & 3 {
            0 => {}
            1 => self.expect(wire::PUBACK, id),
            _ => {
                self.expect(wire::PUBREC, id);
                self.send(&wire::acknowledge(wire::PUBREL, id));
                self.expect(wire::PUBCOMP, id);
            }
        }
    }

    /// Subscribes to one filter.
    ///
    /// # Panics
    ///
    /// When the broker does not answer.
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        let id = self.next_id();
        self.send(&wire::subscribe(V5, id, filter, qos));
        self.expect(wire::SUBACK, id);
    }

    /// The next packet of the broker.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn read(&mut self) -> io::Result<Frame> {
        wire::read_frame(&mut self.stream, &mut self.pending)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    fn expect(&mut self, kind: u8, packet_id: u16) {
        let frame = self.read().expect("the broker answers");
        assert_eq!((frame.kind(), frame.packet_id()), (kind, packet_id), "the broker's answer");
    }

    fn next_id(&mut self) -> u16 {
        self.packet_id = self.packet_id % u16::MAX + 1;
        self.packet_id
    }
}
