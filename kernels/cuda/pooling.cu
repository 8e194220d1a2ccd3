// CUDA wrapper of include/pooling.h.
