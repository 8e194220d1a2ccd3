// Neighbouring values as one, for a GPU's threads: whole words are read and written.
#pragma once

#include "matter.h"

namespace matter {

// Aligned for the widest loads that its size allows.
template <class T, int N>
struct alignas(N * sizeof(T) % 16 == 0 ? 16 : N * sizeof(T) % 8 == 0 ? 8 : 4) Pack {
    T value[N];
};

template <class P>
MATTER_HD bool aligned(const void* address) {
    return (unsigned long long)(address) % alignof(P) == 0;
}

template <class T, int N>
MATTER_HD void load(Pack<T, N>& pack, const T* from, int count) {
    if (count == N && aligned<Pack<T, N>>(from)) {
        pack = *(const Pack<T, N>*)(from);
    } else {
        for (int i = 0; i < N; ++i) pack.value[i] = i < count ? from[i] : T(0);
    }
}

template <class T, int N>
MATTER_HD void store(T* to, const Pack<T, N>& pack, int count) {
    if (count == N && aligned<Pack<T, N>>(to)) {
        *(Pack<T, N>*)(to) = pack;
    } else {
        for (int i = 0; i < N; ++i)
            if (i < count) to[i] = pack.value[i];
    }
}

}  // namespace matter
