// Checks both operations of every instruction set and the papers' loops against plain loops, without
// Python; meant to run under sanitizers. Buffers have exactly the size that their strides need.
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>
#include <vector>

#include "checksum.h"
#include "isa.h"
#include "ladder.h"
#include "published.h"
#include "run.h"

using namespace invconv;

namespace {

std::mt19937 generator(0);

Index pick(Index low, Index high) {
    return std::uniform_int_distribution<Index>(low, high)(generator);
}

double uniform() { return std::uniform_real_distribution<double>(-1, 1)(generator); }

struct Layout {
    Strides strides;
    Index size;
};

// Contiguous, channels last, or with gaps.
Layout layout(const Geometry& g, Index kind) {
    const Index channels = g.groups * g.channels, gap = kind == 2 ? 3 : 0;
    Strides s;
    if (kind == 1)
        s = {g.height * g.width * channels, 1, g.width * channels, channels};
    else {
        s.column = 1;
        s.row = g.width + gap;
        s.channel = s.row * g.height + gap;
        s.batch = s.channel * channels + gap;
    }
    const Index size = (g.batch - 1) * s.batch + (channels - 1) * s.channel +
                       (g.height - 1) * s.row + (g.width - 1) * s.column + 1;
    return {s, size};
}

Index at(const Strides& s, Index n, Index c, Index h, Index w) {
    return n * s.batch + c * s.channel + h * s.row + w * s.column;
}

// Visits every (sample, group, pixel) in an order in which the inverse can be computed and passes
// the sum of all taps that do not touch the pixel itself.
template <class T, class F>
void visit(const Geometry& g, const std::vector<T>& weight,
           const std::vector<unsigned char>& corners, const std::vector<double>& x,
           const Strides& s, F&& f) {
    const Index area = g.kernel_height * g.kernel_width;
    for (Index n = 0; n < g.batch; ++n)
        for (Index group = 0; group < g.groups; ++group)
            for (Index hh = 0; hh < g.height; ++hh)
                for (Index ww = 0; ww < g.width; ++ww) {
                    const Index down = corners[group] & 2 ? -1 : 1;
                    const Index right = corners[group] & 1 ? -1 : 1;
                    const Index h = down > 0 ? hh : g.height - 1 - hh;
                    const Index w = right > 0 ? ww : g.width - 1 - ww;
                    for (Index o = 0; o < g.channels; ++o) {
                        const Index c = g.upper ? g.channels - 1 - o : o;
                        const T* row = &weight[(group * g.channels + c) * g.channels * area];
                        double sum = 0;
                        for (Index tap = 0; tap < g.taps(); ++tap) {
                            const Index i = h + down * (tap / g.kernel_width - g.anchor_row);
                            const Index j = w + right * (tap % g.kernel_width - g.anchor_column);
                            if (i < 0 || i >= g.height || j < 0 || j >= g.width) continue;
                            for (Index d = 0; d < g.channels; ++d) {
                                const bool anchor = tap == g.taps() - 1;
                                if (anchor && (g.upper ? d <= c : d >= c)) continue;
                                sum += double(row[d * area + tap]) *
                                       x[at(s, n, group * g.channels + d, i, j)];
                            }
                        }
                        f(at(s, n, group * g.channels + c, h, w), sum,
                          double(row[c * area + g.taps() - 1]));
                    }
                }
}

std::vector<unsigned char> random_corners(Index groups) {
    std::vector<unsigned char> corners(groups);
    for (auto& corner : corners) corner = static_cast<unsigned char>(pick(0, 3));
    return corners;
}

template <class T>
int check(const std::string& isa, const std::string& lanes) {
    Geometry g{pick(1, 20), pick(1, 4), pick(1, 3) == 1 ? pick(7, 25) : pick(1, 6),
               pick(1, 20), pick(1, 36), pick(1, 5), pick(1, 5), 0, 0, pick(0, 1) == 1};
    while (g.batch * g.groups * g.channels * g.channels * g.height * g.width > 60000)
        (g.height > 3 ? g.height : g.width > 3 ? g.width : g.batch) /= 2;
    g.batch = std::max<Index>(1, g.batch);
    g.anchor_row = pick(0, g.kernel_height - 1);
    g.anchor_column = pick(0, g.kernel_width - 1);
    const auto corners = random_corners(g.groups);

    const Index area = g.kernel_height * g.kernel_width;
    std::vector<T> weight(g.groups * g.channels * g.channels * area);
    for (Index n = 0; n < Index(weight.size()); ++n) {
        const Index c = n / (area * g.channels) % g.channels, d = n / area % g.channels;
        const Index after = n % area - (g.taps() - 1);
        const bool unread = after > 0 || (after == 0 && (g.upper ? d < c : d > c));
        weight[n] = unread ? std::numeric_limits<T>::quiet_NaN()
                           : static_cast<T>(uniform() * 0.3 / std::sqrt(double(g.channels * area)));
        if (after == 0 && c == d) weight[n] += static_cast<T>(1);
    }

    const Layout in = layout(g, pick(0, 2)), out = layout(g, pick(0, 2));
    const Index channels = g.groups * g.channels;
    std::vector<T> z(in.size), x(out.size, std::numeric_limits<T>::quiet_NaN());
    for (auto& value : z) value = static_cast<T>(uniform());
    std::vector<double> solved(in.size), convolved(in.size), given(z.begin(), z.end());
    visit(g, weight, corners, solved, in.strides, [&](Index p, double sum, double pivot) {
        solved[p] = (given[p] - sum) / pivot;
    });
    visit(g, weight, corners, given, in.strides, [&](Index p, double sum, double pivot) {
        convolved[p] = sum + pivot * given[p];
    });

    const double tolerance = sizeof(T) == 4 ? 2e-4 : 1e-10;
    const int threads = static_cast<int>(pick(1, 3));
    int failures = 0;

    // <grad, conv(x)> is the weight times its gradient.
    std::vector<T> grad(out.size), slope(weight.size(), std::numeric_limits<T>::quiet_NaN());
    for (auto& value : grad) value = static_cast<T>(uniform());
    weight_gradient(GradientWork<T>{g, z.data(), in.strides, grad.data(), out.strides,
                                    corners.data()},
                    slope.data(), threads, isa);
    double by_output = 0, by_weight = 0, size = 1;
    for (Index n = 0; n < g.batch; ++n)
        for (Index c = 0; c < channels; ++c)
            for (Index h = 0; h < g.height; ++h)
                for (Index w = 0; w < g.width; ++w) {
                    const double product = double(grad[at(out.strides, n, c, h, w)]) *
                                           convolved[at(in.strides, n, c, h, w)];
                    by_output += product;
                    size += std::abs(product);
                }
    for (std::size_t n = 0; n < weight.size(); ++n)
        by_weight += std::isnan(weight[n]) ? slope[n] : double(weight[n]) * slope[n];
    if (!(std::abs(by_output - by_weight) <= tolerance * size)) {
        ++failures;
        std::printf("%s weight_gradient: %g instead of %g\n", isa.c_str(), by_weight, by_output);
    }

    Packed kept;
    for (int inverse = 0; inverse < 2; ++inverse)
        for (int in_place = 0; in_place < 2; ++in_place) {
            const Layout& to = in_place ? in : out;
            std::vector<T> copy = z;
            T* target = in_place ? copy.data() : x.data();
            const Call<T> call{g,      in_place ? copy.data() : z.data(),
                               in.strides, weight.data(), target, to.strides, corners.data(),
                               threads,    isa,           in_place ? &kept : nullptr, lanes};
            if (in_place) {  // once more, with taps that were packed before
                std::vector<T> first = z;
                Call<T> before = call;
                before.input = before.output = first.data();
                inverse ? solve(before) : convolve(before);
            }
            inverse ? solve(call) : convolve(call);
            double worst = 0;
            for (Index n = 0; n < g.batch; ++n)
                for (Index c = 0; c < channels; ++c)
                    for (Index h = 0; h < g.height; ++h)
                        for (Index w = 0; w < g.width; ++w) {
                            const std::vector<double>& truths = inverse ? solved : convolved;
                            const double truth = truths[at(in.strides, n, c, h, w)];
                            const double error =
                                std::abs(target[at(to.strides, n, c, h, w)] - truth);
                            if (!(error <= worst)) worst = error;
                        }
            if (!(worst <= tolerance)) {
                ++failures;
                std::printf("%s %s inverse=%d in_place=%d: error %g at B=%td G=%td C'=%td %tdx%td "
                            "k=%tdx%td anchor=%td,%td\n",
                            isa.c_str(), lanes.c_str(), inverse, in_place, worst, g.batch, g.groups,
                            g.channels, g.height, g.width, g.kernel_height, g.kernel_width,
                            g.anchor_row, g.anchor_column);
            }
        }
    return failures;
}

// FInC's algorithm 1 and its steps towards ours, which know contiguous images, corner anchors and
// lower triangles alone, against its scalar loop in double.
template <class T>
int check_loops(const std::string& isa) {
    Geometry g{pick(1, 20), pick(1, 4), pick(1, 7), pick(1, 12), pick(1, 12),
               pick(1, 5),  pick(1, 5), 0,          0,           false};
    g.anchor_row = g.kernel_height - 1;
    g.anchor_column = g.kernel_width - 1;
    const auto corners = random_corners(g.groups);
    const Index area = g.kernel_height * g.kernel_width;
    std::vector<T> weight(g.groups * g.channels * g.channels * area);
    for (Index n = 0; n < Index(weight.size()); ++n) {
        const Index c = n / (area * g.channels) % g.channels, d = n / area % g.channels;
        const bool anchor = n % area == area - 1;
        weight[n] = anchor && d > c
                        ? std::numeric_limits<T>::quiet_NaN()
                        : static_cast<T>(uniform() * 0.3 / std::sqrt(double(g.channels * area)));
        if (anchor && c == d) weight[n] += static_cast<T>(1);
    }
    std::vector<T> z(g.batch * g.groups * g.channels * g.height * g.width);
    for (auto& value : z) value = static_cast<T>(uniform());

    std::vector<double> solved(z.size()), convolved(z.size()), given(z.begin(), z.end());
    const std::vector<double> taps(weight.begin(), weight.end());
    diagonal_channel(g, given.data(), taps.data(), corners.data(), solved.data());
    visit(g, weight, corners, solved, layout(g, 0).strides,
          [&](Index p, double sum, double pivot) { convolved[p] = sum + pivot * solved[p]; });

    const double tolerance = sizeof(T) == 4 ? 2e-4 : 1e-10;
    int failures = 0;
    const auto expect = [&](const char* name, const auto& values, const auto& truths) {
        double worst = 0;
        for (std::size_t n = 0; n < z.size(); ++n) {
            const double error = std::abs(values[n] - truths[n]);
            if (!(error <= worst)) worst = error;
        }
        if (worst <= tolerance) return;
        ++failures;
        std::printf("%s %s: error %g at B=%td G=%td C'=%td %tdx%td k=%tdx%td\n", isa.c_str(), name,
                    worst, g.batch, g.groups, g.channels, g.height, g.width, g.kernel_height,
                    g.kernel_width);
    };
    expect("diagonal_channel", convolved, given);
    for (int in_place = 0; in_place < 2; ++in_place) {
        std::vector<T> from = z, to(z.size(), std::numeric_limits<T>::quiet_NaN());
        std::vector<T>& x = in_place ? from : to;
        const Loop<T> loop{g, from.data(), weight.data(), corners.data(), x.data()};
        diagonal_loop(loop);
        expect("diagonal_loop", x, solved);
        x.assign(z.size(), std::numeric_limits<T>::quiet_NaN());
        from.assign(z.begin(), z.end());
        diagonal_lanes(loop, static_cast<int>(pick(1, 3)), isa);
        expect("diagonal_lanes", x, solved);
    }
    return failures;
}

}  // namespace

// Of every size, each byte counts, and so does the seed.
int check_checksum() {
    int failures = 0;
    for (std::size_t size = 0; size < 200; ++size) {
        std::vector<unsigned char> bytes(size, 7);
        const std::uint64_t before = checksum(bytes.data(), size, 1);
        failures += before == checksum(bytes.data(), size, 2);
        for (unsigned char& byte : bytes) {
            byte ^= 128;
            failures += before == checksum(bytes.data(), size, 1);
            byte ^= 128;
        }
        failures += before != checksum(bytes.data(), size, 1);
    }
    return failures;
}

int main() {
    int failures = check_checksum(), checks = 200;
    for (const std::string& isa : available_isas())
        for (const char* lanes : {"samples", "pixels", "channels", ""})
            for (int n = 0; n < 60; ++n, checks += 2)
                failures += check<float>(isa, lanes) + check<double>(isa, lanes);
    for (const std::string& isa : available_isas())
        for (int n = 0; n < 60; ++n, checks += 2)
            failures += check_loops<float>(isa) + check_loops<double>(isa);
    std::printf("%d problems, %d failures\n", checks, failures);
    return failures != 0;
}
