//! What is said of listed prefixes.

use std::time::Duration;

use ipnet::IpNet;
use syn_guard_common::abi::ListKind;

use super::{Lists, Origin};
use crate::prefixes::PrefixReport;

impl Lists {
    /// A prefix as it stands on a list.
    #[must_use]
    pub fn report(&self, prefix: IpNet, now_ns: u64) -> Option<PrefixReport> {
        let (list, origin, ends_ns) = match (self.run_time.get(&prefix), self.lasting.get(&prefix))
        {
            (Some(it), _) => (it.list, Origin::RunTime.to_string(), it.ends_ns),
            (None, Some(it)) => {
                let origin = self.origins.get(usize::from(it.origin));
                (
                    it.list,
                    origin.map_or_else(String::new, ToString::to_string),
                    0,
                )
            }
            (None, None) => return None,
        };
        let left = Duration::from_nanos(ends_ns.saturating_sub(now_ns));
        Some(PrefixReport {
            list: list.name().to_owned(),
            prefix: prefix.to_string(),
            origin,
            ends_in_seconds: (ends_ns != 0).then(|| left.as_millis().div_ceil(1000) as u64),
        })
    }

    /// The first `most` prefixes on a list, of those after `after`, sorted: IPv4
    /// first.
    #[must_use]
    pub fn reports(
        &self,
        list: ListKind,
        after: Option<IpNet>,
        most: usize,
        now_ns: u64,
    ) -> Vec<PrefixReport> {
        let mut prefixes: Vec<_> = self
            .prefixes()
            .filter(|prefix| after.is_none_or(|after| *prefix > after))
            .filter(|prefix| self.list_of(prefix) == Some(list))
            .collect();
        if prefixes.len() > most {
            prefixes.select_nth_unstable(most);
            prefixes.truncate(most);
        }
        prefixes.sort_unstable();
        prefixes
            .into_iter()
            .filter_map(|prefix| self.report(prefix, now_ns))
            .collect()
    }
}
