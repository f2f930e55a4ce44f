//! What a wire does to the frames that cross it.

use std::time::Duration;

/// A plan. By default frames cross at once, unharmed and in order.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Where its dice begin.
    pub seed: u64,
    /// How long a frame to the server is under way.
    pub to_server: Duration,
    /// How long a frame to the client is under way.
    pub to_client: Duration,
    /// Share of frames that are lost, from 0 to 1.
    pub loss: f64,
    /// Share of frames that are held back, so that later ones overtake them.
    pub reordering: f64,
    /// For how long they are held back.
    pub held_back: Duration,
    /// Whether every frame arrives twice.
    pub doubled: bool,
    /// What is done to the handshake of every connection.
    pub trick: Option<Trick>,
}

/// What is done to the handshake of every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// The first SYN-ACK is lost.
    LoseSynAck,
    /// The first ACK of the client is lost.
    LoseAck,
    /// The first data of the client overtakes the handshake's ACK.
    DataOvertakesAck,
    /// The second segment with data overtakes the first and the handshake's ACK.
    LaterDataOvertakesAck,
}

/// What a wire did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireReport {
    /// Frames that went in.
    pub frames: u64,
    /// Frames that were lost by the dice.
    pub lost: u64,
    /// Frames that were held back by the dice.
    pub held_back: u64,
    /// Frames to which the trick was done.
    pub tricked: u64,
}

impl std::ops::Add for WireReport {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            frames: self.frames + other.frames,
            lost: self.lost + other.lost,
            held_back: self.held_back + other.held_back,
            tricked: self.tricked + other.tricked,
        }
    }
}
