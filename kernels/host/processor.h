// What the processor can do, as it or its system says. Without the standard library, whose headers on
// Windows clash with <cpuid.h>.
#pragma once

namespace matter {

// Instructions that choices depend on, as Linux calls them.
constexpr const char* instruction_names[] = {
    "avx2",     "avx512f",  "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16",
    "amx_int8", "asimd",    "asimddp",     "bf16",     "i8mm"};
enum Instruction : unsigned {
    AVX2 = 1,
    AVX512F = 2,
    AVX512_VNNI = 4,
    AVX_VNNI = 8,
    AVX512_BF16 = 16,
    AMX_BF16 = 32,
    AMX_INT8 = 64,
    ASIMD = 128,
    ASIMDDP = 256,
    BF16 = 512,
    I8MM = 1024,
};

// Those that this process may use.
unsigned instructions();

// The model's name, or nothing where the processor has none to give.
struct Name {
    char text[64];
};
Name processor_name();

}  // namespace matter
