//! One page of HTML about some runs: a table to compare them, and plots. It needs no other file and no network.

mod chart;

use crate::cpu::{Cost, ProcessUsage};
use crate::latency::Percentiles;
use crate::output::{OutputError, read_json};
use chart::{Points, bars, lines};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The most runs on a page: more could not be told apart.
pub const MAX_RUNS: usize = 12;

const MEBIBYTE: f64 = 1_048_576.0;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A result cannot be read.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Too many results.
    #[error("{0} results are too many for one page: {MAX_RUNS} at most")]
    TooMany(usize),
    /// A plot could not be drawn.
    #[error("cannot draw: {0}")]
    Draw(String),
}

/// A result file of `ais`, `firehose`, `publish` or `kafka`.
#[derive(Debug, Clone, Deserialize)]
struct Run {
    #[serde(default)]
    name: String,
    complete: bool,
    sent: u64,
    acknowledged: u64,
    messages_per_second: f64,
    latency: Percentiles,
    #[serde(default)]
    latency_curve: Vec<(f64, f64)>,
    #[serde(default)]
    acknowledged_each_second: Vec<u64>,
    #[serde(flatten)]
    cost: Cost,
}

/// Reads result files and makes the page.
///
/// # Errors
/// [`ReportError`].
pub fn page(paths: &[PathBuf]) -> Result<String, ReportError> {
    if paths.len() > MAX_RUNS {
        return Err(ReportError::TooMany(paths.len()));
    }
    let runs = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    render(&runs).map(Markup::into_string)
}

fn read(path: &Path) -> Result<Run, OutputError> {
    let mut run: Run = read_json(path, "result of ais, firehose, publish or kafka")?;
    if run.name.is_empty() {
        run.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    }
    Ok(run)
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^53")]
    fn millions(&self) -> f64 {
        self.acknowledged.max(self.sent) as f64 / 1e6
    }

    /// CPU seconds of a process for each million messages.
    fn cpu_per_million(&self, process: &ProcessUsage) -> f64 {
        if self.millions() > 0.0 { process.cpu_seconds / self.millions() } else { 0.0 }
    }
}

const STYLE: &str = "
:root { color-scheme: light; --ink: #1c2733; --soft: #5b6b7a; --line: #dfe5ea; --paper: #ffffff; --ground: #f5f7f9; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 36px 0 10px; } p { color: var(--soft); margin: 4px 0 12px; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 14px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; } th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; } tr:last-child td { border-bottom: 0; } th { color: var(--soft); font-weight: 600; }
.warn { color: #a13d00; } svg { display: block; width: 100%; height: auto; }
.legend { margin: 0 0 6px; } .legend span { margin-right: 18px; white-space: nowrap; } .swatch { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 8px; }
";

fn render(runs: &[Run]) -> Result<Markup, ReportError> {
    let figure = |title: &str, words: &str, svg: Option<String>| {
        html! {
            @if let Some(svg) = svg {
                h2 { (title) }
                p { (words) }
                div class="card" {
                    p class="legend" { @for (place, run) in runs.iter().enumerate() { span { (swatch(place)) (run.name) } " " } }
                    (PreEscaped(svg))
                }
            }
        }
    };
    let throughput = throughput(runs)?;
    let latency = latency(runs)?;
    let cpu = of_processes(runs, "CPU-s per million", |run, process| run.cpu_per_million(process))?;
    #[expect(clippy::cast_precision_loss, reason = "bytes of memory are far below 2^53")]
    let memory = of_processes(runs, "MiB", |_, process| process.rss_anon_peak_bytes as f64 / MEBIBYTE)?;
    Ok(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Fairlead bench" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { "Fairlead bench" }
                    p { (runs.len()) " runs. Latency is from the intended send time to the acknowledgement." }
                    div class="card" { (table(runs)) }
                    (figure("Throughput over time", "Messages acknowledged in each second.", throughput))
                    (figure("Latency", "Milliseconds below which so many of the messages stay; each step to the right has a tenth of them beyond it.", latency))
                    (figure("CPU", "User and system seconds for each million messages.", cpu))
                    (figure("Memory", "The greatest anonymous resident memory.", memory))
                }
            }
        }
    })
}

fn table(runs: &[Run]) -> Markup {
    html! {
        table {
            tr {
                @for title in ["run", "msg/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "CPU-s per million", "MiB", "switches per 1,000", "generator"] {
                    th { (title) }
                }
            }
            @for (place, run) in runs.iter().enumerate() {
                tr {
                    td {
                        (swatch(place)) (run.name)
                        @if !run.complete { span class="warn" { " incomplete" } }
                    }
                    td { (thousands(run.messages_per_second)) }
                    @for value in [run.latency.p50_ms, run.latency.p99_ms, run.latency.p99_9_ms, run.latency.max_ms] {
                        td { (format!("{value:.2}")) }
                    }
                    td { (each_process(run, |process| format!("{:.2}", run.cpu_per_million(process)))) }
                    td { (each_process(run, |process| (process.rss_anon_peak_bytes >> 20).to_string())) }
                    td { (each_process(run, |process| format!("{:.1}", switches(run, process)))) }
                    td {
                        (format!("{:.0} %", run.cost.generator_share * 100.0))
                        @if run.cost.generator_bound { span class="warn" { " generator-bound" } }
                    }
                }
            }
        }
    }
}

/// The colour of a run.
fn swatch(place: usize) -> Markup {
    html! { i class="swatch" style={ "background:" (chart::colour_text(place)) } {} }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn switches(run: &Run, process: &ProcessUsage) -> f64 {
    let thousands = run.millions() * 1e3;
    if thousands > 0.0 { process.context_switches as f64 / thousands } else { 0.0 }
}

fn each_process(run: &Run, value: impl Fn(&ProcessUsage) -> String) -> Markup {
    html! {
        @for process in &run.cost.processes {
            div { (process.name) " " (value(process)) }
        }
    }
}

/// 1234567.8 as 1,234,568.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[expect(clippy::cast_precision_loss, reason = "counts and seconds are far below 2^53")]
fn throughput(runs: &[Run]) -> Result<Option<String>, ReportError> {
    let points = |run: &Run| -> Points {
        let seconds = run.acknowledged_each_second.iter().enumerate();
        seconds.map(|(second, count)| (second as f64 + 1.0, *count as f64)).collect()
    };
    let series: Vec<_> = runs.iter().map(points).collect();
    lines(&series, ("seconds", "messages a second"), |second| format!("{second:.0}"))
}

/// The quantile is drawn by its nines: 0.9 at 1, 0.99 at 2.
fn latency(runs: &[Run]) -> Result<Option<String>, ReportError> {
    let nines = |quantile: f64| -(1.0 - quantile).log10();
    let points =
        |run: &Run| -> Points { run.latency_curve.iter().map(|(quantile, ms)| (nines(*quantile), *ms)).collect() };
    let series: Vec<_> = runs.iter().map(points).collect();
    let label = |nines: &f64| {
        if (nines - nines.round()).abs() > 1e-6 {
            return String::new();
        }
        let share = 100.0 * (1.0 - 10_f64.powf(-nines));
        format!("{share:.4}").trim_end_matches('0').trim_end_matches('.').to_owned() + " %"
    };
    lines(&series, ("of the messages", "ms"), label)
}

/// A group of bars for each process that was sampled, with a bar for each run.
fn of_processes(
    runs: &[Run],
    unit: &str,
    value: impl Fn(&Run, &ProcessUsage) -> f64,
) -> Result<Option<String>, ReportError> {
    let mut names: Vec<&str> = Vec::new();
    for process in runs.iter().flat_map(|run| &run.cost.processes) {
        if !names.contains(&process.name.as_str()) {
            names.push(&process.name);
        }
    }
    let group = |name: &&str| {
        let of = |run: &Run| {
            run.cost.processes.iter().find(|process| process.name == *name).map(|process| value(run, process))
        };
        ((*name).to_owned(), runs.iter().map(of).collect())
    };
    let groups: Vec<(String, Vec<Option<f64>>)> = names.iter().map(group).collect();
    bars(&groups, unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const RESULT: &str = r#"{
        "run_id": 1, "topics": ["a"], "sent_by_topic": [3000000],
        "complete": true, "sent": 3000000, "acknowledged": 3000000, "seconds": 3.0, "messages_per_second": 1000000.0,
        "latency": {"count": 3, "p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 3.5, "p99_9_ms": 4.0, "max_ms": 9.0},
        "latency_curve": [[0.0, 0.1], [0.5, 1.0], [0.9, 2.0], [0.99, 3.5], [0.999, 4.0]],
        "acknowledged_each_second": [900000, 1100000, 1000000],
        "generator_cpu_seconds": 2.7, "generator_share": 0.9, "generator_bound": true,
        "processes": [{"name": "bridge", "cpu_seconds": 1.5, "rss_anon_peak_bytes": 41943040, "processes": 1, "context_switches": 6000}]
    }"#;

    fn pages(results: &[(&str, &str)]) -> Result<String, ReportError> {
        let folder = tempfile::tempdir().expect("a folder");
        let paths: Vec<_> = results
            .iter()
            .map(|(name, text)| {
                let path = folder.path().join(name);
                fs::write(&path, text).expect("written");
                path
            })
            .collect();
        page(&paths)
    }

    #[test]
    fn a_page_compares_the_runs_and_needs_nothing_else() {
        let page = pages(&[("fairlead.json", RESULT), ("<other>.json", RESULT)]).expect("a page");
        for part in
            ["fairlead", "&lt;other&gt;", "1,000,000", "0.50", "40", "2.0", "90 %", "generator-bound", "<svg", "99 %"]
        {
            assert!(page.contains(part), "{part} is missing");
        }
        assert_eq!(page.matches("<svg").count(), 4);
        assert!(!page.contains("http:") || page.contains("http://www.w3.org"), "nothing is fetched");
        assert!(!page.contains("<script"));
    }

    #[test]
    fn what_was_not_measured_is_not_drawn() {
        let mut value: serde_json::Value = serde_json::from_str(RESULT).expect("JSON");
        for field in ["latency_curve", "acknowledged_each_second", "processes"] {
            value.as_object_mut().expect("an object").remove(field);
        }
        let page = pages(&[("bare.json", &value.to_string())]).expect("a page");
        assert!(page.contains("bare") && !page.contains("<svg"));
    }

    #[test]
    fn what_is_no_result_is_named() {
        let told = pages(&[("odd.json", "{}")]).expect_err("no result").to_string();
        assert!(told.contains("odd.json is not a result of"), "{told}");
        let many: Vec<_> = (0..=MAX_RUNS).map(|_| ("same.json", RESULT)).collect();
        assert!(pages(&many).expect_err("too many").to_string().contains("too many"));
    }
}
