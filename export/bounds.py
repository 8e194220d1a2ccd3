"""How far a matte may be from PyTorch's, by network and arithmetic, with what was measured."""

from __future__ import annotations

# The most that alpha may differ from PyTorch's, as a mean over all pixels. (Its largest difference
# is shown, but judges nothing where classes meet: a pixel that is on the edge of two falls to
# either side, and its alpha jumps, however exact the arithmetic is.)
#
# float32: runtimes add in another order, some 1e-6. "float16 weights": float32 arithmetic, with
# weights rounded to 11 bits. float16: half an 8-bit level, 2e-3, what a saved matte is rounded by,
# unless the network has a reason for more. bfloat16 keeps 8 bits where float16 keeps 11. "bfloat16
# unasked" is a CPU's, which is taken only within one 8-bit level, since nobody asked for it.
#
# Measured at 288×512, largest of the verification pictures and of 11 photographs; "drawn": weights
# by the recipe of the reference outputs; "settled": random ones (export.settling), which amplify
# roundings ten times as much.
MAD_BOUND: dict[str, dict[str, float]] = {
    # The arg-max: where two classes are as probable, half precision moves their border by a pixel.
    "gfm": {
        "float32": 1e-4,  # drawn 4e-7, settled 7e-6
        "float16 weights": 1e-3,  # demo 1.1e-4, drawn 7e-4, settled 5e-3
        "float16": 2e-3,  # demo 2.2e-4, drawn 9e-4, settled 7e-3
        "bfloat16": 1e-2,  # demo 1.8e-3, drawn 5.4e-3, settled 5e-2
        "bfloat16 unasked": 4e-3,
    },
    # GFM's layers, and so its bounds.
    "gfm-plate": {
        "float32": 1e-4,  # settled 1e-6
        "float16 weights": 1e-3,  # demo 3.7e-5, settled 1.2e-3
        "float16": 2e-3,  # demo 8.0e-5, settled 3.2e-3
        "bfloat16": 1e-2,  # demo 4.8e-4, settled 2.3e-2
        "bfloat16 unasked": 4e-3,
    },
    # The same, and the max-pools: where two pixels of a window become equal by rounding, a feature
    # is unpooled to the neighbour of the pixel that it came from.
    "aim": {
        "float32": 1e-4,  # drawn 3e-6, settled 1e-5
        "float16 weights": 1e-3,  # drawn 5e-4, settled 2.6e-3
        "float16": 3e-3,  # drawn 1.5e-3, settled 5.8e-3
        "bfloat16": 1.5e-2,  # drawn 8.2e-3, settled 3.2e-2
        "bfloat16 unasked": 4e-3,
    },
    # Smooth from end to end, no class and no index: nothing jumps. 105 layers, all of them random
    # in what was measured.
    "msia": {
        "float32": 1e-4,  # settled 2e-6
        "float16 weights": 1e-3,  # settled 1.7e-3
        "float16": 2e-3,  # settled 2.6e-3
        "bfloat16": 1e-2,  # settled 1.8e-2
        "bfloat16 unasked": 4e-3,
    },
    # Smooth too, but a clamp in place of a sigmoid: what the last convolution was rounded by is
    # alpha's own error (half of 2⁻¹¹ near 1), and no flat end of a curve hides it.
    "sim": {
        "float32": 1e-4,  # settled 2e-6
        "float16 weights": 1e-3,  # settled 1.4e-3
        "float16": 2e-3,  # settled 2.6e-3
        "bfloat16": 1e-2,  # settled 2.0e-2
        "bfloat16 unasked": 4e-3,
    },
    # Activation maps, relative to their range over the picture: that is what the semantic trimap
    # scales them by. It is one of SIM's inputs, and what is off in it is off before that network.
    "sim_classifier": {
        "float32": 1e-4,  # settled 3e-7
        "float16 weights": 1e-3,  # settled 2.2e-4
        "float16": 1e-3,  # settled 3.6e-4
        "bfloat16": 1e-2,  # settled 2.9e-3
        "bfloat16 unasked": 4e-3,
    },
}
# The most that SAD may be as a part of the matte's own scale: the sum of PyTorch's alpha over all
# pictures (or 1 % of their pixels, where that is more).
SHARE_BOUND = {
    "float16 weights": 0.02,
    "float16": 0.02,
    "int8": 0.10,  # demo 4 to 5 %
    "int8 bfloat16": 0.10,
}

# Fresh random weights, settled as they are, amplify each rounding from layer to layer, see above.
# The bounds for trained weights are the ones that tell anything. (The deepest, resnet101: 2.0e-2 by
# float16 weights.)
RANDOM_FACTOR = 40
