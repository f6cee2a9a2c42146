// Checks of the kernels that hold x.
#pragma once

// Runs one of `share` cases.
void check_persistent(unsigned share);
