// Checks of the loss's kernel.
#pragma once

// Runs one of `share` cases.
void check_loss(unsigned share);
