//! The text of `/metrics`, read.

use std::collections::BTreeMap;

use super::gateway::Gateway;

/// Everything that `/metrics` said at one moment.
#[derive(Debug)]
pub struct Exposition {
    pub text: String,
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Exposition {
    /// Asks the gateway.
    pub async fn of(gateway: &Gateway) -> Self {
        let response = gateway.get("/metrics").await;
        assert_eq!(response.status, 200, "{}", response.text());
        Self::read(response.text())
    }

    /// Reads every line that is no comment.
    pub fn read(text: String) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(sample).collect();
        Self { text, samples }
    }

    /// The sum of all samples of this name that have these labels, and maybe more.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.with(name, labels).map(|sample| sample.value).sum()
    }

    /// All samples of this name that have these labels, and maybe more.
    pub fn with<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> + 'a {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|is| is == value))
        })
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line:?}"));
    let value = value.parse().unwrap_or_else(|_| panic!("no number in {line:?}"));
    let Some((name, labels)) = series.split_once('{') else {
        return Sample { name: series.to_owned(), labels: BTreeMap::new(), value };
    };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("open labels in {line:?}"));
    let pairs = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("a bad label in {line:?}"));
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    });
    Sample { name: name.to_owned(), labels: pairs.collect(), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_and_without_labels() {
        let text = "# HELP x y\nx_total{a=\"b c\",d=\"e\"} 2\nx_total{a=\"f\"} 0.5\ny 1e3\n# EOF\n";
        let exposition = Exposition::read(text.to_owned());
        assert_eq!(exposition.samples.len(), 3);
        assert_eq!(exposition.samples[0].labels["a"], "b c");
        assert!((exposition.sum("x_total", &[]) - 2.5).abs() < 1e-9);
        assert!((exposition.sum("x_total", &[("d", "e")]) - 2.0).abs() < 1e-9);
        assert!((exposition.sum("y", &[]) - 1000.0).abs() < 1e-9);
    }
}
