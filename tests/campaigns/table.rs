//! What the journal holds, as a table.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};

use crate::journal::{Entry, Verdict};

/// Sums of one scenario.
#[derive(Debug, Default)]
struct Row {
    runs: u64,
    red: u64,
    published: u64,
    acked: u64,
    lost: u64,
    duplicates: u64,
    crashes: u64,
    slowest_ms: u64,
    seconds: f64,
}

/// A line for each campaign, scenario, commit and ack mode.
pub(crate) fn summary(entries: &[Entry]) -> String {
    let mut rows: BTreeMap<[String; 4], Row> = BTreeMap::new();
    for entry in entries {
        let (campaign, ack) = (entry.campaign.name().to_owned(), entry.ack.name().to_owned());
        let row = rows.entry([campaign, entry.scenario.clone(), entry.commit.clone(), ack]).or_default();
        row.runs += 1;
        row.red += u64::from(entry.verdict == Verdict::Red);
        row.published += entry.counts.published;
        row.acked += entry.counts.acked;
        row.lost += entry.counts.lost + entry.counts.missing;
        row.duplicates += entry.counts.duplicates;
        row.crashes += entry.counts.crashes;
        row.slowest_ms = row.slowest_ms.max(entry.counts.liveness_ms);
        row.seconds += entry.seconds;
    }
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "campaign",
        "scenario",
        "commit",
        "ack",
        "runs",
        "red",
        "published",
        "acknowledged",
        "lost",
        "duplicates",
        "crashes",
        "slowest, ms",
        "seconds",
    ]);
    for (key, row) in rows {
        let numbers = [row.runs, row.red, row.published, row.acked, row.lost, row.duplicates, row.crashes];
        let cells = key.into_iter().chain(numbers.map(|n| n.to_string()));
        table.add_row(cells.chain([row.slowest_ms.to_string(), format!("{:.0}", row.seconds)]));
    }
    table.to_string()
}
