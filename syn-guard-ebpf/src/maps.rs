//! All maps. Their layout is `syn_guard_common::abi`; each is pinned under
//! its name, so that a restarted controller finds it. Those by slot may have more
//! slots than stand here: the loader counts the services.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use syn_guard_common::abi::{
    CONNECTION_WORDS, CookieKeys, ESTABLISHED_CELLS, EVENT_BYTES, HALF_OPEN_CELLS, HANDED_CELLS,
    HalfOpen, JUST_COMPLETED_CELLS, LEAST_SLOTS, Listener, ListenerKey, MAX_HALF_OPEN,
    MAX_LISTENERS, MAX_PREFIXES, MAX_ROUTES, MAX_SOURCES, NEAR_LISTENERS as NEAR_LISTENER_CELLS,
    NEAR_WORDS, NearListener, OWN_MAC_CELLS, PrefixEntry, REASONS, SENT_CELLS, SILENT_CELLS,
    SOURCE_CELLS, ServiceConfig, ServiceCounters, ServiceState, Settings, Source, SourceKey,
    SourceSample,
};
use syn_guard_common::address::Address;
use syn_guard_common::flow::Flow;
use syn_guard_common::prefix_filter::PrefixFilter;
use syn_guard_common::sketch::Cells;

use syn_guard_common::sketch::Totals;

/// By port: the slot of its service plus 1, or 0.
#[map]
pub static SERVICE_BY_PORT: Array<u32> = Array::pinned(65_536, 0);

/// By slot, written by the controller.
#[map]
pub static SERVICE_CONFIG: Array<ServiceConfig> = Array::pinned(LEAST_SLOTS, 0);

/// One value, written by the controller.
#[map]
pub static SETTINGS: Array<Settings> = Array::pinned(1, 0);

/// One value: 1 while a service protects, or did until the controller has seen
/// that none does.
#[map]
pub static ANY_PROTECTING: Array<u32> = Array::pinned(1, 0);

/// One value: how many services validate cookies.
#[map]
pub static VALIDATING: Array<u64> = Array::pinned(1, 0);

/// By slot, written by the data path.
#[map]
pub static SERVICE_STATE: Array<ServiceState> = Array::pinned(LEAST_SLOTS, 0);

/// By slot.
#[map]
pub static SERVICE_COUNTERS: PerCpuArray<ServiceCounters> = PerCpuArray::pinned(LEAST_SLOTS, 0);

/// Some of them, by cell.
#[map]
pub static NEAR_LISTENERS: Array<NearListener> = Array::pinned(NEAR_LISTENER_CELLS, 0);

/// Own addresses and ports somebody listens on, for each route class.
#[map]
pub static LISTENERS: HashMap<ListenerKey, Listener> =
    HashMap::pinned(MAX_LISTENERS, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// By client: its route class, where it is not 0.
#[map]
pub static ROUTES: LpmTrie<Address, u32> =
    LpmTrie::pinned(MAX_ROUTES, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// By client: whether its SYNs always pass, or are dropped.
#[map]
pub static PREFIXES: LpmTrie<Address, PrefixEntry> =
    LpmTrie::pinned(MAX_PREFIXES, aya_ebpf::bindings::BPF_F_NO_PREALLOC);

/// One value: whom one of these prefixes may match.
#[map]
pub static PREFIX_FILTER: Array<PrefixFilter> = Array::pinned(1, 0);

/// By cell: the host's own hardware addresses.
#[map]
pub static OWN_MACS: Array<u64> = Array::pinned(OWN_MAC_CELLS, 0);

/// By cell: sources that the stack answers nothing.
#[map]
pub static SILENT_SOURCES: Array<Address> = Array::pinned(SILENT_CELLS, 0);

/// Half-open connections.
#[map]
pub static HALF_OPEN: HashMap<Flow, HalfOpen> = HashMap::pinned(MAX_HALF_OPEN, 0);

/// Sources, each for a service.
#[map]
pub static SOURCES: LruHashMap<SourceKey, Source> = LruHashMap::pinned(MAX_SOURCES, 0);

/// One value: this second's replies by prefix.
#[map]
pub static PREFIX_SKETCH: PerCpuArray<Cells> = PerCpuArray::pinned(1, 0);

/// One value: this second's SYNs of busy prefixes, by source and service.
#[map]
pub static SOURCE_SKETCH: PerCpuArray<Cells> = PerCpuArray::pinned(1, 0);

/// One value: what the sketches counted this second.
#[map]
pub static SKETCH_TOTALS: PerCpuArray<Totals> = PerCpuArray::pinned(1, 0);

/// One value: marks of sources that have counters of their own for a reason.
#[map]
pub static SOURCE_FILTER: Array<[u8; SOURCE_CELLS]> = Array::pinned(1, 0);

/// One value: the mark last made there.
#[map]
pub static LAST_MARKED_SOURCE: Array<u32> = Array::pinned(1, 0);

/// By slot, cleared by the controller.
#[map]
pub static SAMPLES: PerCpuArray<SourceSample> = PerCpuArray::pinned(LEAST_SLOTS, 0);

/// One value: a second, the events about sources sent in it, and how many were
/// not sent since the last one.
#[map]
pub static EVENT_BUDGET: PerCpuArray<[u32; 3]> = PerCpuArray::pinned(1, 0);

/// One value: the cookies' keys. Only root reads it.
#[map]
pub static COOKIE_KEYS: Array<CookieKeys> = Array::pinned(1, 0);

/// By reason.
#[map]
pub static VERDICTS: PerCpuArray<u64> = PerCpuArray::pinned(REASONS.len() as u32, 0);

/// One value: marks of flows that the stack may know.
#[map]
pub static CONNECTION_FILTER: Array<[u64; CONNECTION_WORDS]> = Array::pinned(1, 0);

/// One value, written by the controller: when it last marked all connections of
/// all services that protected then, `CLOCK_MONOTONIC` ns; 0: it did not.
#[map]
pub static ALL_MARKED: Array<u64> = Array::pinned(1, 0);

/// One value: the same marks, closer together.
#[map]
pub static NEAR_CONNECTION_FILTER: Array<[u64; NEAR_WORDS]> = Array::pinned(1, 0);

/// One value: flows that were found established while their service
/// validates.
#[map]
pub static ESTABLISHED_FILTER: Array<[u64; ESTABLISHED_CELLS]> = Array::pinned(1, 0);

/// One value: the coarse clock of this jiffy (jiffies, nanoseconds).
#[map]
pub static CLOCK: PerCpuArray<[u64; 2]> = PerCpuArray::pinned(1, 0);

/// One value: how many half-open connections hash to a cell.
#[map]
pub static HALF_OPEN_FILTER: Array<[u64; HALF_OPEN_CELLS]> = Array::pinned(1, 0);

/// One value: the budget for tracking (the tick it was last filled in, what is
/// left).
#[map]
pub static TRACK_BUDGETS: PerCpuArray<[u64; 2]> = PerCpuArray::pinned(1, 0);

/// By flow hash: the flow last handed to the stack (high half: its hash, low
/// half: the jiffies of that moment).
#[map]
pub static JUST_COMPLETED: PerCpuArray<u64> = PerCpuArray::pinned(JUST_COMPLETED_CELLS, 0);

/// Handshakes handed to the stack by this CPU: a jiffy, how many in the one
/// before it, how many in it.
#[map]
pub static COMPLETED_LATELY: PerCpuArray<[u32; 3]> = PerCpuArray::pinned(1, 0);

/// One value: flows that a cookie went to lately, of the guard or of the stack.
#[map]
pub static COOKIE_SENT: Array<[u32; SENT_CELLS]> = Array::pinned(1, 0);

/// One value: a tick of them, the cookies that this CPU sent in it, and the segments
/// that it took for late ones'.
#[map]
pub static COOKIES_SENT: PerCpuArray<[u32; 3]> = PerCpuArray::pinned(1, 0);

/// One value: the last tick in which so many went that any flow may have got one.
#[map]
pub static COOKIES_TO_ALL: Array<u32> = Array::pinned(1, 0);

/// One value: cookies whose connections were handed to the stack.
#[map]
pub static HANDED_OVER: Array<[u64; HANDED_CELLS]> = Array::pinned(1, 0);

/// By slot: a second (`CLOCK_MONOTONIC`), and how many stray ACKs passed in it.
#[map]
pub static STRAYS: PerCpuArray<[u64; 2]> = PerCpuArray::pinned(LEAST_SLOTS, 0);

/// Changes of state.
#[map]
pub static EVENTS: RingBuf = RingBuf::pinned(EVENT_BYTES, 0);

/// One value: the program that a handshake which a cookie completed goes on with
/// ([`crate::conntrack`]), while it is loaded.
#[map]
pub static CONNTRACK_PROGRAM: ProgramArray = ProgramArray::pinned(1, 0);

/// One value: a second, and SYNs with a small MSS that passed in it.
#[map]
pub static UNUSUAL: PerCpuArray<u64> = PerCpuArray::pinned(1, 0);

/// One value: when a connection was last handed over whose accept queue may have been full,
/// a moment; 0: never.
#[map]
pub static LAST_FULL: Array<u32> = Array::pinned(1, 0);
