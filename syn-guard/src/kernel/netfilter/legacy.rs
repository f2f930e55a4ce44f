//! The tables of iptables-legacy in this network namespace.

/// `ip_tables_names` (net/netfilter/x_tables.c): the tables that were used so far.
const NAMES: [&str; 2] = [
    "/proc/thread-self/net/ip_tables_names",
    "/proc/thread-self/net/ip6_tables_names",
];

/// The names of the tables, each once for each family that has it; none where the
/// kernel has no iptables-legacy.
#[must_use]
pub fn tables() -> Vec<String> {
    NAMES
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|names| names.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}
