// CUDA wrapper of include/composite.h.
