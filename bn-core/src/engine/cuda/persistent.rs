//! A forward pass by the batch in one launch, whose threads hold x from its moments to y. It gives the bits of the pass in
//! several launches.

use candle::Result;
use candle::cuda_backend::WrapErr;
use candle::cuda_backend::cudarc::driver::sys::CUdevice_attribute::{
    CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
};
use candle::cuda_backend::cudarc::driver::{CudaFunction, PushKernelArg};
use candle::{DType, Tensor};

use super::arguments::{Shape, Tail};
use super::formulas::Own;
use super::programs::File;
use super::{Cuda, config, lanes};
use crate::engine::plan::{Plan, THREADS, whole};
use crate::engine::resident::{Kept, Parameters};
use crate::tensors::cuda::with_addresses;

impl Cuda {
    /// The pass, where x fits into this GPU's threads.
    #[allow(unsafe_code)] // a launch is unsafe
    pub(super) fn in_one_launch(&self, by: &Parameters<'_>) -> Result<Option<Kept>> {
        let stream = self.device.cuda_stream();
        let memory = [(&self.x).into(), self.residual.as_ref().into()]; // new memory is aligned
        let plan = with_addresses(&stream, memory, |addresses| {
            let aligned = addresses.iter().all(|address| address.is_multiple_of(16));
            Ok(whole(self.geometry, lanes(self.x.dtype()), aligned))
        })?;
        let Some(plan) = plan else { return Ok(None) };
        let tail = Tail::new(self.activation);
        let layout = if plan.rows { "rows" } else { "columns" };
        let name = format!("forward_{layout}_{}", tail.name());
        let kernel = self.function(File::Persistent, &name)?;
        if !self.runs_together(&kernel, &plan)? {
            return Ok(None);
        }
        let own = Own::new(self, by)?;
        let y = self.like_x()?;
        let parts = self.allocate(DType::F64, 3 * self.count() * plan.splits)?;
        let arrived = Tensor::zeros((), DType::I64, self.x.device())?;
        let [a, b, c, d, e, f, g, h] = own.memory();
        let memory = [
            (&self.x).into(),
            self.residual.as_ref().into(),
            (&parts).into(),
            (&arrived).into(),
            (&y).into(),
            a,
            b,
            c,
            d,
            e,
            f,
            g,
            h,
        ];
        with_addresses(&stream, memory, |[x, residual, parts, arrived, y, rest @ ..]| {
            let arguments = own.arguments(self, parts, plan.splits, rest);
            let shape = Shape::new(self.geometry, &plan);
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(&x).arg(&residual).arg(&shape).arg(&tail).arg(&arguments);
            launch.arg(&parts).arg(&arrived).arg(&y);
            // SAFETY: the arguments are those of `FORWARD` in persistent.cu, which writes all of y, the fields and the batch;
            // the blocks of a cooperative launch run at the same time, or the launch fails.
            unsafe { launch.launch_cooperative(config(plan.blocks, THREADS)?) }.w()?;
            Ok(())
        })?;
        let (fields, batch) = own.found(self)?;
        Ok(Some(Kept { y, fields, batch }))
    }

    /// Whether this GPU runs all blocks of a plan at the same time.
    fn runs_together(&self, kernel: &CudaFunction, plan: &Plan) -> Result<bool> {
        let stream = self.device.cuda_stream();
        let context = stream.context();
        if context.attribute(CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH).w()? == 0 {
            return Ok(false);
        }
        let multiprocessors = context.attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT).w()?;
        let on_each =
            kernel.occupancy_max_active_blocks_per_multiprocessor(THREADS as u32, 0, None).w()?;
        Ok(plan.blocks <= multiprocessors as usize * on_each as usize)
    }
}
