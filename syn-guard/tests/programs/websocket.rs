//! WebSocket: many connections that stay, with messages both ways.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests do")]

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use tungstenite::{Error, Message, accept, client};
use xtask::lab::Lab;

use crate::compare::{FAMILIES, Job, Tally, without_and_with_a_guard};

const PORT: u16 = 8080;
const CONNECTIONS: u64 = 50;
/// Lengths of the messages of a connection, bytes.
const LENGTHS: [usize; 5] = [1, 100, 20_000, 1_460, 300_000];
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends every message back until the client closes.
fn serve(stream: TcpStream) -> tungstenite::Result<()> {
    // An interrupted handshake counts as an error of the client.
    let Ok(mut socket) = accept(stream) else {
        return Ok(());
    };
    loop {
        match socket.read() {
            Ok(message) if message.is_text() || message.is_binary() => socket.send(message)?,
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn talk(target: SocketAddr, number: u64) -> Result<(), Box<dyn std::error::Error>> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut socket, _) = client(format!("ws://{target}/"), stream)?;
    for length in LENGTHS {
        let text = format!("{number}:{}", "x".repeat(length));
        let bytes: Vec<u8> = text.bytes().rev().collect();
        for message in [Message::text(text), Message::binary(bytes)] {
            socket.send(message.clone())?;
            let back = socket.read()?;
            if back != message {
                return Err(format!("{} bytes came back as {}", length, back.len()).into());
            }
        }
    }
    socket.close(None)?;
    // The other side's farewell, then the end.
    while socket.read().is_ok() {}
    Ok(())
}

fn work(lab: &Lab, server: IpAddr) -> Tally {
    let target = SocketAddr::from((server, PORT));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            lab.client()
                .start(move || Ok(talk(target, number).map_err(|error| error.to_string())))
        })
        .collect();
    let mut succeeded = 0;
    for client in clients {
        match client.join().unwrap().unwrap() {
            Ok(()) => succeeded += 1,
            Err(error) => eprintln!("WebSocket: {error}"),
        }
    }
    Tally::new(CONNECTIONS, succeeded)
}

#[test]
fn messages_of_websockets_come_back() {
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    for (_, address) in FAMILIES {
        let listener = lab.server().run(|| TcpListener::bind((address, PORT)));
        let listener = listener.unwrap().unwrap();
        // They end with the test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(stream));
            }
        });
    }
    let work = |server| work(&lab, server);
    without_and_with_a_guard(&lab, &[Job::new("WebSocket", PORT, &work)]);
}
