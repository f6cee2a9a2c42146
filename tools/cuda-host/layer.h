#pragma once

// Checks whole steps against a file of cases; with a share, every share-th case.
void check_layers(const char* path, unsigned share);
