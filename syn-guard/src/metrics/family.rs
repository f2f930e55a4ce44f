//! Metric families from values that others counted.

use prometheus::{
    TextEncoder,
    proto::{self, LabelPair, Metric, MetricFamily, MetricType},
};

use crate::report::HandshakeReport;

/// A family in the making.
pub(super) struct Family {
    kind: MetricType,
    name: &'static str,
    help: &'static str,
    metrics: Vec<Metric>,
}

impl Family {
    /// A family without metrics. `name` goes without `syn_guard_`.
    pub(super) fn new(kind: MetricType, name: &'static str, help: &'static str) -> Self {
        Self {
            kind,
            name,
            help,
            metrics: Vec::new(),
        }
    }

    /// With one value without labels.
    pub(super) fn value(self, value: f64) -> Self {
        self.with::<&str>(&[], value)
    }

    /// With one more value, of a counter or a gauge.
    pub(super) fn with<S: AsRef<str>>(mut self, labels: &[(&str, S)], value: f64) -> Self {
        let mut metric = labelled(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
        self
    }

    /// With one value for each of `items`.
    pub(super) fn each<T, const N: usize>(
        self,
        items: &[T],
        value: impl Fn(&T) -> ([(&'static str, String); N], f64),
    ) -> Self {
        items.iter().fold(self, |family, item| {
            let (labels, value) = value(item);
            family.with(&labels, value)
        })
    }

    /// With one more histogram.
    pub(super) fn with_histogram(
        mut self,
        labels: &[(&str, String)],
        from: &HandshakeReport,
    ) -> Self {
        let mut histogram = proto::Histogram::default();
        let mut buckets = Vec::with_capacity(from.buckets.len());
        let mut count = 0;
        for &(bound, handshakes) in &from.buckets {
            count += handshakes;
            // The encoder adds the infinite bucket; one of ours would come
            // out as `inf`, which is not how Prometheus writes it.
            if let Some(bound) = bound {
                let mut bucket = proto::Bucket::default();
                bucket.set_upper_bound(bound);
                bucket.set_cumulative_count(count);
                buckets.push(bucket);
            }
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(from.sum_seconds);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.metrics.push(metric);
        self
    }
}

/// The families as text. One without metrics is left out.
pub(super) fn encode(families: Vec<Family>) -> Result<String, prometheus::Error> {
    let families: Vec<MetricFamily> = families
        .into_iter()
        .filter(|family| !family.metrics.is_empty())
        .map(|family| {
            let mut made = MetricFamily::default();
            made.set_name(format!("syn_guard_{}", family.name));
            made.set_help(family.help.to_owned());
            made.set_field_type(family.kind);
            made.set_metric(family.metrics);
            made
        })
        .collect();
    TextEncoder::new().encode_to_string(&families)
}

fn labelled<S: AsRef<str>>(labels: &[(&str, S)]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.as_ref().to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}
