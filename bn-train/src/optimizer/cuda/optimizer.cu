// Optimizer updates of many variables in one launch, and the norm of their gradients. optimizer/rules.rs has the same
// formulas for the CPU; compiled without fused multiply-adds, both give the same numbers. ops/gpu/block.cu comes before it.

// Elements of a block.
constexpr Index CHUNK = 4096;

// A variable, its gradient, and where its state stands in the flat buffers.
struct Variable {
    float* weight;
    const float* gradient;
    // Of the state in each buffer.
    Index start;
    Index elements;
    // The first of its blocks in this launch.
    Index block;
    // Weight decay that is added to the gradient, and the factor of the weight from decoupled decay.
    double weight_decay, kept;
    // Factor of the update: the learning rate, for Adam over the first bias correction.
    double rate;
    // Adam: inverse square root of the second bias correction.
    double inv_root;
};

constexpr int VARIABLES = 48;

// As many as a launch's arguments hold.
struct Variables {
    Index count;
    Variable of[VARIABLES];
};

struct Update {
    // State, one value per element.
    float* buffers[2];
    // A sum of losses: where it is not finite, nothing is updated. Null: always update.
    const double* watch;
    // The sum of squares of all gradients, which are scaled down to a norm of clip_norm. Null: no clipping.
    const double* squares;
    double clip_norm;
    // Sgd: momentum. Adam: beta1, beta2, epsilon. RMSProp: decay, momentum, epsilon.
    double first, second, epsilon;
    Index nesterov;
};

// The variable that this block has a chunk of.
__device__ inline const Variable& variable_of(const Variables& variables) {
    Index at = 0;
    while (at + 1 < variables.count && variables.of[at + 1].block <= blockIdx.x) ++at;
    return variables.of[at];
}

// f(index of an element) for this thread's part of the block's chunk.
template <class F> __device__ inline void each(const Variable& variable, F f) {
    const Index first = (blockIdx.x - variable.block) * CHUNK;
    const Index end = first + CHUNK < variable.elements ? first + CHUNK : variable.elements;
    for (Index i = first + threadIdx.x; i < end; i += blockDim.x) f(i);
}

// The sum of squares of each block's part of the gradients, into parts[first + block].
KERNEL gradient_squares(Variables variables, Index first, double* parts) {
    SHARED(double, shared, MOST_THREADS);
    const Variable& variable = variable_of(variables);
    double own = 0;
    each(variable, [&](Index i) { own += (double)variable.gradient[i] * (double)variable.gradient[i]; });
    const double all = sum_over_block(own, shared);
    if (threadIdx.x == 0) parts[first + blockIdx.x] = all;
}

// The sum of `count` parts. One block.
KERNEL total_squares(const double* parts, Index count, double* total) {
    SHARED(double, shared, MOST_THREADS);
    double own = 0;
    for (Index i = threadIdx.x; i < count; i += blockDim.x) own += parts[i];
    const double all = sum_over_block(own, shared);
    if (threadIdx.x == 0) *total = all;
}

__device__ inline bool is_stopped(const Update& update) { return update.watch && !(*update.watch - *update.watch == 0); }

// As `clip::scale`.
__device__ inline float scale_of(const Update& update) {
    if (!update.squares) return 1;
    const double scale = update.clip_norm / (sqrt(*update.squares) + 1e-6);
    // NaN: the norm of gradients that are not numbers bounds nothing.
    return scale < 1 ? (float)scale : 1;
}

// The scaled gradient plus the weight decay.
__device__ inline float decayed(const Variable& variable, float scale, Index i) {
    return variable.gradient[i] * scale + variable.weight[i] * (float)variable.weight_decay;
}

KERNEL update_sgd(Variables variables, Update update) {
    if (is_stopped(update)) return;
    const Variable& variable = variable_of(variables);
    float* velocities = update.buffers[0] + variable.start;
    const float scale = scale_of(update), momentum = (float)update.first, rate = (float)variable.rate;
    each(variable, [&](Index i) {
        const float gradient = decayed(variable, scale, i);
        const float velocity = velocities[i] * momentum + gradient;
        const float direction = update.nesterov ? gradient + velocity * momentum : velocity;
        velocities[i] = velocity;
        variable.weight[i] -= direction * rate;
    });
}

KERNEL update_adam(Variables variables, Update update) {
    if (is_stopped(update)) return;
    const Variable& variable = variable_of(variables);
    float *means = update.buffers[0] + variable.start, *squares = update.buffers[1] + variable.start;
    const float scale = scale_of(update), rate = (float)variable.rate, kept = (float)variable.kept;
    const float beta1 = (float)update.first, beta2 = (float)update.second;
    const float rest1 = (float)(1 - update.first), rest2 = (float)(1 - update.second);
    const float inv_root = (float)variable.inv_root, epsilon = (float)update.epsilon;
    each(variable, [&](Index i) {
        const float gradient = decayed(variable, scale, i);
        const float mean = means[i] * beta1 + gradient * rest1;
        const float square = squares[i] * beta2 + (gradient * gradient) * rest2;
        const float root = sqrtf(square) * inv_root + epsilon;
        means[i] = mean;
        squares[i] = square;
        variable.weight[i] = variable.weight[i] * kept - (mean * rate) / root;
    });
}

KERNEL update_rmsprop(Variables variables, Update update) {
    if (is_stopped(update)) return;
    const Variable& variable = variable_of(variables);
    float *squares = update.buffers[0] + variable.start, *velocities = update.buffers[1] + variable.start;
    const float scale = scale_of(update), rate = (float)variable.rate;
    const float decay = (float)update.first, rest = (float)(1 - update.first);
    const float momentum = (float)update.second, epsilon = (float)update.epsilon;
    each(variable, [&](Index i) {
        const float gradient = decayed(variable, scale, i);
        const float square = squares[i] * decay + (gradient * gradient) * rest;
        const float velocity = velocities[i] * momentum + gradient / (sqrtf(square) + epsilon);
        squares[i] = square;
        velocities[i] = velocity;
        variable.weight[i] -= velocity * rate;
    });
}
