// Foreground over background by alpha: the compositing equation I = alpha F + (1 - alpha) B.
#pragma once

#include "matter.h"

namespace matter {

// Alpha is clamped to 0..1. NaN becomes 0, background: `NaN > 0` is false.
MATTER_HD float unit(float alpha) {
    const float low = alpha > 0.0f ? alpha : 0.0f;
    return low < 1.0f ? low : 1.0f;
}

// `alpha` in 0..1. Rounded to nearest (halves up); with alpha 0 and 1 exactly the background and the
// foreground. The value lies between the two 8-bit inputs, so the conversion cannot overflow.
MATTER_HD u8 blend(u8 foreground, u8 background, float alpha) {
    const float below = float(background);
    return u8(int(below + alpha * (float(foreground) - below) + 0.5f));
}

}  // namespace matter
