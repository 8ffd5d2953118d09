// Folds the anchor into the other taps and lays the taps out for the kernels.
#pragma once

#include <vector>

#include "geometry.h"

namespace invconv {

// Output channels in blocks that fit the registers.
std::vector<Block> split_channels(Index channels, Index wide_block, Index max_block);

// Packs one group of a weight (C, C', kh, kw): A0 and W as they are without `substitute`; with it
// folded, the anchor becomes A0^-1 and every other tap -A0^-1 W, computed in double. Returns
// whether the folded anchor is the unit matrix. What stands after the anchor or in the other
// triangle does not matter; output channels that a block has beyond the last one become zero.
template <class T>
bool pack_group(const Geometry&, const std::vector<Block>&, Substitute substitute, const T* weight,
                Index group, T* packed);

}  // namespace invconv
