//! Plots as SVG text.

use super::ReportError;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width and height of a plot; the page scales it.
const SIZE: (u32, u32) = (1_040, 380);

/// Colours that the colour-blind can tell apart (Okabe and Ito), and darker ones of theirs.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(110, 110, 110),
    RGBColor(120, 60, 20),
];

const INK: RGBColor = RGBColor(91, 107, 122);
const GRID: RGBColor = RGBColor(223, 229, 234);

/// A curve.
pub(super) type Points = Vec<(f64, f64)>;

fn colour(place: usize) -> RGBColor {
    COLOURS[place % COLOURS.len()]
}

/// The colour of a run, for CSS.
pub(super) fn colour_text(place: usize) -> String {
    let RGBColor(red, green, blue) = colour(place);
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn svg(
    draw: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<Option<String>, ReportError> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    draw(&area).and_then(|()| Ok(area.present()?)).map_err(|error| ReportError::Draw(error.to_string()))?;
    drop(area);
    Ok(Some(text))
}

/// The least and the greatest of one coordinate, apart.
fn extent(series: &[Points], of: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
    let values = series.iter().flatten().map(of);
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
    (low, if high > low { high } else { low + 1.0 })
}

/// Curves over one axis; none where there are no points.
pub(super) fn lines(
    series: &[Points],
    (x_title, y_title): (&str, &str),
    x_label: impl Fn(&f64) -> String,
) -> Result<Option<String>, ReportError> {
    if series.iter().all(Vec::is_empty) {
        return Ok(None);
    }
    let ((left, right), (_, top)) = (extent(series, |point| point.0), extent(series, |point| point.1));
    svg(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(84)
            .build_cartesian_2d(left..right, 0.0..top * 1.08)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .x_desc(x_title)
            .y_desc(y_title)
            .x_label_formatter(&x_label)
            .y_label_formatter(&short)
            .label_style(("sans-serif", 14, &INK))
            .draw()?;
        for (place, points) in series.iter().enumerate() {
            chart.draw_series(LineSeries::new(points.iter().copied(), colour(place).stroke_width(2)))?;
        }
        Ok(())
    })
}

/// Groups of bars, in each a bar for each run; none where there are no groups.
pub(super) fn bars(groups: &[(String, Vec<Option<f64>>)], unit: &str) -> Result<Option<String>, ReportError> {
    let values = || groups.iter().flat_map(|(_, values)| values).flatten();
    let top = values().fold(0.0_f64, |top, value| top.max(*value));
    let most = groups.iter().map(|(_, values)| values.iter().flatten().count()).max().unwrap_or(0);
    if top <= 0.0 {
        return Ok(None);
    }
    #[expect(clippy::cast_precision_loss, reason = "a page has few bars")]
    let width = 0.8 / most as f64;
    // The bars of a group stand in its middle, without gaps for the runs that have none.
    #[expect(clippy::cast_precision_loss, reason = "a page has few bars")]
    let place = |group: usize, bar: usize, bars: usize| group as f64 + 0.5 + (bar as f64 - bars as f64 / 2.0) * width;
    svg(|area| {
        #[expect(clippy::cast_precision_loss, reason = "a page has few bars")]
        let right = groups.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(34)
            .y_label_area_size(84)
            .build_cartesian_2d(0.0..right, 0.0..top * 1.15)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .y_desc(unit)
            .y_label_formatter(&short)
            .label_style(("sans-serif", 14, &INK))
            .draw()?;
        for (group, (name, values)) in groups.iter().enumerate() {
            let bars: Vec<_> = values.iter().enumerate().filter_map(|(run, value)| Some((run, (*value)?))).collect();
            for (bar, (run, value)) in bars.iter().enumerate() {
                let left = place(group, bar, bars.len());
                let (middle, width) = (left + width / 2.0, width * 0.88);
                let corners = [(middle - width / 2.0, 0.0), (middle + width / 2.0, *value)];
                chart.draw_series([Rectangle::new(corners, colour(*run).filled())])?;
                let style = ("sans-serif", 13, &INK).into_text_style(area);
                let style = style.pos(anchor(VPos::Bottom));
                chart.draw_series([Text::new(short(value), (middle, value + top * 0.015), style)])?;
            }
            let style = ("sans-serif", 15, &INK).into_text_style(area).pos(anchor(VPos::Top));
            #[expect(clippy::cast_precision_loss, reason = "a page has few bars")]
            let middle = group as f64 + 0.5;
            chart.draw_series([Text::new(name.clone(), (middle, -top * 0.03), style)])?;
        }
        Ok(())
    })
}

fn anchor(vertical: VPos) -> Pos {
    Pos::new(HPos::Center, vertical)
}

/// 1500 as 1.5k, 2000000 as 2M.
fn short(value: &f64) -> String {
    let (scaled, unit) = match value.abs() {
        1e6.. => (value / 1e6, "M"),
        1e3.. => (value / 1e3, "k"),
        _ => (*value, ""),
    };
    let digits = if scaled.abs() < 10.0 { 2 } else { 1 };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in
            [(0.0, "0"), (0.456, "0.46"), (12.34, "12.3"), (1_500.0, "1.5k"), (2e6, "2M"), (250_000.0, "250k")]
        {
            assert_eq!(short(&value), text);
        }
    }

    #[test]
    fn nothing_to_draw_is_no_plot() {
        assert_eq!(lines(&[Points::new()], ("", ""), |_| String::new()).expect("drawn"), None);
        assert_eq!(bars(&[], "").expect("drawn"), None);
        assert_eq!(bars(&[("bridge".to_owned(), vec![None])], "").expect("drawn"), None);
    }
}
