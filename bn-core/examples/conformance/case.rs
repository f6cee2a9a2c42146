//! One case file: its configuration and tensors, each of which must be fed in or compared.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bn_core::Error;
use candle::{DType, Device, Tensor};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Why a case fails, in words.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// A message; any error turns into one.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure(error.to_string())
    }
}

impl From<candle::Error> for Failure {
    fn from(error: candle::Error) -> Self {
        Failure(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure(message)
    }
}

/// A case, with a note of what has been used of it.
pub(crate) struct Case {
    settings: Map<String, Value>,
    tensors: BTreeMap<String, Tensor>,
    used: RefCell<BTreeSet<String>>,
    tolerance: f64,
    device: Device,
}

impl Case {
    pub(crate) fn load(path: &Path, device: &Device) -> Outcome<Self> {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let (_, header) =
            safetensors::SafeTensors::read_metadata(&bytes).map_err(|error| error.to_string())?;
        let entry = header.metadata().as_ref().and_then(|entries| entries.get("case"));
        let text = entry.ok_or_else(|| "no `case` entry in the file's metadata".to_owned())?;
        let settings: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("`case`: {error}"))?;
        let tensors = candle::safetensors::load_buffer(&bytes, device)?.into_iter().collect();
        let mut case = Self {
            settings,
            tensors,
            used: RefCell::default(),
            tolerance: 0.0,
            device: device.clone(),
        };
        case.tolerance = case.get("tolerance")?;
        for about in ["name", "source"] {
            case.get::<String>(about)?;
        }
        Ok(case)
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// A setting; an error where it is missing or of another type.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &str) -> Outcome<T> {
        let value = self.settings.get(key).cloned();
        let value = value.ok_or_else(|| format!("no key `{key}`"))?;
        self.used.borrow_mut().insert(format!("key `{key}`"));
        serde_json::from_value(value).map_err(|error| Failure(format!("key `{key}`: {error}")))
    }

    /// A setting that has one of these meanings.
    pub(crate) fn one_of<T: Clone>(&self, key: &str, meanings: &[(&str, T)]) -> Outcome<T> {
        let value = self.get::<Option<String>>(key)?.unwrap_or_else(|| "null".to_owned());
        let found = meanings.iter().find(|(name, _)| *name == value);
        let known = || meanings.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        found.map(|(_, meaning)| meaning.clone()).ok_or_else(|| {
            Failure(format!("key `{key}`: expected one of {}, got `{value}`", known()))
        })
    }

    /// A tensor that must be there.
    pub(crate) fn tensor(&self, name: &str) -> Outcome<Tensor> {
        self.optional(name).ok_or_else(|| Failure(format!("no tensor `{name}`")))
    }

    /// A tensor that may be there.
    pub(crate) fn optional(&self, name: &str) -> Option<Tensor> {
        let tensor = self.tensors.get(name)?;
        self.used.borrow_mut().insert(format!("tensor `{name}`"));
        Some(tensor.clone())
    }

    /// A tensor as numbers, one per channel.
    pub(crate) fn values(&self, name: &str) -> Outcome<Vec<f64>> {
        Ok(self.tensor(name)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
    }

    /// Holds a result against the tensor of that name: same shape, `|got − want| ≤ tolerance · (1 + |want|)`.
    pub(crate) fn compare(&self, name: &str, got: &Tensor) -> Outcome<()> {
        let want = self.tensor(name)?;
        if got.dims() != want.dims() {
            return Err(Failure(format!(
                "{name}: expected shape {:?}, got {:?}",
                want.dims(),
                got.dims()
            )));
        }
        let flat = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let (got, want) = (flat(got)?, flat(&want)?);
        let errors = got.iter().zip(&want).map(|(g, w)| (g - w).abs() / (1.0 + w.abs()));
        // `max` would drop NaN, which is the largest error there is.
        let largest = errors.fold(0.0, |a: f64, e| if e.is_nan() || e > a { e } else { a });
        if largest <= self.tolerance {
            return Ok(());
        }
        let tolerance = self.tolerance;
        Err(Failure(format!("{name}: largest error {largest:.3e}, allowed {tolerance:.0e}")))
    }

    /// [`Case::compare`] where the case has such a tensor.
    pub(crate) fn compare_if_there(&self, name: &str, got: &Tensor) -> Outcome<()> {
        match self.tensors.contains_key(name) {
            true => self.compare(name, got),
            false => Ok(()),
        }
    }

    /// Fails where a key or tensor was neither fed in nor compared.
    pub(crate) fn require_all_used(&self) -> Outcome<()> {
        let keys = self.settings.keys().map(|key| format!("key `{key}`"));
        let tensors = self.tensors.keys().map(|name| format!("tensor `{name}`"));
        let used = self.used.borrow();
        let unused: Vec<String> = keys.chain(tensors).filter(|what| !used.contains(what)).collect();
        match unused.is_empty() {
            true => Ok(()),
            false => Err(Failure(format!("neither fed in nor compared: {}", unused.join(", ")))),
        }
    }
}
