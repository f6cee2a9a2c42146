// All of the harness as one translation unit, since kernels have C names and are defined where they are included.

#include "passes.cpp"
//
#include "persistent.cpp"
//
#include "layer.cpp"
//
#include "optimizer.cpp"
//
#include "loss.cpp"
//
#include "main.cpp"
