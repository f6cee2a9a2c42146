#pragma once

// Checks the passes over tensors; with a share, every share-th case.
void check_passes(unsigned share);
