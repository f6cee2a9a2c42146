//! A forward pass by the batch in one launch, whose threads hold x from its moments to y, and a backward pass, whose threads
//! hold x and dy from their sums to dx. They give the bits of the passes in several launches.

use std::collections::BTreeMap;
use std::sync::Mutex;

use candle::Result;
use candle::cuda_backend::WrapErr;
use candle::cuda_backend::cudarc::driver::sys::CUdevice_attribute::{
    CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
};
use candle::cuda_backend::cudarc::driver::{CudaFunction, PushKernelArg};
use candle::{DType, Tensor};

use super::arguments::{Back, Shape, Tail, Terms};
use super::formulas::{Own, kept};
use super::programs::File;
use super::{Cuda, are_aligned, config, lanes};
use crate::cuda::function;
use crate::engine::plan::{Pass, Plan, THREADS, whole};
use crate::engine::resident::{Fields, Kept, KeptGradients, Parameters};
use crate::tensors::cuda::{Memory, with_addresses};
use crate::tensors::lock;

/// By GPU, element type and kernel.
static BLOCKS_TOGETHER: Mutex<BTreeMap<(usize, usize, String), usize>> =
    Mutex::new(BTreeMap::new());

impl Cuda {
    /// The pass, where x fits into this GPU's threads.
    #[allow(unsafe_code)] // a launch is unsafe
    pub(super) fn in_one_launch(&self, by: &Parameters<'_>) -> Result<Option<Kept>> {
        let memory = [(&self.x).into(), self.residual.as_ref().into()];
        let Some((plan, kernel)) = self.whole(Pass::Forward, memory)? else { return Ok(None) };
        let (stream, tail) = (self.device.cuda_stream(), Tail::new(self.activation));
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

    /// The gradients, with those of the input, where x and dy fit into this GPU's threads.
    #[allow(unsafe_code)] // a launch is unsafe
    pub(super) fn gradients_in_one_launch(
        &self,
        fields: &Fields,
        dy: &Tensor,
        types: [DType; 2],
    ) -> Result<Option<KeptGradients>> {
        let memory = [(&self.x).into(), self.residual.as_ref().into(), dy.into()];
        let Some((plan, kernel)) = self.whole(Pass::Backward, memory)? else { return Ok(None) };
        let (stream, tail) = (self.device.cuda_stream(), Tail::new(self.activation));
        let sums = self.allocate(DType::F64, 2 * self.count() * plan.splits)?;
        let terms = self.allocate(DType::F64, 2 * self.count())?;
        let column = |dtype| self.allocate(kept(dtype), self.geometry.channels);
        let [gamma, beta] = [column(types[0])?, column(types[1])?];
        let arrived = Tensor::zeros((), DType::I64, self.x.device())?;
        let dx = self.like_x()?;
        let dv = self.room_for_dv()?;
        let memory = [
            (&self.x).into(),
            self.residual.as_ref().into(),
            dy.into(),
            (&fields.0).into(),
            (&sums).into(),
            (&terms).into(),
            (&gamma).into(),
            (&beta).into(),
            (&arrived).into(),
            (&dx).into(),
            dv.as_ref().into(),
        ];
        with_addresses(
            &stream,
            memory,
            |[x, residual, dy, fields, sums, terms, gamma, beta, arrived, dx, dv]| {
                let back = Back { x, residual, dy, channels: fields };
                let shape = Shape::new(self.geometry, &plan);
                let are_wide = types.map(|dtype| kept(dtype) == DType::F64);
                let of = Terms::new([sums, fields, terms, 0, gamma, beta], are_wide, shape);
                let mut launch = stream.launch_builder(&kernel);
                launch.arg(&back).arg(&shape).arg(&tail).arg(&of);
                launch.arg(&sums).arg(&arrived).arg(&dx).arg(&dv);
                // SAFETY: the arguments are those of `BACKWARD` in persistent.cu, which writes all of dx, dv and the gradients
                // of gamma and beta; the blocks of a cooperative launch run at the same time, or the launch fails.
                unsafe { launch.launch_cooperative(config(plan.blocks, THREADS)?) }.w()?;
                Ok(())
            },
        )?;
        Ok(Some(KeptGradients {
            gamma: gamma.into_tensor().to_dtype(types[0])?,
            beta: beta.into_tensor().to_dtype(types[1])?,
            dx: Some(dx),
            dv,
        }))
    }

    /// Plan and kernel of a pass in one launch over this memory, where it fits into this GPU's threads. Memory that the pass
    /// writes is new, and so aligned.
    fn whole<const N: usize>(
        &self,
        pass: Pass,
        memory: [Memory<'_>; N],
    ) -> Result<Option<(Plan, CudaFunction)>> {
        let plan = with_addresses(&self.device.cuda_stream(), memory, |addresses| {
            Ok(whole(pass, self.geometry, lanes(self.x.dtype()), are_aligned(&addresses)))
        })?;
        let Some(plan) = plan else { return Ok(None) };
        let layout = if plan.rows { "rows" } else { "columns" };
        let pass = match pass {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
        };
        let name = format!("{pass}_{layout}_{}", Tail::new(self.activation).name());
        let program = File::Persistent.program(self.x.dtype())?;
        let kernel = function(&self.device, &program, &name)?;
        let most = self.blocks_together(program.element, name, &kernel)?;
        Ok((plan.blocks <= most).then_some((plan, kernel)))
    }

    /// How many blocks of a kernel this GPU runs at the same time, 0 if it launches none together. The driver is asked
    /// once for each kernel, since a step waits for its answer.
    fn blocks_together(
        &self,
        element: usize,
        name: String,
        kernel: &CudaFunction,
    ) -> Result<usize> {
        let stream = self.device.cuda_stream();
        let context = stream.context();
        let key = (context.ordinal(), element, name);
        if let Some(blocks) = lock(&BLOCKS_TOGETHER).get(&key) {
            return Ok(*blocks);
        }
        let attribute = |of| context.attribute(of).w();
        let mut blocks = 0;
        if attribute(CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)? != 0 {
            let multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
            let of_each =
                kernel.occupancy_max_active_blocks_per_multiprocessor(THREADS as u32, 0, None);
            blocks = multiprocessors as usize * of_each.w()? as usize;
        }
        lock(&BLOCKS_TOGETHER).insert(key, blocks);
        Ok(blocks)
    }
}
