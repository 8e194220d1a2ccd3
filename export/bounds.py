"""Limits on the difference from PyTorch, by network and arithmetic, with what was measured."""

from __future__ import annotations

# Mean absolute difference of alpha (MAD). The largest difference is reported but not judged: where
# two classes meet, the last bit of any arithmetic can flip a pixel.
#
# float32: another order of additions, about 1e-6. "float16 weights": float32 arithmetic on weights
# rounded to 11 bits. float16: half an 8-bit step, 2e-3, which is what saving a matte rounds by,
# unless the network gives a reason for more. bfloat16 keeps 8 bits where float16 keeps 11.
# tf32: float32 sums of products whose factors, activations too, are rounded to 11 bits.
# "bfloat16 (auto)": chosen by us, not the user, so it must stay within one 8-bit step.
#
# Measured at 288×512: the largest over the verification pictures and 11 photographs. "drawn":
# weights by the recipe of the reference outputs; "random": those of export.random_weights, which
# amplify rounding tenfold.
MAD_BOUND: dict[str, dict[str, float]] = {
    # The arg-max: where two classes are as probable, half precision moves their border by a pixel.
    "gfm": {
        "float32": 1e-4,  # drawn 4e-7, random 7e-6
        "float16 weights": 1e-3,  # demo 1.1e-4, drawn 7e-4, random 5e-3
        "tf32": 1e-3,  # demo 1.5e-4, random 1.6e-3
        "float16": 2e-3,  # demo 2.2e-4, drawn 9e-4, random 7e-3
        "bfloat16": 1e-2,  # demo 1.8e-3, drawn 5.4e-3, random 5e-2
        "bfloat16 (auto)": 4e-3,
    },
    # GFM's layers, and so its bounds.
    "gfm-plate": {
        "float32": 1e-4,  # random 1e-6
        "float16 weights": 1e-3,  # demo 3.7e-5, random 1.2e-3
        "tf32": 1e-3,  # random 2.0e-3
        "float16": 2e-3,  # demo 8.0e-5, random 3.2e-3
        "bfloat16": 1e-2,  # demo 4.8e-4, random 2.3e-2
        "bfloat16 (auto)": 4e-3,
    },
    # The same, and the max-pools: where two pixels of a window become equal by rounding, a feature
    # is unpooled to the neighbour of the pixel that it came from.
    "aim": {
        "float32": 1e-4,  # drawn 3e-6, random 1e-5
        "float16 weights": 1e-3,  # drawn 5e-4, random 2.6e-3
        "tf32": 2e-3,  # random 4.0e-3
        "float16": 3e-3,  # drawn 1.5e-3, random 5.8e-3
        "bfloat16": 1.5e-2,  # drawn 8.2e-3, random 3.2e-2
        "bfloat16 (auto)": 4e-3,
    },
    # Smooth from end to end, no class and no index: nothing jumps. 105 layers, all of them random
    # in what was measured.
    "msia": {
        "float32": 1e-4,  # random 2e-6
        "float16 weights": 1e-3,  # random 1.7e-3
        "tf32": 1e-3,  # random 2.2e-3
        "float16": 2e-3,  # random 2.6e-3
        "bfloat16": 1e-2,  # random 1.8e-2
        "bfloat16 (auto)": 4e-3,
    },
    # Smooth too, but a clamp in place of a sigmoid: what the last convolution was rounded by is
    # alpha's own error (half of 2⁻¹¹ near 1), and no flat end of a curve hides it.
    "sim": {
        "float32": 1e-4,  # random 2e-6
        "float16 weights": 1e-3,  # random 1.4e-3
        "tf32": 1e-3,
        "float16": 2e-3,  # random 2.6e-3
        "bfloat16": 1e-2,  # random 2.0e-2
        "bfloat16 (auto)": 4e-3,
    },
    # Activation maps, relative to their range over the picture: that is what the semantic trimap
    # scales them by. It is one of SIM's inputs, and what is off in it is off before that network.
    "sim_classifier": {
        "float32": 1e-4,  # random 3e-7
        "float16 weights": 1e-3,  # random 2.2e-4
        "tf32": 1e-3,
        "float16": 1e-3,  # random 3.6e-4
        "bfloat16": 1e-2,  # random 2.9e-3
        "bfloat16 (auto)": 4e-3,
    },
}
# Relative SAD: SAD over the sum of PyTorch's alpha (or over 1 % of the pixels, where that is more).
SHARE_BOUND = {
    "float16 weights": 0.02,
    "float16": 0.02,
    "int8": 0.10,  # demo 4 to 5 %
    "int8 bfloat16": 0.10,
}

# Factor on the limits for random weights, which amplify rounding from layer to layer (resnet101,
# the deepest: 2.0e-2 by float16 weights). Only the limits for trained weights mean something.
RANDOM_FACTOR = 40
