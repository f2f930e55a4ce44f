//! What it costs to tell the data path of many prefixes.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::time::{ClockId, clock_gettime};
use syn_guard::datapath::{
    DataPath, EngineChoice, Features, LoadOptions, LogLevel, Maps, PinDirectory, XdpModeChoice,
};
use syn_guard::prefixes::{Lists, Origin, Part, read};
use syn_guard_common::abi::ListKind;
use xtask::lab::{Lab, patience};

use super::hundred_thousand;

/// Seconds that this thread ran, in user space and in the kernel.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    Duration::from(time).as_secs_f64()
}

#[test]
fn a_hundred_thousand_prefixes_load_in_less_than_a_second() {
    if let Err(error) = Features::probe(EngineChoice::Auto) {
        eprintln!("skipped: {error}");
        return;
    }
    let Some(lab) = Lab::for_test().unwrap() else {
        return;
    };
    let pins = PinDirectory::new(lab.bpf_dir().join("prefixes"));
    let options = LoadOptions {
        log: LogLevel::Off,
        engine: EngineChoice::Auto,
        xdp_mode: XdpModeChoice::Auto,
        services: 1,
        without_reqsk: false,
        small_mss_rate: 0,
    };
    let mut datapath = DataPath::load(pins, &options).unwrap();
    let empty = Maps::memory();
    let file = lab.path("many");
    fs::write(&file, hundred_thousand()).unwrap();

    let (begun, ran) = (Instant::now(), processor_seconds());
    let (_, lines) = read(&file).unwrap();
    let mut lists = Lists::default();
    let said = lists.set_parts(&[Part {
        list: ListKind::Deny,
        origin: &Origin::File(file),
        prefixes: &lines,
    }]);
    assert!(said.is_empty(), "{said:?}");
    let prepared = begun.elapsed();
    let (entries, left_out) = lists.entries(100_000);
    assert_eq!(left_out, 0);
    let changed = datapath.maps.prefixes.replace(&entries).unwrap();
    let (took, ran) = (begun.elapsed(), processor_seconds() - ran);
    let held = Maps::memory() - empty;
    println!(
        "{} prefixes: read and merged in {prepared:.3?}, loaded after {took:.3?}, {ran:.3} s of a processor; {held} bytes",
        changed.added
    );
    assert!(changed.added > 95_000, "{changed:?}");
    assert!(ran < f64::from(patience()), "{ran}");
    assert!(held < 16 << 20, "{held}");

    // What did not change costs nothing, and one that did little.
    let begun = Instant::now();
    let again = datapath.maps.prefixes.replace(&entries).unwrap();
    println!("the same again: {:.3?}", begun.elapsed());
    assert_eq!(again, syn_guard::datapath::Changed::default());
    let begun = Instant::now();
    let one: IpNet = "192.0.2.1/32".parse().unwrap();
    datapath.maps.prefixes.change([(one, None)]).unwrap();
    println!("one more: {:.3?}", begun.elapsed());
    // Many that end together cost a little more than one.
    let begun = Instant::now();
    let ended = entries.keys().take(10_000).map(|prefix| (*prefix, None));
    datapath.maps.prefixes.change(ended).unwrap();
    let of_10_000 = begun.elapsed();
    println!("10,000 less: {of_10_000:.3?}");
    assert!(of_10_000 < took / 2, "{of_10_000:?} of {took:?}");
    let left = entries.len() - 10_000;
    assert_eq!(datapath.maps.prefixes.count(ListKind::Deny), left as u64);
    assert_eq!(datapath.maps.prefixes.held().len(), left);
    // All are taken out again.
    let begun = Instant::now();
    let none = datapath.maps.prefixes.replace(&HashMap::new()).unwrap();
    println!("none any more: {:.3?}", begun.elapsed());
    assert_eq!(none.removed, left);
    assert_eq!(datapath.maps.prefixes.held().len(), 0);
    assert_eq!(datapath.maps.prefixes.count(ListKind::Deny), 0);
    drop(datapath);
}
