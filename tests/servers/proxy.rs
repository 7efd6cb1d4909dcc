//! What can happen between a program and its server: a proxy that passes on, holds back, resets, and is late.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use url::Url;

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It arrives.
    Pass,
    /// It arrives so much later.
    Late(Duration),
    /// It does not arrive, and no connection ends, new ones included. What was sent comes when the way is open again, as
    /// TCP would send it once more.
    BlackHole,
}

/// Which of the connections that there are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// On which LISTEN was said.
    Listening,
    Others,
}

/// A proxy in front of one server, until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    way: Mutex<Way>,
    changed: Condvar,
    connections: Mutex<Vec<Weak<Connection>>>,
    ended: AtomicBool,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    listens: AtomicBool,
    cut: AtomicBool,
}

impl Proxy {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            way: Mutex::new(Way::Pass),
            changed: Condvar::new(),
            connections: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.ended.load(Ordering::Acquire) {
                    return;
                }
                accepting.serve(client);
            }
        });
        Self { address, shared }
    }

    /// The server's address, by this way.
    pub(crate) fn instead_of(&self, address: &str) -> String {
        let mut address = Url::parse(address).unwrap();
        address.set_host(Some(&self.address.ip().to_string())).unwrap();
        address.set_port(Some(self.address.port())).unwrap();
        address.into()
    }

    pub(crate) fn set(&self, way: Way) {
        *self.shared.way.lock().unwrap() = way;
        self.shared.changed.notify_all();
    }

    /// Lets nothing through any more on these connections, for good, and ends none of them; how many there are. New ones
    /// work.
    pub(crate) fn cut(&self, which: Which) -> usize {
        let chosen: Vec<_> = self.connections().into_iter().filter(|it| it.which() == which).collect();
        for connection in &chosen {
            connection.cut.store(true, Ordering::Release);
        }
        chosen.len()
    }

    /// Resets every connection that there is now; how many there were.
    pub(crate) fn reset(&self) -> usize {
        let connections = self.connections();
        for connection in &connections {
            connection.reset();
        }
        // Those in which something is held back hear of it too.
        let _way = self.shared.way.lock().unwrap();
        self.shared.changed.notify_all();
        connections.len()
    }

    /// How many of these connections work.
    pub(crate) fn count(&self, which: Which) -> usize {
        let works = |it: &&Arc<Connection>| it.which() == which && !it.cut.load(Ordering::Acquire);
        self.connections().iter().filter(works).count()
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        self.shared.connections.lock().unwrap().iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.set(Way::Pass);
        self.reset();
        // Nothing but to wake who accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.server) else {
            let _ = set_socket_linger(&client, Some(Duration::ZERO));
            return;
        };
        for socket in [&client, &server] {
            socket.set_nodelay(true).unwrap();
        }
        let (listens, cut) = (AtomicBool::new(false), AtomicBool::new(false));
        let connection = Arc::new(Connection { client, server, listens, cut });
        let mut connections = self.connections.lock().unwrap();
        connections.retain(|connection| connection.strong_count() > 0);
        connections.push(Arc::downgrade(&connection));
        drop(connections);
        let (shared, other) = (Arc::clone(self), Arc::clone(&connection));
        thread::spawn(move || shared.pass(&other, &other.client, &other.server));
        let shared = Arc::clone(self);
        thread::spawn(move || shared.pass(&connection, &connection.server, &connection.client));
    }

    /// Passes on what one end sends, until it ends.
    fn pass(&self, connection: &Connection, mut from: &TcpStream, mut to: &TcpStream) {
        let mut bytes = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            let sent = &bytes[..length];
            if sent.windows(7).any(|word| word == b"LISTEN ") {
                connection.listens.store(true, Ordering::Release);
            }
            self.until_open(connection);
            if to.write_all(sent).is_err() {
                break;
            }
        }
        self.until_open(connection);
        let _ = to.shutdown(Shutdown::Write);
        let _ = from.shutdown(Shutdown::Read);
    }

    fn until_open(&self, connection: &Connection) {
        let way = self.way.lock().unwrap();
        let closed = |way: &mut Way| {
            !self.ended.load(Ordering::Acquire) && (*way == Way::BlackHole || connection.cut.load(Ordering::Acquire))
        };
        let way = *self.changed.wait_while(way, closed).unwrap();
        if let Way::Late(time) = way {
            thread::park_timeout(time);
        }
    }
}

impl Connection {
    fn which(&self) -> Which {
        if self.listens.load(Ordering::Acquire) { Which::Listening } else { Which::Others }
    }

    fn reset(&self) {
        self.cut.store(false, Ordering::Release);
        for socket in [&self.client, &self.server] {
            // It is closed when those who read it have heard of it, and closed so, it is reset.
            let _ = set_socket_linger(socket, Some(Duration::ZERO));
            let _ = socket.shutdown(Shutdown::Read);
        }
    }
}
