//! [`Updates`]: the updates of several layers' moving statistics as one transaction.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::Result;
use crate::state::{Pending, State};
use crate::tensors::lock;

/// Pending updates of any number of layers, to be committed or discarded together.
///
/// By default each training pass commits its own update. A layer with
/// [`BatchNorm::with_updates`](crate::BatchNorm::with_updates) stores it here instead. Further training passes
/// before the commit merge their moments into the pending update: with accumulated gradients, one optimizer step
/// makes one update, with the statistics of all its micro-batches.
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

    /// Number of layers with a pending update.
    pub fn pending(&self) -> usize {
        self.layers().len()
    }

    /// Commits every pending update. An update with a non-finite statistic is refused and counted
    /// ([`Health::refused`](crate::Health::refused)).
    /// # Errors
    /// [`Candle`](crate::ErrorKind::Candle) if a variable cannot be read; all updates stay pending then.
    pub fn commit(&self) -> Result<()> {
        let mut layers = self.layers();
        // All layers are locked at once, in an order that other transactions share.
        let mut ordered: Vec<&Arc<State>> = layers.iter().collect();
        ordered.sort_by_key(|state| Arc::as_ptr(state).addr());
        let mut open: Vec<_> = ordered.into_iter().map(|state| (state, state.ledger())).collect();
        let mut prepared = Vec::with_capacity(open.len());
        for (state, ledger) in &open {
            let batch = ledger.pending.as_ref().map(|pending| pending.moments.clone());
            prepared.push(batch.map(|batch| state.prepare(ledger, batch, None)).transpose()?);
        }
        for ((state, ledger), prepared) in open.iter_mut().zip(prepared) {
            if let Some(prepared) = prepared {
                state.apply(ledger, prepared)?;
            }
            ledger.pending = None;
        }
        drop(open);
        layers.clear();
        Ok(())
    }

    /// Drops every pending update.
    pub fn discard(&self) {
        for layer in std::mem::take(&mut *self.layers()) {
            layer.ledger().pending = None;
        }
    }

    /// Stores an update, merged with a pending one of the same layer.
    pub(crate) fn leave(&self, layer: &Arc<State>, update: Pending) {
        let mut layers = self.layers();
        let pending = &mut layer.ledger().pending;
        match pending {
            Some(pending) => {
                pending.moments.absorb(&update.moments);
                pending.forwards += update.forwards;
            }
            None => *pending = Some(update),
        }
        if !layers.iter().any(|known| Arc::ptr_eq(known, layer)) {
            layers.push(layer.clone());
        }
    }

    fn layers(&self) -> MutexGuard<'_, Vec<Arc<State>>> {
        lock(&self.layers)
    }
}
