//! A network's layers, output shapes and parameter counts.

use super::super::terminal::table;
use crate::model::{Mode, Model, Observer, Pass, parameters, statistics};
use crate::task::Networks;
use candle::{Result, Tensor};

/// A layer's output shape and parameter count.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    path: String,
    /// Shape of the output; `None` if the layer reports none.
    shape: Option<Vec<usize>>,
    parameters: usize,
}

/// The layers of a network, in order of execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    rows: Vec<Row>,
    trained: usize,
    statistics: usize,
}

impl Summary {
    /// Evaluates `networks` on `images`; changes no state.
    pub(super) fn new(networks: &Networks, images: &Tensor) -> Result<Self> {
        let mut summary = Self { rows: Vec::new(), trained: 0, statistics: 0 };
        let evaluated = networks.task().evaluated();
        for (index, model) in networks.models().iter().enumerate() {
            // A task chooses the evaluated network's inputs (a GAN's generator takes noise); the others take images.
            let inputs =
                if index == evaluated { networks.task().inputs(images)? } else { images.clone() };
            summary.add(model, &inputs)?;
        }
        Ok(summary)
    }

    fn add(&mut self, model: &Model, inputs: &Tensor) -> Result<()> {
        let mut outputs = Outputs::default();
        let mut pass = Pass::evaluate(Mode::Moving).with_observer(&mut outputs);
        model.forward(inputs, &mut pass)?;
        drop(pass);
        let mut rows = outputs.rows;
        for parameter in parameters(model.layers()) {
            let count = parameter.var.elem_count();
            let layer = parameter.path.rsplit_once('.').map_or("", |(layer, _)| layer);
            match rows.iter_mut().find(|row| row.path == layer) {
                Some(row) => row.parameters += count,
                None => rows.push(Row { path: layer.to_owned(), shape: None, parameters: count }),
            }
        }
        let trained = parameters(model.layers()).into_iter().filter(|known| known.is_trained);
        self.rows.append(&mut rows);
        self.trained += trained.map(|parameter| parameter.var.elem_count()).sum::<usize>();
        let of_model = statistics(model.layers());
        self.statistics += of_model.iter().map(|(_, var)| var.elem_count()).sum::<usize>();
        Ok(())
    }

    /// A line per layer, then the totals.
    pub(super) fn lines(&self) -> Vec<String> {
        let head = ["layer", "result", "parameters"].map(ToOwned::to_owned).to_vec();
        let cells = |row: &Row| {
            let shape = row.shape.as_ref().map_or(String::new(), |shape| {
                shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
            });
            let parameters =
                if row.parameters == 0 { String::new() } else { thousands(row.parameters) };
            vec![row.path.clone(), shape, parameters]
        };
        let rows: Vec<Vec<String>> =
            std::iter::once(head).chain(self.rows.iter().map(cells)).collect();
        let mut lines = table(&rows);
        let (trained, statistics) = (thousands(self.trained), thousands(self.statistics));
        lines.push(format!("{trained} trained parameters, {statistics} numbers of statistics"));
        lines
    }
}

/// Collects the output shapes of layers.
#[derive(Debug, Default)]
struct Outputs {
    rows: Vec<Row>,
}

impl Observer for Outputs {
    fn output(&mut self, path: &str, y: &Tensor) -> Result<()> {
        let shape = Some(y.dims().to_vec());
        self.rows.push(Row { path: path.to_owned(), shape, parameters: 0 });
        Ok(())
    }
}

/// `12,345`.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;
    use crate::experiment::Registry;
    use crate::model::Sizes;
    use candle::{DType, Device};

    fn lines(model: &str, input: ImageShape) -> Vec<String> {
        let text = format!("optimizer.learning_rate = 1\ntrain.steps = 1\n{model}");
        let settings = Registry::built_in().settings(&text).unwrap();
        let sizes = Sizes { input, classes: 10 };
        let networks = settings.networks(sizes, 0, &Device::Cpu).unwrap();
        let dims = (2, input.channels, input.height, input.width);
        let images = Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
        Summary::new(&networks, &images).unwrap().lines()
    }

    #[test]
    fn summary_lists_shapes_and_counts() {
        let digits = ImageShape { channels: 1, height: 8, width: 8 };
        let lines = lines("model.hidden = [100]", digits);
        assert_eq!(
            lines,
            [
                "layer               result  parameters",
                "hidden1              2x100       6,400",
                "hidden1.norm         2x100         200",
                "hidden1.activation   2x100",
                "output                2x10       1,010",
                "7,610 trained parameters, 201 numbers of statistics",
            ]
        );
    }

    #[test]
    fn resnet_20_has_the_papers_parameter_count() {
        let colour = ImageShape { channels: 3, height: 32, width: 32 };
        let lines = lines("model = { kind = 'resnet', depth = 20 }", colour);
        // He et al. 2015, table 6: 0.27 million.
        let last = lines.last().unwrap();
        assert!(last.starts_with("27"), "{last}");
        assert!(
            lines.iter().any(|line| line.starts_with("group3.block3.conv2.norm")),
            "{lines:#?}"
        );
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
