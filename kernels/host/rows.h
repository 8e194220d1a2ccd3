// Row loops that the compiler vectorises, compiled for several instruction sets where the toolchain can:
// the right one is chosen when the module is loaded, so one wheel fits every x86-64 machine.
//
// OpenMP outlines a loop body into a function of its own, which would lose the attribute; so the loops
// over rows call these functions, never the other way round.
#pragma once

#ifdef MATTER_HAVE_CLONES
#define MATTER_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define MATTER_CLONES
#endif

// Of the loop below: its turns may run at once, though arrays may be one and the same.
#ifdef __clang__
#define MATTER_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define MATTER_IVDEP _Pragma("GCC ivdep")
#endif

// Part of such a function: left to itself the compiler may keep it apart, for the oldest processor.
#define MATTER_PART __attribute__((always_inline)) inline

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>

namespace matter {

// The samples of a pixel share its weight. It is written out for each, so that the blend itself is a
// plain loop over samples, which vectorises.
template <int Samples, class T>
MATTER_PART void repeat(const T* weights, T* each, long long n) {
    for (long long i = 0; i < n; ++i)
        for (int c = 0; c < Samples; ++c) each[Samples * i + c] = weights[i];
}

// How many times the work of a blended pixel it is to estimate its colour.
constexpr int colour_work = 3;

// Threads for `pixels` of work. A frame up to 1080p whose colours are not estimated stays on the caller's
// thread: it takes about a millisecond, and threads that wake and spin for it take cores from the stages
// that run beside it.
inline int threads_for(long long pixels) {
#ifdef _OPENMP
    const long long share = 1 << 21;
    const long long wanted = (pixels + share / 2) / share;
    return int(std::max(1LL, std::min<long long>(wanted, omp_get_max_threads())));
#else
    (void)pixels;
    return 1;
#endif
}

}  // namespace matter
