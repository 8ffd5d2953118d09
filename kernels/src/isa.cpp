#include "isa.h"

#include <cstdlib>
#include <stdexcept>

namespace invconv {

namespace generic {
template <class T>
const Kernels<T>& kernels();
}
#ifdef INVCONV_X86
namespace avx512 {
template <class T>
const Kernels<T>& kernels();
}
namespace avx2 {
template <class T>
const Kernels<T>& kernels();
}
#endif

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
#ifdef INVCONV_X86
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        names.push_back("avx512");
    if (avx2) names.push_back("avx2");
#endif
    names.push_back("generic");
    return names;
}

template <class T>
const Kernels<T>& select_kernels(const std::string& isa) {
    static const std::vector<std::string> names = available_isas();
    static const std::string preferred = [] {
        const char* wanted = std::getenv("INVCONV_ISA");
        return wanted && *wanted ? std::string(wanted) : names.front();
    }();
    const std::string& name = isa.empty() ? preferred : isa;
    for (const std::string& known : names) {
        if (known != name) continue;
#ifdef INVCONV_X86
        if (name == "avx512") return avx512::kernels<T>();
        if (name == "avx2") return avx2::kernels<T>();
#endif
        return generic::kernels<T>();
    }
    throw std::invalid_argument("instruction set \"" + name + "\" is not available; known: " +
                                [&] {
                                    std::string all;
                                    for (const auto& known : names)
                                        all += (all.empty() ? "" : ", ") + known;
                                    return all;
                                }());
}

template const Kernels<float>& select_kernels<float>(const std::string&);
template const Kernels<double>& select_kernels<double>(const std::string&);

}  // namespace invconv
