// kernels._host: the CPU twins of the CUDA kernels. Its functions expect checked arguments; the public
// ones are in kernels/*.py.
#include "host.h"
#include "processor.h"

#ifdef _OPENMP
#include <omp.h>
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define MATTER_FORKS
#endif
#endif

NB_MODULE(_host, m) {
    matter::bind_preprocess(m);
    matter::bind_fusion(m);
    matter::bind_blend(m);
    matter::bind_pooling(m);
    matter::bind_foreground(m);
    matter::bind_composite(m);
    matter::bind_temporal(m);
#ifdef MATTER_FORKS
    // The threads that OpenMP keeps for a thread do not come along when that one forks, and waiting for
    // them would be for ever: in the child it works alone. Threads that begin there get their own.
    pthread_atfork(nullptr, nullptr, [] { omp_set_num_threads(1); });
#endif
    m.def("instructions", [] {
        const unsigned known = matter::instructions();
        nanobind::list names;
        unsigned bit = 1;
        for (const char* name : matter::instruction_names) {
            if (known & bit) names.append(name);
            bit <<= 1;
        }
        return nanobind::tuple(names);
    });
    m.def("processor_name", [] { return nanobind::str(matter::processor_name().text); });
#ifdef _OPENMP
    m.attr("openmp") = true;
#else
    m.attr("openmp") = false;
#endif
}
