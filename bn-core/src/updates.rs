//! [`Updates`]: the moving-average updates of all layers of a net as one transaction.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::moments::Moments;
use crate::state::{Pending, State};

/// Pending updates of any number of layers, committed or discarded in one call.
///
/// By default a training forward commits its own update. A layer built with
/// [`BatchNorm::with_updates`](crate::BatchNorm::with_updates) leaves it here instead. A second training
/// forward before the commit merges its moments into the pending update, so accumulated gradients get
/// one update per optimizer step, with the statistics of all their micro-batches.
///
/// ```
/// use bn_core::{BatchNormConfig, Updates};
/// use candle::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
/// let updates = Updates::new();
/// let bn = BatchNormConfig::keras().build(2, vb)?.with_updates(&updates);
/// let x = Tensor::randn(0f32, 1., (8, 2), &Device::Cpu)?;
/// bn.forward_train(&x.narrow(0, 0, 4)?)?;
/// bn.forward_train(&x.narrow(0, 4, 4)?)?;
/// assert_eq!(updates.pending(), 1); // one layer, two forwards merged
/// updates.commit()?;
/// assert_eq!(bn.health()?.committed, 1);
/// # Ok::<(), bn_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Updates {
    layers: Arc<Mutex<Vec<Arc<State>>>>,
}

impl Updates {
    /// Nothing pending.
    pub fn new() -> Self {
        Self::default()
    }

    /// Layers with a pending update.
    pub fn pending(&self) -> usize {
        self.layers().len()
    }

    /// Moves the averages of every layer with a pending update, in the order of their first forward.
    /// Committing nothing is fine. An update with a non-finite statistic is refused and counted
    /// ([`Health::refused`](crate::Health::refused)).
    pub fn commit(&self) -> Result<()> {
        let layers = std::mem::take(&mut *self.layers());
        for layer in layers {
            let pending = lock(&layer.pending).take();
            if let Some(pending) = pending {
                layer.commit(&pending.moments)?;
            }
        }
        Ok(())
    }

    /// Forgets every pending update.
    pub fn discard(&self) {
        for layer in std::mem::take(&mut *self.layers()) {
            *lock(&layer.pending) = None;
        }
    }

    /// Leaves a batch's moments here, merged with what is pending of the same layer.
    pub(crate) fn leave(&self, layer: &Arc<State>, batch: Moments) -> Result<()> {
        let mut layers = self.layers();
        let mut pending = lock(&layer.pending);
        *pending = Some(match pending.take() {
            None => Pending { moments: batch, forwards: 1 },
            Some(old) => {
                Pending { moments: old.moments.merge(&batch)?, forwards: old.forwards + 1 }
            }
        });
        if !layers.iter().any(|known| Arc::ptr_eq(known, layer)) {
            layers.push(layer.clone());
        }
        Ok(())
    }

    fn layers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<State>>> {
        lock(&self.layers)
    }
}

/// Locks; a thread that panicked elsewhere has left whole values behind, since none is changed in parts.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
