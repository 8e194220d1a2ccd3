#include "processor.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(_M_ARM64)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

namespace matter {
namespace {

unsigned when(bool can, Instruction instruction) { return can ? instruction : 0u; }

#if defined(__APPLE__) && !defined(__x86_64__)
bool says(const char* name) {
    int value = 0;
    unsigned long size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}
#endif

}  // namespace

#if defined(__x86_64__)

unsigned instructions() {
    unsigned a, b, c, d, most;
    if (!__get_cpuid_count(7, 0, &most, &b, &c, &d)) return 0;
    const unsigned b7 = b, c7 = c, d7 = d;
    unsigned a71 = 0;
    if (most >= 1) __get_cpuid_count(7, 1, &a71, &b, &c, &d);
    __get_cpuid(1, &a, &b, &c, &d);
    if (!(c >> 27 & 1)) return 0;  // OSXSAVE: the system tells which registers it keeps
    unsigned kept, high;
    __asm__("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
    const bool avx = (kept & 0x6) == 0x6;
    const bool wide = avx && (kept & 0xe0) == 0xe0;
    const bool tiles = (kept & 0x60000) == 0x60000;
    return when(avx && b7 >> 5 & 1, AVX2) | when(wide && b7 >> 16 & 1, AVX512F) |
           when(wide && c7 >> 11 & 1, AVX512_VNNI) | when(avx && a71 >> 4 & 1, AVX_VNNI) |
           when(wide && a71 >> 5 & 1, AVX512_BF16) | when(tiles && d7 >> 22 & 1, AMX_BF16) |
           when(tiles && d7 >> 25 & 1, AMX_INT8);
}

#elif defined(__APPLE__)

unsigned instructions() {
    return ASIMD | when(says("hw.optional.arm.FEAT_DotProd"), ASIMDDP) |
           when(says("hw.optional.arm.FEAT_BF16"), BF16) |
           when(says("hw.optional.arm.FEAT_I8MM"), I8MM);
}

#elif defined(__aarch64__) && defined(__linux__)

unsigned instructions() {
    const unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
    return when(one >> 1 & 1, ASIMD) | when(one >> 20 & 1, ASIMDDP) | when(two >> 14 & 1, BF16) |
           when(two >> 13 & 1, I8MM);
}

#elif defined(_M_ARM64)

unsigned instructions() {
    constexpr unsigned dot_product = 43;  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
    return ASIMD | when(IsProcessorFeaturePresent(dot_product), ASIMDDP);
}

#else

unsigned instructions() { return 0; }

#endif

Name processor_name() {
    Name name = {};
#if defined(__APPLE__)
    unsigned long size = sizeof name.text - 1;
    sysctlbyname("machdep.cpu.brand_string", name.text, &size, nullptr, 0);
#elif defined(__x86_64__)
    unsigned word[4] = {};
    if (!__get_cpuid(0x80000004, &word[0], &word[1], &word[2], &word[3])) return name;
    for (unsigned leaf = 0; leaf < 3; ++leaf) {
        __get_cpuid(0x80000002 + leaf, &word[0], &word[1], &word[2], &word[3]);
        __builtin_memcpy(name.text + 16 * leaf, word, sizeof word);
    }
#endif
    return name;
}

}  // namespace matter
