// Packed taps that are kept between calls, by the caller, as long as a weight is the same.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "geometry.h"

namespace invconv {

template <class T>
struct PackedTaps {
    std::unique_ptr<T[]> taps;
    std::vector<unsigned char> identity;  // as in Work
};

// What `solve` and `convolve` pack of one weight with one anchor, once for each layout.
class Packed {
  public:
    // The code that packs, whether output channels are in the lanes, and whether the anchor is folded.
    using Layout = std::tuple<const void*, bool, bool>;

    // Calls fill(PackedTaps<T>&) the first time; what it leaves stays where it is.
    template <class T, class Fill>
    const PackedTaps<T>& get(const Layout& layout, Fill&& fill) {
        const std::lock_guard<std::mutex> lock(mutex_);
        auto& known = of<T>();
        auto found = known.find(layout);
        if (found == known.end()) {
            PackedTaps<T> made;
            fill(made);
            found = known.emplace(layout, std::move(made)).first;
        }
        return found->second;
    }

  private:
    template <class T>
    std::map<Layout, PackedTaps<T>>& of() {
        if constexpr (sizeof(T) == sizeof(float))
            return single_;
        else
            return double_;
    }

    std::mutex mutex_;
    std::map<Layout, PackedTaps<float>> single_;
    std::map<Layout, PackedTaps<double>> double_;
};

}  // namespace invconv
