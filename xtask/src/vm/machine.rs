//! The emulated machine.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

use crate::command;

/// Two network cards on a cable of their own that leads nowhere else.
const CARDS: [&str; 8] = [
    "-netdev",
    "hubport,id=first,hubid=0",
    "-device",
    "virtio-net-pci,netdev=first,mac=02:00:00:00:01:01",
    "-netdev",
    "hubport,id=second,hubid=0",
    "-device",
    "virtio-net-pci,netdev=second,mac=02:00:00:00:01:02",
];

/// A card whose receive offloads are on and cannot be turned off from inside. Only a TAP interface
/// has them at all: it is made in a network namespace of its own, and nothing is at its other end.
const OFFLOADING_CARD: [&str; 4] = [
    "-netdev",
    "tap,id=third,ifname=sg-tap,script=no,downscript=no,vnet_hdr=on",
    "-device",
    "virtio-net-pci,netdev=third,mac=02:00:00:00:01:03,ctrl_guest_offloads=off",
];

/// The cards' names inside. Only root can make the third.
pub(super) fn cards() -> &'static str {
    if geteuid().is_root() {
        "eth0 eth1 eth2"
    } else {
        "eth0 eth1"
    }
}

/// Boots a kernel and hands on each line of its serial console, until the machine turns itself off.
///
/// # Errors
/// It did not within `limit`; it is ended then.
pub(super) fn run(
    kernel: &Path,
    initrd: &Path,
    limit: Duration,
    mut line: impl FnMut(&str),
) -> Result<()> {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"])
        .args(["-m", "2048", "-nodefaults", "-display", "none"])
        .args(CARDS)
        .args(OFFLOADING_CARD.iter().filter(|_| geteuid().is_root()))
        .args(["-serial", "stdio", "-no-reboot"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command::say(&command);
    let own_network = geteuid().is_root();
    // SAFETY: the closure makes system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if own_network {
                unshare(CloneFlags::CLONE_NEWNET)?;
            }
            // It goes with the thread that starts it, whatever ends that.
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut machine = command.spawn().context("cannot start qemu")?;
    let pid = Pid::from_raw(machine.id().cast_signed());
    let output = machine.stdout.take().context("qemu has no output")?;

    let (done, wait) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let late = wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            // Nobody has waited for it, so the number is still its own.
            let _ = kill(pid, Signal::SIGKILL);
        }
        late
    });
    let mut read = Ok(());
    for bytes in BufReader::new(output).split(b'\n') {
        match bytes {
            Ok(bytes) => line(String::from_utf8_lossy(&bytes).trim_end_matches('\r')),
            Err(error) => {
                read = Err(error).context("reading the serial console");
                break;
            }
        }
    }
    // Its output has ended, or is of no more use: so must it.
    if read.is_err() {
        let _ = machine.kill();
    }
    drop(done);
    let late = watchdog.join().unwrap_or(false);
    let status = machine.wait().context("waiting for qemu")?;
    read?;
    if late {
        bail!("the machine was not done within {} s", limit.as_secs());
    }
    if !status.success() {
        bail!("qemu failed: {status}");
    }
    Ok(())
}
