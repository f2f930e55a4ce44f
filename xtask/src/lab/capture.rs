//! Captures written as pcap files.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};

use super::{Namespace, packet_socket::PacketSocket};

/// Bytes kept of a frame; the veth's frames are shorter.
const SNAP: usize = 65_536;
/// How long the end of a capture waits for frames still under way.
const LINGER: Duration = Duration::from_millis(50);

/// A capture of all frames that an interface's stack sends and receives.
///
/// It sees what packet sockets see: not the frames that XDP drops, sends back or redirects. At the
/// client it sees answers to spoofed sources only under [`super::Lab::pass_answers`].
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Captured>>>,
}

/// What a capture holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Frames written.
    pub frames: u64,
    /// Frames lost because writing was too slow.
    pub dropped: u32,
}

impl Capture {
    /// Starts it; all frames after the return are in the file.
    pub fn start(namespace: &Namespace, interface: &str, file: &Path) -> Result<Self> {
        let socket = PacketSocket::open(namespace, interface, true)?;
        let mut output = BufWriter::new(
            File::create(file).with_context(|| format!("creating {}", file.display()))?,
        );
        write_header(&mut output)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut frame = vec![0; SNAP];
            let mut frames = 0;
            loop {
                // Looked at before the queue: what was queued by then is written.
                let last = stopped.load(Ordering::Acquire);
                while let Some(length) = socket.receive(&mut frame, LINGER)? {
                    write_frame(&mut output, &frame[..length])?;
                    frames += 1;
                }
                if last {
                    break;
                }
            }
            output.flush().context("writing the capture")?;
            Ok(Captured {
                frames,
                dropped: socket.dropped()?,
            })
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends it when no frame has come for 50 ms; the file is complete then.
    pub fn stop(mut self) -> Result<Captured> {
        self.end().context("the capture was stopped before")?
    }

    fn end(&mut self) -> Option<Result<Captured>> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take()?;
        Some(
            thread
                .join()
                .unwrap_or_else(|_| bail!("the capture panicked")),
        )
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Who drops a capture has no use for what it holds.
        let _ = self.end();
    }
}

fn write_header(output: &mut impl Write) -> Result<()> {
    const MAGIC: u32 = 0xa1b2_3c4d; // nanoseconds
    const ETHERNET: u32 = 1;
    output.write_all(&MAGIC.to_ne_bytes())?;
    output.write_all(&2_u16.to_ne_bytes())?;
    output.write_all(&4_u16.to_ne_bytes())?;
    output.write_all(&[0; 8])?;
    output.write_all(&u32::try_from(SNAP)?.to_ne_bytes())?;
    output.write_all(&ETHERNET.to_ne_bytes())?;
    Ok(())
}

fn write_frame(output: &mut impl Write, frame: &[u8]) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let length = u32::try_from(frame.len())?.to_ne_bytes();
    output.write_all(&u32::try_from(now.as_secs())?.to_ne_bytes())?;
    output.write_all(&now.subsec_nanos().to_ne_bytes())?;
    output.write_all(&length)?;
    output.write_all(&length)?;
    output.write_all(frame)?;
    Ok(())
}
