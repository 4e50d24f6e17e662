#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include <exfusion/optim/adamw.hpp>

namespace exfusion::testing {

/// AdamW on every expert's own gradient a_i G, written out.
struct NaiveAdamW {
  AdamWOptions options;
  std::vector<double> p, m, v;
  int t = 0;

  NaiveAdamW(const ExpertSlab<double>& slab, AdamWOptions options_)
      : options(std::move(options_)),
        p(slab.data(), slab.data() + slab.experts() * slab.row_size()),
        m(p.size(), 0.0),
        v(p.size(), 0.0) {}

  void step(const ExpertSlab<double>& slab) {
    ++t;
    for (const FusionSpan& span : slab.spans()) {
      for (Index i = 0; i < slab.experts(); ++i) {
        const double a = slab.weights()[static_cast<std::size_t>(span.group * slab.experts() + i)];
        for (Index j = span.begin; j < span.begin + span.size; ++j) {
          step(static_cast<std::size_t>(i * slab.row_size() + j), a * slab.gradient()[j], std::abs(a),
               span.decay);
        }
      }
    }
  }

  void step(std::size_t k, double gradient, double eps_scale, bool decay) {
    m[k] = options.beta1 * m[k] + (1 - options.beta1) * gradient;
    v[k] = options.beta2 * v[k] + (1 - options.beta2) * gradient * gradient;
    const double mean = m[k] / (1 - std::pow(options.beta1, t));
    const double square = v[k] / (1 - std::pow(options.beta2, t));
    if (decay) p[k] *= 1 - options.lr * options.weight_decay;
    if (mean != 0) p[k] -= options.lr * mean / (std::sqrt(square) + eps_scale * options.eps);
  }
};

}  // namespace exfusion::testing
