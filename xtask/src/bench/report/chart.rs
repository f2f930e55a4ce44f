//! Curves as SVG.

use anyhow::{Result, anyhow};
use plotters::element::{Circle, PathElement};
use plotters::prelude::{
    ChartBuilder, Color as _, IntoDrawingArea as _, IntoLogRange as _, LineSeries, RGBColor,
    SVGBackend, SeriesLabelPosition, WHITE,
};

const SIZE: (u32, u32) = (900, 480);

/// Colours that also those tell apart who see red and green alike (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
];

const GRID: RGBColor = RGBColor(225, 225, 225);

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Its points; x above 0.
    pub points: Vec<(f64, f64)>,
}

/// Where a chart has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legend {
    /// In the middle of the right side.
    Right,
    /// In the upper left corner.
    UpperLeft,
}

/// What stands beside the lines.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// Above.
    pub title: &'a str,
    /// At the x axis, which is logarithmic.
    pub x: &'a str,
    /// At the y axis, which begins at 0.
    pub y: &'a str,
    /// Where the names of the lines stand.
    pub legend: Legend,
}

/// Draws the lines; an SVG file's text.
///
/// # Errors
/// There is no point, or the crate that draws refuses.
pub fn draw(labels: Labels<'_>, lines: &[Line]) -> Result<String> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let least = points().map(|(x, _)| x).fold(f64::INFINITY, f64::min);
    let most = points().map(|(x, _)| x).fold(0.0, f64::max);
    let highest = points().map(|(_, y)| y).fold(0.0, f64::max);
    if !(least > 0.0 && least.is_finite()) {
        return Err(anyhow!("{}: no points", labels.title));
    }
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(labels.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(
                (least..most.max(least * 1.1)).log_scale(),
                0.0..highest.max(f64::MIN_POSITIVE) * 1.05,
            )?;
        chart
            .configure_mesh()
            .x_desc(labels.x)
            .y_desc(labels.y)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .max_light_lines(0)
            .bold_line_style(GRID)
            .draw()?;
        let coloured = lines.iter().zip(COLOURS.into_iter().cycle());
        for (line, colour) in coloured.filter(|(line, _)| !line.points.is_empty()) {
            chart
                .draw_series(LineSeries::new(
                    line.points.iter().copied(),
                    colour.stroke_width(2),
                ))?
                .label(&line.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
            let dots = line
                .points
                .iter()
                .map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(dots)?;
        }
        chart
            .configure_series_labels()
            .position(match labels.legend {
                Legend::Right => SeriesLabelPosition::MiddleRight,
                Legend::UpperLeft => SeriesLabelPosition::UpperLeft,
            })
            .background_style(WHITE)
            .border_style(RGBColor(160, 160, 160))
            .draw()?;
        area.present()?;
    }
    Ok(text)
}

/// 1500000 as 1.5 M.
fn short(number: f64) -> String {
    let (value, unit) = match number.abs() {
        it if it >= 1e6 => (number / 1e6, " M"),
        it if it >= 1e3 => (number / 1e3, " k"),
        _ => (number, ""),
    };
    let text = format!("{value:.1}");
    format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (2.5, "2.5"),
            (100.0, "100"),
            (300_000.0, "300 k"),
            (1_500_000.0, "1.5 M"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn every_line_is_drawn_and_named() {
        let lines = ["one", "other"].map(|name| Line {
            name: name.to_owned(),
            points: vec![(100_000.0, 100.0), (2_000_000.0, 40.0)],
        });
        let labels = Labels {
            title: "Honest connections",
            x: "SYN/s",
            y: "%",
            legend: Legend::Right,
        };
        let svg = draw(labels, &lines).unwrap();
        assert!(svg.starts_with("<svg"), "{svg}");
        for part in ["Honest connections", "SYN/s", "one", "other", "polyline"] {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
        draw(labels, &[]).unwrap_err();
        let empty = Line {
            name: "nothing".to_owned(),
            points: Vec::new(),
        };
        let svg = draw(labels, &[lines[0].clone(), empty]).unwrap();
        assert!(!svg.contains("nothing"), "{svg}");
    }
}
