//! The trick that a wire plays on every handshake.

use std::{collections::HashMap, net::SocketAddr};

use super::Trick;
use crate::lab::Segment;

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Passes,
    /// It is lost.
    Lost,
    /// It waits for a later frame of its connection.
    Waits,
    /// It goes on, and then what waited for it.
    Overtakes(Vec<Vec<u8>>),
}

/// The handshakes that cross one way.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    /// By the sender's and the receiver's end.
    flows: HashMap<(SocketAddr, SocketAddr), Handshake>,
}

#[derive(Debug, Default)]
struct Handshake {
    /// The SYN's sequence number, to know a new connection by.
    isn: u32,
    done: bool,
    waiting: Vec<Vec<u8>>,
}

impl Handshakes {
    /// Plays the trick on a frame.
    pub(super) fn fate(&mut self, trick: Trick, frame: &[u8]) -> Fate {
        let Some(segment) = Segment::parse(frame) else {
            return Fate::Passes;
        };
        let flow = (segment.source, segment.destination);
        if segment.flags.syn {
            if segment.flags.ack && trick != Trick::LoseSynAck {
                return Fate::Passes;
            }
            return self.syn(trick, flow, &segment);
        }
        let Some(handshake) = self.flows.get_mut(&flow) else {
            return Fate::Passes;
        };
        if handshake.done {
            return Fate::Passes;
        }
        let ends = segment.flags.fin || segment.flags.rst;
        match trick {
            Trick::LoseSynAck => Fate::Passes,
            Trick::LoseAck => {
                handshake.done = true;
                Fate::Lost
            }
            Trick::DataOvertakesAck | Trick::LaterDataOvertakesAck => {
                let first = segment.seq == handshake.isn.wrapping_add(1);
                let waits =
                    segment.payload.is_empty() || (trick == Trick::LaterDataOvertakesAck && first);
                if waits && !ends {
                    handshake.waiting.push(frame.to_vec());
                    return Fate::Waits;
                }
                handshake.done = true;
                Fate::Overtakes(std::mem::take(&mut handshake.waiting))
            }
        }
    }

    /// A SYN or, where these are what the trick is played on, a SYN-ACK.
    fn syn(&mut self, trick: Trick, flow: (SocketAddr, SocketAddr), segment: &Segment) -> Fate {
        let number = if segment.flags.ack {
            // Of the connection, whatever answers it this time.
            segment.ack
        } else {
            segment.seq
        };
        let known = self
            .flows
            .get(&flow)
            .is_some_and(|handshake| handshake.isn == number);
        if known {
            return Fate::Passes;
        }
        self.flows.insert(
            flow,
            Handshake {
                isn: number,
                ..Handshake::default()
            },
        );
        if trick == Trick::LoseSynAck && segment.flags.ack {
            return Fate::Lost;
        }
        Fate::Passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{Flags, TcpOptions};

    fn frame(from_client: bool, flags: Flags, seq: u32, payload: &[u8]) -> Vec<u8> {
        let ends: [SocketAddr; 2] =
            ["198.18.0.2:1024", "198.18.0.1:80"].map(|end| end.parse().unwrap());
        let [source, destination] = if from_client {
            ends
        } else {
            [ends[1], ends[0]]
        };
        let segment = Segment {
            source,
            destination,
            seq,
            ack: 1,
            flags,
            window: 1000,
            options: TcpOptions::NONE,
            ttl: 64,
            payload: payload.to_vec(),
        };
        segment.frame([1; 6], [2; 6]).unwrap()
    }

    const SYN: Flags = flags(true, false);
    const ACK: Flags = flags(false, true);
    const SYN_ACK: Flags = flags(true, true);

    const fn flags(syn: bool, ack: bool) -> Flags {
        Flags {
            syn,
            ack,
            fin: false,
            rst: false,
            psh: false,
            ece: false,
            cwr: false,
        }
    }

    #[test]
    fn the_first_syn_ack_of_each_connection_is_lost() {
        let mut to_client = Handshakes::default();
        let mut fate =
            |flags, seq| to_client.fate(Trick::LoseSynAck, &frame(false, flags, seq, b""));
        assert_eq!(fate(SYN_ACK, 5), Fate::Lost);
        assert_eq!(fate(SYN_ACK, 6), Fate::Passes, "whoever answers");
        assert_eq!(fate(ACK, 7), Fate::Passes);
    }

    #[test]
    fn the_first_ack_of_each_connection_is_lost() {
        let mut to_server = Handshakes::default();
        let mut fate = |flags, seq| to_server.fate(Trick::LoseAck, &frame(true, flags, seq, b""));
        assert_eq!(fate(ACK, 1), Fate::Passes, "begun before");
        for isn in [5, 50] {
            assert_eq!(fate(SYN, isn), Fate::Passes);
            assert_eq!(fate(SYN, isn), Fate::Passes);
            assert_eq!(fate(ACK, isn + 1), Fate::Lost);
            assert_eq!(fate(ACK, isn + 1), Fate::Passes);
        }
    }

    #[test]
    fn data_overtakes_what_came_before() {
        let ack = frame(true, ACK, 6, b"");
        let [first, second] = [frame(true, ACK, 6, b"ab"), frame(true, ACK, 8, b"cd")];
        let mut to_server = Handshakes::default();
        let mut fate = |trick, frame: &[u8]| to_server.fate(trick, frame);
        assert_eq!(
            fate(Trick::DataOvertakesAck, &frame(true, SYN, 5, b"")),
            Fate::Passes
        );
        assert_eq!(fate(Trick::DataOvertakesAck, &ack), Fate::Waits);
        let overtakes = Fate::Overtakes(vec![ack.clone()]);
        assert_eq!(fate(Trick::DataOvertakesAck, &first), overtakes);
        assert_eq!(fate(Trick::DataOvertakesAck, &second), Fate::Passes);

        let mut to_server = Handshakes::default();
        let trick = Trick::LaterDataOvertakesAck;
        assert_eq!(
            to_server.fate(trick, &frame(true, SYN, 5, b"")),
            Fate::Passes
        );
        assert_eq!(to_server.fate(trick, &ack), Fate::Waits);
        assert_eq!(to_server.fate(trick, &first), Fate::Waits);
        let overtakes = Fate::Overtakes(vec![ack, first]);
        assert_eq!(to_server.fate(trick, &second), overtakes);
    }
}
