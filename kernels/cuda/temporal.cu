// CUDA wrapper of include/temporal.h.
