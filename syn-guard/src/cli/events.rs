//! `syn-guard events`.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::args::Paths;
use super::output::{self, Output};
use super::runtime;
use crate::client::{self, ClientError};
use crate::events::{EventPage, Position, line};

/// How long the guard waits for events before it answers without.
const WAIT: Duration = Duration::from_secs(8);
/// How often it is looked for while it is not there.
const AGAIN: Duration = Duration::from_millis(500);

/// What is shown of events.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct EventsArgs {
    /// Go on with those to come, of the next guard too, until SIGINT or SIGTERM
    #[arg(long, short)]
    follow: bool,
    /// A JSON object a line; at in seconds since 1970
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: EventsArgs, paths: &Paths) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let socket = paths.control();
        let mut follower = Follower {
            json: args.json,
            position: Position::default(),
        };
        let page = client::events(&socket, &follower.position, Duration::ZERO).await?;
        let mut written = follower.show(&page)?;
        if args.follow && written == Output::Written {
            let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
            let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
            written = tokio::select! {
                followed = follower.follow(&socket) => followed?,
                () = output::closed() => Output::Closed,
                _ = interrupt.recv() => Output::Closed,
                _ = terminate.recv() => Output::Closed,
            };
        }
        // Nobody reads any more, which is no error.
        let (Output::Written | Output::Closed) = written;
        Ok(())
    })
}

/// Shows each event once.
struct Follower {
    json: bool,
    position: Position,
}

impl Follower {
    /// Until the output is closed.
    async fn follow(&mut self, socket: &Path) -> anyhow::Result<Output> {
        let mut gone = false;
        loop {
            let page = match client::events(socket, &self.position, WAIT).await {
                Ok(page) => page,
                Err(error) if error.is_gone() => {
                    if !gone {
                        note(&format!("{}: waiting for it", without_remedy(&error)));
                    }
                    gone = true;
                    sleep(AGAIN).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if self.position.run.as_ref() != Some(&page.run) {
                note("the guard was started anew: its events from the first one on");
            } else if gone {
                note("the guard answers again");
            }
            gone = false;
            if self.show(&page)? == Output::Closed {
                return Ok(Output::Closed);
            }
        }
    }

    fn show(&mut self, page: &EventPage) -> anyhow::Result<Output> {
        if self.position.run.as_ref() != Some(&page.run) {
            self.position = Position {
                run: Some(page.run.clone()),
                after: 0,
            };
        }
        if let Some(first) = page.events.first() {
            let missed = first.sequence.saturating_sub(self.position.after + 1);
            if missed > 0 && self.position.after > 0 {
                note(&format!("{missed} events are missing: too many at once"));
            }
        }
        let mut text = String::new();
        for event in &page.events {
            text += &if self.json {
                serde_json::to_string(event)?
            } else {
                line(event)
            };
            text.push('\n');
            self.position.after = event.sequence;
        }
        output::write(&text)
    }
}

/// What is no event goes where it is in nobody's way.
fn note(text: &str) {
    eprintln!("syn-guard: {text}");
}

/// What is wrong, without what to do about it: it is waited for.
fn without_remedy(error: &ClientError) -> String {
    match error {
        ClientError::NoGuard { path } => format!("no guard answers at {}", path.display()),
        error => crate::datapath::one_line(error),
    }
}
