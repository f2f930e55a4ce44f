//! Servers that say who they are, and where else than on the lab's server they may
//! run.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use socket2::{Domain, Socket, Type};
use xtask::lab::Lab;

/// Answers every request with its name. Dropping it ends it and closes its listeners.
pub struct Server {
    stop: Arc<AtomicBool>,
    accept: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts it with these listeners.
    pub fn start(name: &'static str, listeners: Vec<Socket>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let accept = listeners.into_iter().map(|listener| {
            let stopped = Arc::clone(&stop);
            let look = Duration::from_millis(20);
            listener.set_read_timeout(Some(look)).unwrap();
            thread::spawn(move || {
                while !stopped.load(Ordering::Acquire) {
                    if let Ok((client, _)) = listener.accept() {
                        thread::spawn(move || serve(client.into(), name));
                    }
                }
            })
        });
        Self {
            accept: accept.collect(),
            stop,
        }
    }

    /// Starts it on a port of all addresses of the lab's server.
    pub fn on_all(lab: &Lab, name: &'static str, port: u16) -> Self {
        let listeners = lab.server().run(|| all(port, false));
        Self::start(name, listeners.unwrap())
    }

    /// The same, as a transparent proxy: it gets connections to other addresses and
    /// ports too.
    pub fn transparent(lab: &Lab, name: &'static str, port: u16) -> Self {
        let listeners = lab.server().run(|| all(port, true));
        Self::start(name, listeners.unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for accept in self.accept.drain(..) {
            // Who failed said so.
            let _ = accept.join();
        }
    }
}

fn serve(mut client: TcpStream, name: &str) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut request = Vec::new();
    let mut part = [0; 256];
    while !request.ends_with(b"\r\n\r\n") {
        match client.read(&mut part)? {
            0 => return Ok(()),
            count => request.extend(&part[..count]),
        }
    }
    write!(client, "HTTP/1.0 200 OK\r\n\r\n{name}")
}

/// A listener of each family, in the calling thread's network namespace.
fn all(port: u16, transparent: bool) -> Vec<Socket> {
    let addresses: [SocketAddr; 2] = [([0; 4], port).into(), ([0_u16; 8], port).into()];
    let listener = |address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if transparent && address.is_ipv6() {
            socket.set_ip_transparent_v6(true)?;
        } else if transparent {
            socket.set_ip_transparent_v4(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(128)?;
        Ok::<_, std::io::Error>(socket)
    };
    addresses.map(|address| listener(address).unwrap()).into()
}

/// Addresses of the container.
pub const CONTAINER: [&str; 2] = ["10.200.0.2", "2001:db8:0:200::2"];

/// Starts a server in a network namespace of its own, which lives as long as it does:
/// a container behind the lab's server, which forwards to it.
pub fn container(lab: &Lab, name: &'static str, port: u16) -> Server {
    let (say, thread_id) = mpsc::channel();
    let (joined, is_joined) = mpsc::channel();
    let inside = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        say.send(gettid()).unwrap();
        is_joined.recv().unwrap();
        let script = format!(
            "ip address add {}/24 dev sg-inside
             ip address add {}/64 dev sg-inside nodad
             ip link set sg-inside up
             ip route add default via 10.200.0.1
             ip route add default via 2001:db8:0:200::1",
            CONTAINER[0], CONTAINER[1]
        );
        let status = Command::new("sh").args(["-ec", &script]).status();
        assert!(status.unwrap().success());
        all(port, false)
    });
    let thread_id = thread_id.recv().unwrap();
    let script = format!(
        "ip link add sg-container type veth peer name sg-inside netns {thread_id}
         ip address add 10.200.0.1/24 dev sg-container
         ip address add 2001:db8:0:200::1/64 dev sg-container nodad
         ip link set sg-container up"
    );
    lab.server().output("sh", &["-ec", &script]).unwrap();
    for forward in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        lab.server().set_sysctl(forward, "1").unwrap();
    }
    joined.send(()).unwrap();
    Server::start(name, inside.join().unwrap())
}
