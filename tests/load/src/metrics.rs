//! linger's own metrics, from `/metrics`. Other servers have none.

use std::io;

use crate::target::Target;

/// The metrics at one moment.
#[derive(Debug)]
pub(crate) struct Metrics(String);

impl Metrics {
    /// Asks for them; nothing where the server has none.
    pub(crate) fn ask(target: &Target) -> io::Result<Option<Self>> {
        Ok(target.get("/metrics")?.filter(|text| text.contains("linger_holds ")).map(Self))
    }

    /// The sum of all values of one name and, if given, one kind; nothing if there are none.
    pub(crate) fn sum(&self, name: &str, kind: Option<&str>) -> Option<f64> {
        let label = kind.map(|kind| format!("{{kind=\"{kind}\"}}"));
        let values = self.0.lines().filter_map(|line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            let counted = labels.is_empty() || labels.starts_with('{');
            let wanted = label.as_deref().is_none_or(|label| label == labels);
            (counted && wanted).then(|| value.parse::<f64>().ok()).flatten()
        });
        values.reduce(|sum, value| sum + value)
    }

    /// Polls held now.
    pub(crate) fn holds(&self) -> f64 {
        self.sum("linger_holds", None).unwrap_or(0.0)
    }

    /// The kinds of requests to the table so far, each with their number and units; empty without a table.
    pub(crate) fn store(&self) -> Vec<(String, f64, f64)> {
        let kinds = self.0.lines().filter_map(|line| {
            line.strip_prefix("linger_store_requests_total{kind=\"")?.split('"').next().map(str::to_owned)
        });
        let of = |name: &str, kind: &str| self.sum(name, Some(kind)).unwrap_or(0.0);
        kinds
            .map(|kind| {
                let (requests, units) =
                    (of("linger_store_requests_total", &kind), of("linger_store_units_total", &kind));
                (kind, requests, units)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_summed_by_name_and_kind() {
        let metrics = Metrics(
            "linger_holds 7\nlinger_store_requests_total{kind=\"query\"} 3\nlinger_store_requests_total{kind=\"put\"} 4\n\
             linger_store_units_total{kind=\"query\"} 1.5\n"
                .to_owned(),
        );
        assert_eq!(metrics.holds() as u64, 7);
        assert_eq!(metrics.sum("linger_store_requests_total", None), Some(7.0));
        assert_eq!(metrics.sum("linger_store", None), None);
        assert_eq!(metrics.store(), [("query".to_owned(), 3.0, 1.5), ("put".to_owned(), 4.0, 0.0)]);
    }
}
