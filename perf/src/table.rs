//! The table of a case: medians with their spread, and the ratios to the first bridge.

use crate::figures::{BRIDGE_CPU, FIGURES, Figure, Figures};
use crate::statistics::{Interval, Spread};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};

/// Columns of text for what a bridge is.
const TEXT: u16 = 40;

/// The runs of one bridge, one a round.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) acknowledges: String,
    pub(crate) rounds: Vec<Figures>,
}

/// A row for each bridge; ratios are to the first.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    let mut titles = vec!["bridge".to_owned()];
    // What is known of no bridge is no column: mosquitto, where there is none.
    let is_known =
        |figure: &&Figure| rows.iter().any(|row| row.rounds.iter().any(|round| figure.value(round).is_some()));
    let known: Vec<&Figure> = FIGURES.iter().filter(is_known).collect();
    titles.extend(known.iter().map(|figure| figure.title.replacen(", ", "\n", 1)));
    titles.extend(["CPU to the first".to_owned(), "msg/s to the first".to_owned(), "marks".to_owned()]);
    table.set_header(titles);
    for row in rows {
        let mut cells = vec![format!("{} ({})\nacknowledges {}", row.title, row.name, row.acknowledges)];
        cells.extend(known.iter().map(|figure| spread(row, **figure)));
        let first = &rows[0];
        cells.extend([BRIDGE_CPU, FIGURES[0]].map(|figure| ratio(row, first, figure)));
        cells.push(marks(row));
        table.add_row(cells);
    }
    if let Some(column) = table.column_mut(0) {
        column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(TEXT)));
    }
    for column in table.column_iter_mut().skip(1).take(known.len() + 2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// The median, and below it the least and the greatest.
fn spread(row: &Row, figure: Figure) -> String {
    let values: Vec<f64> = row.rounds.iter().filter_map(|round| figure.value(round)).collect();
    let Some(spread) = Spread::of(&values) else { return "not known".to_owned() };
    let text = |value: f64| number(value, figure.digits);
    format!("{}\n{}..{}", text(spread.median), text(spread.min), text(spread.max))
}

/// The median of the ratios round by round, and the interval that holds it.
fn ratio(row: &Row, first: &Row, figure: Figure) -> String {
    if row.name == first.name {
        return "1".to_owned();
    }
    let pairs = row.rounds.iter().zip(&first.rounds);
    let of = |(ours, theirs): (&Figures, &Figures)| Some(figure.value(ours)? / figure.value(theirs)?);
    let ratios: Vec<f64> = pairs.filter_map(of).filter(|ratio| ratio.is_finite()).collect();
    let (Some(spread), Some(interval)) = (Spread::of(&ratios), Interval::of_median(&ratios)) else {
        return "not known".to_owned();
    };
    let Interval { from, to, confidence } = interval;
    format!("{:.2}\n{from:.2}..{to:.2} ({:.0} %)", spread.median, confidence * 100.0)
}

/// What is marked, with the round where there are several.
fn marks(row: &Row) -> String {
    let of_round = |(round, figures): (usize, &Figures)| {
        (!figures.marks.is_empty()).then(|| format!("round {}: {}", round + 1, figures.marks.join(", ")))
    };
    row.rounds.iter().enumerate().filter_map(of_round).collect::<Vec<_>>().join("\n")
}

/// 1234567.8 as 1,234,568.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((&text[..], None), |(whole, rest)| (whole, Some(rest)));
    let groups: Vec<_> = whole.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    let whole = groups.join(",");
    fraction.map_or(whole.clone(), |fraction| format!("{whole}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::outcome;

    fn row(name: &str, cpu: &[f64]) -> Row {
        let round = |cpu: &f64| Figures { bridge_cpu: Some(*cpu), ..Figures::of(&outcome(), 0.05) };
        Row {
            name: name.to_owned(),
            title: "T".to_owned(),
            acknowledges: "late".to_owned(),
            rounds: cpu.iter().map(round).collect(),
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(number(1_234_567.8, 0), "1,234,568");
        assert_eq!(number(999.0, 1), "999.0");
        assert_eq!(number(0.4567, 3), "0.457");
    }

    #[test]
    fn medians_spreads_and_paired_ratios() {
        let mut rows = [row("a", &[1.0, 2.0, 4.0]), row("b", &[3.0, 6.0, 8.0])];
        let text = table(&rows);
        assert!(!text.contains("not known"), "{text}");
        rows[0].rounds[0].kafka_cpu = Some(0.5);
        let text = table(&rows);
        for part in ["T (a)", "acknowledges late", "2.000", "1.000..4.000", "3.00", "2.00..3.00 (75 %)", "1,000,000"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert!(text.contains("not known"), "{text}");
    }

    #[test]
    fn marks_name_their_round() {
        let mut row = row("a", &[1.0, 2.0]);
        row.rounds[1].marks = vec!["lost 7".to_owned()];
        assert_eq!(marks(&row), "round 2: lost 7");
    }
}
