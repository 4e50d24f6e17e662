#include <algorithm>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/core/buffer.hpp>
#include <exfusion/core/rng.hpp>
#include <exfusion/kernels/fuse.hpp>

namespace exfusion {
namespace {

/// A slab of random numbers whose spans change group and leave gaps.
template <class T>
struct RandomSlab {
  Index experts, groups, row_size;
  std::vector<FusionSpan> spans;
  std::vector<T> rows, a, gradient, fused;

  RandomSlab(Index experts_, Index groups_, Index span_size, Index span_count, Rng& rng)
      : experts(experts_), groups(groups_), row_size(span_count * (span_size + 2)) {
    for (Index s = 0; s < span_count; ++s) {
      spans.push_back({s * (span_size + 2), span_size, s % groups, true});
    }
    rows.resize(static_cast<std::size_t>(experts * row_size));
    a.resize(static_cast<std::size_t>(groups * experts));
    gradient.resize(static_cast<std::size_t>(row_size));
    fused.resize(static_cast<std::size_t>(row_size));
    for (auto* values : {&rows, &a, &gradient, &fused}) rng.fill_normal(std::span<T>(*values), 0.0, 1.0);
  }

  FusionLayout layout() const { return {spans, experts, groups, row_size}; }
  T row(Index i, Index j) const { return rows[static_cast<std::size_t>(i * row_size + j)]; }
  T weight(Index g, Index i) const { return a[static_cast<std::size_t>(g * experts + i)]; }

  std::vector<double> reduce(bool distances, const T* origin) const {
    std::vector<double> scratch(static_cast<std::size_t>(layout().scratch_size()));
    std::vector<double> result(static_cast<std::size_t>(groups * experts));
    if (distances) {
      kernels::Fuse<T>::squared_distances(layout(), rows.data(), origin, scratch.data(), result.data());
    } else {
      kernels::Fuse<T>::inner_products(layout(), rows.data(), origin, gradient.data(), scratch.data(),
                                       result.data());
    }
    return result;
  }
};

template <class T>
class Fuse : public ::testing::Test {
 public:
  static constexpr double tolerance = std::is_same_v<T, float> ? 1e-5 : 1e-13;

  template <class Check>
  static void for_many_sizes(const Check& check) {
    Rng rng(1);
    for (Index experts : {1, 3, 4, 7, 17, 35}) {
      for (Index groups : {1, 3}) {
        for (Index size : {1, 3, 7, 17, 1023, 1024, 1025, 2500}) {
          RandomSlab<T> slab(experts, groups, size, 5, rng);
          check(slab);
        }
      }
    }
  }
};

using Scalars = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Fuse, Scalars);

TYPED_TEST(Fuse, SumsTheExpertsAsANaiveLoopDoesAndLeavesPaddingAlone) {
  this->for_many_sizes([](const RandomSlab<TypeParam>& slab) {
    std::vector<TypeParam> fused = slab.fused;
    kernels::Fuse<TypeParam>::forward(slab.layout(), slab.rows.data(), slab.a.data(), fused.data());
    std::vector<TypeParam> expected = slab.fused;
    for (const FusionSpan& span : slab.spans) {
      for (Index j = span.begin; j < span.begin + span.size; ++j) {
        double sum = 0;
        for (Index i = 0; i < slab.experts; ++i) sum += double{slab.weight(span.group, i)} * slab.row(i, j);
        expected[static_cast<std::size_t>(j)] = static_cast<TypeParam>(sum);
      }
    }
    for (std::size_t j = 0; j < fused.size(); ++j) {
      ASSERT_NEAR(fused[j], expected[j], TestFixture::tolerance * 10) << "element " << j;
    }
  });
}

TYPED_TEST(Fuse, InnerProductsAndDistancesMatchNaiveLoops) {
  this->for_many_sizes([](const RandomSlab<TypeParam>& slab) {
    const auto groups_experts = static_cast<std::size_t>(slab.groups * slab.experts);
    std::vector<double> plain(groups_experts), centred(groups_experts), distances(groups_experts);
    for (const FusionSpan& span : slab.spans) {
      for (Index i = 0; i < slab.experts; ++i) {
        const auto at = static_cast<std::size_t>(span.group * slab.experts + i);
        for (Index j = span.begin; j < span.begin + span.size; ++j) {
          const double g = slab.gradient[static_cast<std::size_t>(j)];
          const double difference = double{slab.row(i, j)} - slab.fused[static_cast<std::size_t>(j)];
          plain[at] += g * slab.row(i, j);
          centred[at] += g * difference;
          distances[at] += difference * difference;
        }
      }
    }
    const auto got_plain = slab.reduce(false, nullptr);
    const auto got_centred = slab.reduce(false, slab.fused.data());
    const auto got_distances = slab.reduce(true, slab.fused.data());
    const double limit = TestFixture::tolerance * static_cast<double>(slab.row_size);
    for (std::size_t at = 0; at < groups_experts; ++at) {
      ASSERT_NEAR(got_plain[at], plain[at], limit);
      ASSERT_NEAR(got_centred[at], centred[at], limit);
      ASSERT_NEAR(got_distances[at], distances[at], limit);
    }
  });
}

TYPED_TEST(Fuse, GivesTheSameBitsForAnyNumberOfThreads) {
  Rng rng(3);
  RandomSlab<TypeParam> slab(4, 3, 777, 90, rng);
  const int kept = omp_get_max_threads();
  std::vector<std::vector<double>> products;
  std::vector<std::vector<TypeParam>> fused;
  for (int threads : {1, 2, 5}) {
    omp_set_num_threads(threads);
    products.push_back(slab.reduce(false, slab.fused.data()));
    fused.emplace_back(slab.fused.size());
    kernels::Fuse<TypeParam>::forward(slab.layout(), slab.rows.data(), slab.a.data(), fused.back().data());
  }
  omp_set_num_threads(kept);
  EXPECT_EQ(products[0], products[1]);
  EXPECT_EQ(products[0], products[2]);
  EXPECT_EQ(fused[0], fused[1]);
  EXPECT_EQ(fused[0], fused[2]);
}

TYPED_TEST(Fuse, EqualExpertsHaveEqualProductsWithTheirDifferenceFromW) {
  Rng rng(4);
  for (Index experts : {2, 3, 4, 5, 6, 7}) {
    RandomSlab<TypeParam> slab(experts, 1, 501, 7, rng);
    for (Index i = 1; i < experts; ++i) {
      std::copy_n(slab.rows.begin(), slab.row_size, slab.rows.begin() + i * slab.row_size);
    }
    std::fill(slab.a.begin(), slab.a.end(), TypeParam{1} / static_cast<TypeParam>(experts));
    kernels::Fuse<TypeParam>::forward(slab.layout(), slab.rows.data(), slab.a.data(), slab.fused.data());
    const auto products = slab.reduce(false, slab.fused.data());
    for (double product : products) EXPECT_EQ(product, products[0]) << experts << " experts";
  }
}

TYPED_TEST(Fuse, EqualExpertsGiveTheirBitsBack) {
  using T = TypeParam;
  Rng rng(8);
  for (const Index experts : {1, 2, 4, 8, 16, 32, 64}) {
    RandomSlab<T> slab(experts, 1, 1500, 2, rng);
    for (Index i = 1; i < experts; ++i)
      std::copy_n(slab.rows.begin(), slab.row_size, slab.rows.begin() + i * slab.row_size);
    std::ranges::fill(slab.a, T{1} / static_cast<T>(experts));
    kernels::Fuse<T>::forward(slab.layout(), slab.rows.data(), slab.a.data(), slab.fused.data());
    for (const FusionSpan& span : slab.spans) {
      for (Index j = span.begin; j < span.begin + span.size; ++j)
        ASSERT_EQ(slab.fused[static_cast<std::size_t>(j)], slab.row(0, j)) << experts << " experts";
    }
  }
}

}  // namespace
}  // namespace exfusion
