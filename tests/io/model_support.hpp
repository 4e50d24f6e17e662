#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <exfusion/core/file.hpp>
#include <exfusion/nn/module.hpp>

namespace exfusion::testing {

/// Gives every parameter of a model, biases and normalisations too, random values.
template <Scalar T, class Model>
void randomise(const Model& model, Rng& rng) {
  for (const auto& parameter : collect_parameters<T>(model).parameters) {
    rng.fill_normal(parameter.tensor.values(), 0.0, 0.3);
  }
}

/// Whether two models have the same parameters, by name, shape and bits.
template <Scalar T, class Model>
void expect_same_parameters(const Model& a, const Model& b) {
  const auto first = collect_parameters<T>(a).parameters, second = collect_parameters<T>(b).parameters;
  ASSERT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].name, second[i].name);
    ASSERT_EQ(first[i].tensor.shape(), second[i].tensor.shape()) << first[i].name;
    EXPECT_TRUE(std::ranges::equal(first[i].tensor.values(), second[i].tensor.values())) << first[i].name;
  }
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(read_file(path));
}

/// Changes one value of a JSON file.
inline void set_json(const std::filesystem::path& path, const std::string& key, const nlohmann::json& value) {
  nlohmann::json object = read_json(path);
  object[key] = value;
  std::ofstream(path) << object;
}

/// The text of the `Expected` that `act` throws; empty when it throws nothing.
template <class Expected, class Act>
std::string error_of(const Act& act) {
  try {
    act();
  } catch (const Expected& error) {
    return error.what();
  }
  return {};
}

}  // namespace exfusion::testing
