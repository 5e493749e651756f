//! Writes metrics in the OpenMetrics text format, one after the other.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use tidegate_actors::gauges::latency::{Distribution, Histogram};

pub(super) const BYTES: Option<&Unit> = Some(&Unit::Bytes);
pub(super) const SECONDS: Option<&Unit> = Some(&Unit::Seconds);

/// A page of metrics, written in order.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    pub(super) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    pub(super) fn gauges<const LABELS: usize, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        labels: &[&str; LABELS],
        values: [([&str; LABELS], u64); N],
    ) -> fmt::Result {
        self.gauges_of(name, help, unit, labels, values)
    }

    /// Gauges of which some may have no sample.
    pub(super) fn gauges_of<'l, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        labels: &[&str; LABELS],
        values: impl IntoIterator<Item = ([&'l str; LABELS], u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (of, value) in values {
            metric.encode_family(&pairs(labels, &of))?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A gauge that has a sample only if there is a value.
    pub(super) fn gauge_if(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: Option<impl EncodeGaugeValue>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| metric.encode_gauge(&value))
    }

    pub(super) fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: impl EncodeCounterValue,
    ) -> fmt::Result {
        self.counters(name, help, unit, &[], [([], value)])
    }

    pub(super) fn counters<'a, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        labels: &[&str; LABELS],
        values: impl IntoIterator<Item = ([&'a str; LABELS], impl EncodeCounterValue)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (of, value) in values {
            let of = pairs(labels, &of);
            if of.is_empty() {
                metric.encode_counter::<[(&str, &str); 0], _, u64>(&value, None)?;
            } else {
                metric.encode_family(&of)?.encode_counter::<[(&str, &str); 0], _, u64>(&value, None)?;
            }
        }
        Ok(())
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        self.distribution(name, help, &histogram.read())
    }

    pub(super) fn distribution(&mut self, name: &str, help: &str, read: &Distribution) -> fmt::Result {
        let buckets: Vec<_> = read.buckets().collect();
        let mut metric = self.0.encode_descriptor(name, help, SECONDS, MetricType::Histogram)?;
        metric.encode_histogram::<[(&str, &str); 0]>(read.sum_s(), read.count(), &buckets, None)
    }
}

fn pairs<'a>(labels: &[&'a str], values: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    labels.iter().copied().zip(values.iter().copied()).collect()
}
