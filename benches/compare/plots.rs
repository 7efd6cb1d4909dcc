//! A ratio over the number of devices, one line for each access control.

use std::collections::BTreeMap;
use std::path::Path;

use plotters::prelude::*;

use super::control::Control;

/// Numbers of devices, and the ratio at each.
pub(crate) type Curve = Vec<(usize, f64)>;

const SIZE: (u32, u32) = (760, 420);

pub(crate) fn draw(file: &Path, title: &str, curves: &BTreeMap<Control, Curve>) {
    let number = |devices: usize| f64::from(u32::try_from(devices).unwrap());
    let points = || curves.values().flatten().copied();
    let (least, most) = (points().map(|(devices, _)| devices).min(), points().map(|(devices, _)| devices).max());
    // A little room on both sides, also where there is one number only.
    let devices = number(least.unwrap()) / 1.5..number(most.unwrap()) * 1.5;
    let highest = points().map(|(_, ratio)| ratio).fold(1.0, f64::max);

    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(devices.log_scale(), 0.0..highest * 1.1)
        .unwrap();
    chart
        .configure_mesh()
        .x_desc("devices")
        .x_label_formatter(&|devices| format!("{devices:.0}"))
        .y_label_formatter(&|ratio| format!("{ratio:.1}"))
        .light_line_style(TRANSPARENT)
        .draw()
        .unwrap();
    for (control, curve) in curves {
        let style = color(*control).stroke_width(2);
        let points: Vec<(f64, f64)> = curve.iter().map(|(devices, ratio)| (number(*devices), *ratio)).collect();
        chart
            .draw_series(LineSeries::new(points, style).point_size(3))
            .unwrap()
            .label(control.word())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .unwrap();
    area.present().unwrap();
}

/// Colours that can be told apart by everybody (Okabe and Ito).
const fn color(control: Control) -> RGBColor {
    match control {
        Control::None => RGBColor(120, 120, 120),
        Control::Sections => RGBColor(213, 94, 0),
        Control::Patterns => RGBColor(230, 159, 0),
        Control::DynamicSecurity => RGBColor(0, 114, 178),
        Control::Warden => RGBColor(0, 158, 115),
    }
}
