//! A plotters backend that writes SVG: groups with classes and arms, dashes as an attribute, titles.
//!
//! The same scene gives the same bytes on every machine: no font is measured, coordinates are whole units.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::rc::Rc;

use plotters_backend::text_anchor::HPos;
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontStyle,
};

use super::paint::{Pen, UNITS};
use super::scene::Group;
use super::style::Dash;
use crate::text::printable;

/// A document that grows while it is drawn on. Clones share it: one is the backend, another the pen.
#[derive(Debug, Clone)]
pub struct Document(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    size: (u32, u32),
    body: String,
    dash: Dash,
}

type Written = Result<(), DrawingErrorKind<Infallible>>;

impl Document {
    /// An empty document of a size in units.
    pub fn new(size: (u32, u32)) -> Self {
        Self(Rc::new(RefCell::new(State { size, body: String::new(), dash: &[] })))
    }

    /// The elements, without the `svg` around them.
    pub fn into_body(self) -> String {
        std::mem::take(&mut self.0.borrow_mut().body)
    }

    /// Writes one element, unless it cannot be seen.
    fn element(&self, color: BackendColor, element: std::fmt::Arguments<'_>) -> Written {
        if color.alpha > 0.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(self.0.borrow_mut().body, "{element}");
        }
        Ok(())
    }

    fn path(&self, points: &str, style: &impl BackendStyle) -> Written {
        let dash = self.dash_attribute();
        let (color, width) = (style.color(), style.stroke_width());
        let (stroke, opacity) = (hex(color), Opacity(color));
        self.element(
            color,
            format_args!(
                "<path fill=\"none\" stroke=\"{stroke}\" stroke-width=\"{width}\"{opacity}{dash} d=\"{points}\"/>"
            ),
        )
    }

    fn dash_attribute(&self) -> String {
        let dash = self.0.borrow().dash;
        if dash.is_empty() {
            return String::new();
        }
        let lengths: Vec<String> =
            dash.iter().map(|length| (length * UNITS).round().to_string()).collect();
        format!(" stroke-dasharray=\"{}\"", lengths.join(" "))
    }
}

impl Pen for Document {
    fn open(&self, group: &Group) {
        let body = &mut self.0.borrow_mut().body;
        let _ = write!(body, "<g class=\"{}\"", escape(group.class));
        if !group.arms.is_empty() {
            let arms: Vec<String> = group.arms.iter().map(usize::to_string).collect();
            let _ = write!(body, " data-arm=\"{}\"", arms.join(" "));
        }
        body.push_str(">\n");
        if let Some(title) = &group.title {
            let _ = writeln!(body, "<title>{}</title>", escape(&printable(title)));
        }
    }

    fn close(&self) {
        self.0.borrow_mut().body.push_str("</g>\n");
    }

    fn dashes(&self, dash: Dash) -> bool {
        self.0.borrow_mut().dash = dash;
        true
    }
}

/// An `opacity` attribute; nothing for what is opaque.
struct Opacity(BackendColor);

impl std::fmt::Display for Opacity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let alpha = (self.0.alpha * 1000.0).round() / 1000.0;
        if alpha < 1.0 { write!(f, " opacity=\"{alpha}\"") } else { Ok(()) }
    }
}

fn hex(color: BackendColor) -> String {
    let (r, g, b) = color.rgb;
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// `M10 20l3 -4 5 6`: the first point, then each step to the next. Steps of nothing are left out.
fn path_data(points: impl IntoIterator<Item = BackendCoord>) -> String {
    let mut data = String::new();
    let mut last: Option<BackendCoord> = None;
    for (x, y) in points {
        let _ = match last {
            None => write!(data, "M{x} {y}"),
            Some(from) if from == (x, y) => Ok(()),
            Some((from_x, from_y)) => {
                let before = if data.contains('l') { ' ' } else { 'l' };
                write!(data, "{before}{} {}", x - from_x, y - from_y)
            }
        };
        last = Some((x, y));
    }
    data
}

/// Text for use between tags and in attributes.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl DrawingBackend for Document {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.0.borrow().size
    }

    fn ensure_prepared(&mut self) -> Written {
        Ok(())
    }

    fn present(&mut self) -> Written {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Written {
        let fill = hex(color);
        let opacity = Opacity(color);
        self.element(
            color,
            format_args!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"1\" height=\"1\" fill=\"{fill}\"{opacity}/>"
            ),
        )
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Written {
        self.path(&path_data([from, to]), style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Written {
        self.path(&path_data(path), style)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        vertices: I,
        style: &S,
    ) -> Written {
        let color = style.color();
        let (fill, opacity, data) = (hex(color), Opacity(color), path_data(vertices));
        self.element(color, format_args!("<path fill=\"{fill}\"{opacity} d=\"{data}z\"/>"))
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        (x, y): BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Written {
        let (color, width) = (style.color(), style.stroke_width());
        let (paint, opacity) = (hex(color), Opacity(color));
        let circle = format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"");
        if fill {
            self.element(color, format_args!("{circle} fill=\"{paint}\"{opacity}/>"))
        } else {
            self.element(
                color,
                format_args!(
                    "{circle} fill=\"none\" stroke=\"{paint}\" stroke-width=\"{width}\"{opacity}/>"
                ),
            )
        }
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Written {
        let anchor = match style.anchor().h_pos {
            HPos::Left => "",
            HPos::Center => " text-anchor=\"middle\"",
            HPos::Right => " text-anchor=\"end\"",
        };
        let weight = match style.style() {
            FontStyle::Bold => " font-weight=\"bold\"",
            _ => "",
        };
        let (fill, size) = (hex(style.color()), style.size().round());
        // Lower-case letters are about 0.7 em high with their ascenders: this centres them.
        let y = f64::from(y) + (0.35 * size).round();
        self.element(
            style.color(),
            format_args!(
                "<text x=\"{x}\" y=\"{y}\"{anchor} font-size=\"{size}\"{weight} fill=\"{fill}\">{}</text>",
                escape(text)
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_steps() {
        assert_eq!(path_data([(10, 20), (13, 16), (13, 16), (18, 22)]), "M10 20l3 -4 5 6");
        assert_eq!(path_data([(1, 2)]), "M1 2");
    }

    #[test]
    fn groups_say_their_arms_and_escape_what_they_are_given() {
        let document = Document::new((10, 10));
        let group = Group::label("mean", &[0, 3]).titled("a <b> & \"c\"\u{1}".to_owned());
        document.open(&group);
        document.close();
        assert_eq!(
            document.into_body(),
            "<g class=\"mean\" data-arm=\"0 3\">\n<title>a &lt;b&gt; &amp; &quot;c&quot;\u{2401}</title>\n</g>\n"
        );
    }
}
