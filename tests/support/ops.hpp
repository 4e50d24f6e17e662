#pragma once

#include <cmath>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <omp.h>

#include <exfusion/autograd/context.hpp>
#include <exfusion/autograd/parameter.hpp>

namespace exfusion::testing {

/// The same numbers in single precision.
inline Parameter<float> to_float(const Tensor<double>& x) {
  Parameter<float> result(x.shape());
  for (Index i = 0; i < x.size(); ++i) result.data()[i] = static_cast<float>(x.data()[i]);
  return result;
}

/// N(0, std^2) in single precision.
inline Parameter<float> random_float(Shape shape, Rng& rng, double std = 1.0) {
  return Parameter<float>::normal(shape, std, rng);
}

/// Hands a given gradient to an operation's output.
template <Scalar T>
struct SeedNode {
  static constexpr std::string_view name = "seed";
  Tensor<T> y;
  std::span<const T> dy;

  void backward() const {
    const GradientTarget<T> target = y.open_gradient();
    for (std::size_t i = 0; i < dy.size(); ++i)
      target.data[i] = dy[i] + (target.accumulate ? target.data[i] : 0);
  }
};

/// Runs `forward` and backward from dy, which leaves the inputs' gradients in the inputs. Returns a copy of
/// the output.
template <Scalar T, class Forward>
Tensor<T> run_backward(const Forward& forward, const std::vector<T>& dy, Rng* rng = nullptr,
                       Precision precision = Precision::fp32) {
  Tape<T> tape;
  const Context<T> ctx{.tape = &tape, .rng = rng, .training = true, .precision = precision};
  const Tensor<T> y = forward(ctx);
  const Tensor<T> loss = ctx.output(Shape{}, y);
  *loss.data() = T{0};
  ctx.record(loss, SeedNode<T>{y, dy});
  tape.backward(loss);
  return Tensor<T>::from(y.shape(), std::span<const T>(y.values()));
}

/// Normal numbers, to be used as an output's gradient.
template <Scalar T>
std::vector<T> random_values(Index size, Rng& rng) {
  std::vector<T> values(static_cast<std::size_t>(size));
  rng.fill_normal(std::span<T>(values), 0.0, 1.0);
  return values;
}

template <class Values>
auto copy_of(const Values& values) {
  return std::vector(values.begin(), values.end());
}

/// Numbers rounded to bfloat16.
inline double rounded(double value) {
  return static_cast<double>(static_cast<float>(Bfloat16::from(static_cast<float>(value))));
}
inline std::vector<double> rounded(std::span<const double> values) {
  std::vector<double> result(values.begin(), values.end());
  for (double& value : result) value = rounded(value);
  return result;
}
inline Parameter<double> rounded(const Tensor<double>& x) {
  Parameter<double> result(x.shape());
  for (Index i = 0; i < x.size(); ++i) result.data()[i] = rounded(x.data()[i]);
  return result;
}

/// `run()` gives a vector of numbers: expects the same bits for 1, 2, 3 and 5 threads.
template <class Run>
void expect_same_bits_for_all_thread_counts(const Run& run) {
  const int kept = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto expected = run();
  for (int threads : {2, 3, 5}) {
    omp_set_num_threads(threads);
    const auto got = run();
    ASSERT_EQ(got.size(), expected.size());
    EXPECT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(got[0])), 0)
        << "differs with " << threads << " threads";
  }
  omp_set_num_threads(kept);
}

/// Expects |got - expected| <= tolerance * (1 + |expected|) everywhere.
template <class Got, class Expected>
void expect_close(const Got& got, const Expected& expected, double tolerance) {
  ASSERT_EQ(std::size(got), std::size(expected));
  for (std::size_t i = 0; i < std::size(got); ++i) {
    const auto value = static_cast<double>(expected[i]);
    ASSERT_NEAR(static_cast<double>(got[i]), value, tolerance * (1 + std::abs(value))) << "element " << i;
  }
}

}  // namespace exfusion::testing
