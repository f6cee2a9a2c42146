//! The command line with custom kinds.

use crate::cli;
use crate::data::{Provider, Sampler};
use crate::experiment::Registry;
use crate::experiment::shipped::Shipped;
use crate::keys::{Keys, Kind};
use crate::model::Architecture;
use crate::optimizer::BuildOptimizer;
use crate::task::Task;
use std::process::ExitCode;
use std::sync::Arc;

/// The `bn-train` command line, extensible with custom networks, data sets, samplers, tasks, optimizers and experiments.
///
/// `examples/own_model.rs` is a complete program. Its binary has the same command line as `bn-train`. Experiments can use
/// what was added (`model.kind = "mixed"`), and `show template` explains it.
///
/// ```no_run
/// use bn_train::Laboratory;
/// # use bn_train::model::{Architecture, Chain, Dense, Flatten, Hidden, Layer, Sizes};
/// # #[derive(Debug)]
/// # struct Linear;
/// # impl Architecture for Linear {
/// #     fn build(
/// #         &self,
/// #         sizes: Sizes,
/// #         _hidden: Hidden<'_>,
/// #         builder: &candle_nn::VarBuilder<'_>,
/// #     ) -> candle::Result<Box<dyn Layer>> {
/// #         let mut layers = Chain::new();
/// #         layers.push(Flatten);
/// #         layers.push(Dense::build(sizes.input.pixels(), sizes.classes, true, &builder.pp("output"))?);
/// #         Ok(Box::new(layers))
/// #     }
/// # }
///
/// fn main() -> std::process::ExitCode {
///     Laboratory::new().model("linear", "softmax regression", |_| Some(Linear)).main()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Laboratory {
    registry: Registry,
}

impl Laboratory {
    /// Everything built into bn-train.
    pub fn new() -> Self {
        Self { registry: Registry::built_in() }
    }

    /// Adds a family of networks that files call `name`, or replaces the one with the same name. `about` describes it in a
    /// few words. `read` reads its keys in `[model]` and returns `None` if one of them is wrong.
    pub fn model<A: Architecture + 'static>(
        mut self,
        name: &str,
        about: &str,
        read: impl Fn(&mut Keys<'_>) -> Option<A> + Send + Sync + 'static,
    ) -> Self {
        let read = move |keys: &mut Keys<'_>| Some(Arc::new(read(keys)?) as Arc<dyn Architecture>);
        self.registry.add_model(Kind::new(name, about, read));
        self
    }

    /// Adds a data set; as [`Laboratory::model`].
    pub fn data<P: Provider + 'static>(
        mut self,
        name: &str,
        about: &str,
        read: impl Fn(&mut Keys<'_>) -> Option<P> + Send + Sync + 'static,
    ) -> Self {
        let read = move |keys: &mut Keys<'_>| Some(Arc::new(read(keys)?) as Arc<dyn Provider>);
        self.registry.add_data(Kind::new(name, about, read));
        self
    }

    /// Adds a sampler of training examples; as [`Laboratory::model`].
    pub fn sampler<S: Sampler + 'static>(
        mut self,
        name: &str,
        about: &str,
        read: impl Fn(&mut Keys<'_>) -> Option<S> + Send + Sync + 'static,
    ) -> Self {
        let read = move |keys: &mut Keys<'_>| Some(Arc::new(read(keys)?) as Arc<dyn Sampler>);
        self.registry.add_sampler(Kind::new(name, about, read));
        self
    }

    /// Adds an optimizer; as [`Laboratory::model`].
    pub fn optimizer<O: BuildOptimizer + 'static>(
        mut self,
        name: &str,
        about: &str,
        read: impl Fn(&mut Keys<'_>) -> Option<O> + Send + Sync + 'static,
    ) -> Self {
        let read =
            move |keys: &mut Keys<'_>| Some(Arc::new(read(keys)?) as Arc<dyn BuildOptimizer>);
        self.registry.add_optimizer(Kind::new(name, about, read));
        self
    }

    /// Adds a task; as [`Laboratory::model`].
    pub fn task<T: Task + 'static>(
        mut self,
        name: &str,
        about: &str,
        read: impl Fn(&mut Keys<'_>) -> Option<T> + Send + Sync + 'static,
    ) -> Self {
        let read = move |keys: &mut Keys<'_>| Some(Arc::new(read(keys)?) as Arc<dyn Task>);
        self.registry.add_task(Kind::new(name, about, read));
        self
    }

    /// Adds a named experiment as TOML, for `run NAME` and `show NAME`.
    pub fn experiment(mut self, name: &'static str, text: &'static str) -> Self {
        self.registry.add_experiment(Shipped { name, text, is_full_size: false });
        self
    }

    /// Runs the command line. Worker processes run the same program and report on standard output, so `main` must not
    /// write anything else there.
    pub fn main(&self) -> ExitCode {
        cli::main(&self.registry)
    }
}

impl Default for Laboratory {
    fn default() -> Self {
        Self::new()
    }
}
