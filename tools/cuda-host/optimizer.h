// Checks of the optimizer's kernels.
#pragma once

// Runs one of `share` cases.
void check_optimizer(unsigned share);
