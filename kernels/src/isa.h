// Which instruction set runs.
#pragma once

#include <string>
#include <vector>

#include "geometry.h"

namespace invconv {

// The names that this build and this machine have, the best first; "generic" is always last.
std::vector<std::string> available_isas();

// The kernels of the named instruction set; of the best one, or of INVCONV_ISA in the
// environment, if the name is empty. Throws std::invalid_argument if the machine lacks it.
template <class T>
const Kernels<T>& select_kernels(const std::string& isa);

}  // namespace invconv
