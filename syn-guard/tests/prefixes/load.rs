//! What the data path takes to hold many prefixes.

use std::collections::HashMap;
use std::fs;

use ipnet::IpNet;
use syn_guard::datapath::{
    DataPath, EngineChoice, Features, LoadOptions, LogLevel, Maps, PinDirectory, XdpModeChoice,
};
use syn_guard::prefixes::{Lists, Origin, Part, read};
use syn_guard_common::abi::ListKind;
use xtask::lab::Lab;

use super::hundred_thousand;

#[test]
fn a_hundred_thousand_prefixes_load_into_little_memory() {
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
        unusual_rate: 0,
    };
    let mut datapath = DataPath::load(pins, &options).unwrap();
    let empty = Maps::memory();
    let file = lab.path("many");
    fs::write(&file, hundred_thousand()).unwrap();

    let (_, lines) = read(&file).unwrap();
    let mut lists = Lists::default();
    let said = lists.set_parts(&[Part {
        list: ListKind::Deny,
        origin: &Origin::File(file),
        prefixes: &lines,
    }]);
    assert!(said.is_empty(), "{said:?}");
    let (entries, left_out) = lists.entries(100_000);
    assert_eq!(left_out, 0);
    let changed = datapath.maps.prefixes.replace(&entries).unwrap();
    let held = Maps::memory() - empty;
    println!("{} prefixes: {held} bytes", changed.added);
    assert!(changed.added > 95_000, "{changed:?}");
    assert!(held < 16 << 20, "{held}");

    // What did not change is not told again.
    let again = datapath.maps.prefixes.replace(&entries).unwrap();
    assert_eq!(again, syn_guard::datapath::Changed::default());
    let one: IpNet = "192.0.2.1/32".parse().unwrap();
    datapath.maps.prefixes.change([(one, None)]).unwrap();
    // Many that end together.
    let ended = entries.keys().take(10_000).map(|prefix| (*prefix, None));
    datapath.maps.prefixes.change(ended).unwrap();
    let left = entries.len() - 10_000;
    assert_eq!(datapath.maps.prefixes.count(ListKind::Deny), left as u64);
    assert_eq!(datapath.maps.prefixes.held().len(), left);
    // All are taken out again.
    let none = datapath.maps.prefixes.replace(&HashMap::new()).unwrap();
    assert_eq!(none.removed, left);
    assert_eq!(datapath.maps.prefixes.held().len(), 0);
    assert_eq!(datapath.maps.prefixes.count(ListKind::Deny), 0);
    drop(datapath);
}
