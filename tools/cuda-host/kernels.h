// The kernels' own text, for one element type (-DELEMENT=1 to 4), and the choice of a kernel by layout and vectors.
// KERNELS is the folder; a mutant is a changed copy of it.
#pragma once

#include "shim.h"
//
#include "common.cu"
//
#include "moments.cu"
//
#include "normalize.cu"
//
#include "gradient.cu"
//
#include "formulas.cu"
//
#include "commit.cu"
//
#include "persistent.cu"
//
#include "block.cu"
//
#include "optimizer.cu"
//
#include "loss.cu"
// What Rust declares, by layout.awk.
#include "layout.h"

inline const char* const ELEMENT_NAME = ELEMENT == F32 ? "f32" : ELEMENT == F64 ? "f64" : ELEMENT == F16 ? "f16" : "bf16";

// How a call is launched; the Rust code decides the same by the same rules (engine/cuda/plan.rs).
struct Launch {
    Shape shape;
    bool rows, vectors;

    Launch(Index outer, Index channels, Index inner, Index group, Index splits, bool allow_vectors = true)
        : shape{outer, channels, inner, group, splits, 1}, rows(inner > 1) {
        vectors = allow_vectors && (rows ? inner : channels) % VECTOR == 0;
        if (!rows) {
            const Index columns = (channels + lanes() - 1) / lanes();
            const Index most = std::min<Index>(32, host::block->threads());
            while (shape.width < columns && shape.width < most) shape.width *= 2;
        }
    }

    Index lanes() const { return vectors ? VECTOR : 1; }
    Index groups() const { return (shape.outer + shape.group - 1) / shape.group; }
    Index blocks() const {
        const Index run = shape.width * lanes();
        return groups() * shape.splits * (rows ? shape.channels : (shape.channels + run - 1) / run);
    }
    Index elements() const { return shape.outer * shape.channels * shape.inner; }
};

// One of the kernels of a family, by layout, vectors and activation.
#define BY_ACTIVATION(FAMILY, LAUNCH, KIND)                                                  \
    (!(LAUNCH).vectors ? ((LAUNCH).rows ? FAMILY##_rows_single_any : FAMILY##_columns_single_any) \
     : (LAUNCH).rows                                                                         \
         ? ((KIND) == NONE ? FAMILY##_rows_vector_none                                       \
            : (KIND) == RELU ? FAMILY##_rows_vector_relu : FAMILY##_rows_vector_any)         \
         : ((KIND) == NONE ? FAMILY##_columns_vector_none                                    \
            : (KIND) == RELU ? FAMILY##_columns_vector_relu : FAMILY##_columns_vector_any))

inline auto moments_kernel(const Launch& launch, bool weighted) {
    if (weighted) return launch.rows ? moments_rows_weighted : moments_columns_weighted;
    if (!launch.vectors) return launch.rows ? moments_rows_single : moments_columns_single;
    return launch.rows ? moments_rows_vector : moments_columns_vector;
}

inline auto input_gradient_kernel(const Launch& launch, bool weighted, Index kind) {
    if (weighted) return launch.rows ? input_gradient_rows_weighted_any : input_gradient_columns_weighted_any;
    return BY_ACTIVATION(input_gradient, launch, kind);
}
