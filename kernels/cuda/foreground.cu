// CUDA wrapper of include/foreground.h.
