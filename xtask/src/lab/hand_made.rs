//! Handshakes made by hand, frame by frame, from sources that no stack owns: what is left half-open
//! stays so, and nothing answers but the test.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    CLIENT_INTERFACE, CLIENT_MAC, Flags, Lab, PassAnswers, SERVER_MAC, Segment, TcpOptions,
    packet_socket::PacketSocket, patience::patiently,
};

/// Window that hand-made segments announce.
const WINDOW: u16 = 64_240;
/// Time to live of hand-made segments.
const TTL: u8 = 64;
/// The longest frame that is read.
const LONGEST: usize = 65_536;

/// Sends and receives at the client's interface. Sources are to be of 10.0.0.0/8 or
/// 2001:db8:2000::/36.
pub struct HandMade {
    socket: PacketSocket,
    frame: Vec<u8>,
    /// Received and not asked for yet.
    received: VecDeque<Segment>,
    next_isn: u32,
    _pass: PassAnswers,
}

/// One hand-made connection.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The client's end.
    pub source: SocketAddr,
    /// The service.
    pub service: SocketAddr,
    /// The SYN's sequence number.
    pub isn: u32,
    /// Sequence number of the client's next segment.
    pub next: u32,
    /// The sequence number expected from the service next; 0 before its SYN-ACK.
    pub expected: u32,
    /// The SYN's options.
    pub options: TcpOptions,
    /// The SYN-ACK, when [`HandMade::syn_ack`] got one.
    pub syn_ack: Option<Segment>,
}

impl HandMade {
    /// Opens the socket and lets answers to spoofed sources through to it.
    pub fn new(lab: &Lab) -> Result<Self> {
        Ok(Self {
            _pass: lab.pass_answers()?,
            socket: PacketSocket::open(lab.client(), CLIENT_INTERFACE, false)?,
            frame: vec![0; LONGEST],
            received: VecDeque::new(),
            next_isn: 1_000_000,
        })
    }

    /// Sends a SYN and does not wait. Never waited for, it leaves a half-open connection.
    pub fn syn(
        &mut self,
        source: SocketAddr,
        service: SocketAddr,
        options: TcpOptions,
    ) -> Result<Flow> {
        self.next_isn = self.next_isn.wrapping_add(0x9e37_79b9);
        let flow = Flow {
            source,
            service,
            isn: self.next_isn,
            next: self.next_isn.wrapping_add(1),
            expected: 0,
            options,
            syn_ack: None,
        };
        self.resend_syn(&flow)?;
        Ok(flow)
    }

    /// Sends the flow's SYN once more.
    pub fn resend_syn(&mut self, flow: &Flow) -> Result<()> {
        self.send(&Segment {
            source: flow.source,
            destination: flow.service,
            seq: flow.isn,
            ack: 0,
            flags: Flags {
                syn: true,
                ..Flags::default()
            },
            window: WINDOW,
            options: flow.options,
            ttl: TTL,
            payload: Vec::new(),
        })
    }

    /// Waits for the flow's SYN-ACK; false when none came in time.
    pub fn syn_ack(&mut self, flow: &mut Flow, timeout: Duration) -> Result<bool> {
        let found = self.receive_if(timeout, |segment| {
            belongs(segment, flow) && segment.flags.is_syn_ack()
        })?;
        if let Some(segment) = found {
            flow.expected = segment.seq.wrapping_add(1);
            flow.syn_ack = Some(segment);
            return Ok(true);
        }
        Ok(false)
    }

    /// SYN, SYN-ACK, ACK; `None` when no SYN-ACK came in time.
    pub fn connect(
        &mut self,
        source: SocketAddr,
        service: SocketAddr,
        options: TcpOptions,
        timeout: Duration,
    ) -> Result<Option<Flow>> {
        let mut flow = self.syn(source, service, options)?;
        if !self.syn_ack(&mut flow, timeout)? {
            return Ok(None);
        }
        self.ack(&flow)?;
        Ok(Some(flow))
    }

    /// Acknowledges all that was expected so far: the last segment of a handshake.
    pub fn ack(&mut self, flow: &Flow) -> Result<()> {
        let segment = self.segment(flow);
        self.send(&segment)
    }

    /// Resets the connection, half-open or not.
    pub fn rst(&mut self, flow: &Flow) -> Result<()> {
        let mut segment = self.segment(flow);
        segment.flags = Flags {
            rst: true,
            ..Flags::default()
        };
        segment.ack = 0;
        self.send(&segment)
    }

    /// Sends data.
    pub fn data(&mut self, flow: &mut Flow, bytes: &[u8]) -> Result<()> {
        let mut segment = self.segment(flow);
        segment.flags.psh = true;
        segment.payload = bytes.to_vec();
        flow.next = flow.next.wrapping_add(u32::try_from(bytes.len())?);
        self.send(&segment)
    }

    /// Closes the client's half.
    pub fn fin(&mut self, flow: &mut Flow) -> Result<()> {
        let mut segment = self.segment(flow);
        segment.flags.fin = true;
        flow.next = flow.next.wrapping_add(1);
        self.send(&segment)
    }

    /// The next segment that the service sent to the flow's source, of whatever kind.
    pub fn receive(&mut self, flow: &Flow, timeout: Duration) -> Result<Option<Segment>> {
        self.receive_if(timeout, |segment| belongs(segment, flow))
    }

    /// The flow's next segment as [`HandMade::ack`] would send it, to be changed and sent.
    #[must_use]
    pub fn segment(&self, flow: &Flow) -> Segment {
        let peer = flow
            .syn_ack
            .as_ref()
            .and_then(|answer| answer.options.timestamps);
        Segment {
            source: flow.source,
            destination: flow.service,
            seq: flow.next,
            ack: flow.expected,
            flags: Flags {
                ack: true,
                ..Flags::default()
            },
            window: WINDOW,
            options: TcpOptions {
                timestamps: flow
                    .options
                    .timestamps
                    .zip(peer)
                    .map(|((own, _), (peer, _))| (own.wrapping_add(1), peer)),
                ..TcpOptions::NONE
            },
            ttl: TTL,
            payload: Vec::new(),
        }
    }

    /// Sends any segment.
    pub fn send(&mut self, segment: &Segment) -> Result<()> {
        self.send_frame(&segment.frame(CLIENT_MAC, SERVER_MAC)?)
    }

    /// Sends any frame.
    pub fn send_frame(&mut self, frame: &[u8]) -> Result<()> {
        self.socket.send(frame)
    }

    /// The next frame as it came, whoever it is for; `None` when none came in time. Frames that
    /// were read while a segment was waited for are gone.
    pub fn receive_frame(&mut self, timeout: Duration) -> Result<Option<&[u8]>> {
        let length = self.socket.receive(&mut self.frame, timeout)?;
        Ok(length.map(|length| &self.frame[..length]))
    }

    /// Forgets what was received and not asked for.
    pub fn clear(&mut self) -> Result<()> {
        while self.read(Duration::ZERO)? {}
        self.received.clear();
        Ok(())
    }

    fn receive_if(
        &mut self,
        timeout: Duration,
        wanted: impl Fn(&Segment) -> bool,
    ) -> Result<Option<Segment>> {
        let deadline = Instant::now() + patiently(timeout);
        let mut looked_at = 0;
        loop {
            if let Some(at) = self.received.range(looked_at..).position(&wanted) {
                return Ok(self.received.remove(looked_at + at));
            }
            looked_at = self.received.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.read(left)? {
                return Ok(None);
            }
        }
    }

    /// Takes one frame from the socket; false when none came in time.
    fn read(&mut self, timeout: Duration) -> Result<bool> {
        let Some(length) = self.socket.receive(&mut self.frame, timeout)? else {
            return Ok(false);
        };
        self.received.extend(Segment::parse(&self.frame[..length]));
        Ok(true)
    }
}

fn belongs(segment: &Segment, flow: &Flow) -> bool {
    segment.source == flow.service && segment.destination == flow.source
}
