// kernels._host: the CPU twins of the CUDA kernels. Its functions expect checked arguments; the public
// ones are in kernels/*.py.
#include "host.h"

NB_MODULE(_host, m) {
    matter::bind_preprocess(m);
    matter::bind_fusion(m);
    matter::bind_blend(m);
    matter::bind_pooling(m);
    matter::bind_foreground(m);
    matter::bind_composite(m);
    matter::bind_temporal(m);
#ifdef _OPENMP
    m.attr("openmp") = true;
#else
    m.attr("openmp") = false;
#endif
}
