#include <algorithm>
#include <filesystem>

#include <gtest/gtest.h>

#include <exfusion/io/gpt2.hpp>
#include <exfusion/io/vit.hpp>

#include "temporary_folder.hpp"

namespace exfusion::io {
namespace {

// What Hugging Face's Transformers saved, and the logits that it computed
// (scripts/make_transformers_fixtures.py).
const std::filesystem::path fixtures =
    std::filesystem::path(EXFUSION_SOURCE_DIR) / "tests/fixtures/transformers";

void expect_near(const Tensor<float>& ours, const Tensor<float>& theirs) {
  ASSERT_EQ(ours.size(), theirs.size());
  for (Index i = 0; i < ours.size(); ++i) ASSERT_NEAR(ours.data()[i], theirs.data()[i], 1e-5) << i;
}

/// Whether the tensors of two folders are the same to the bit.
void expect_same_tensors(const std::filesystem::path& a, const std::filesystem::path& b) {
  const SafetensorsReader first(a / "model.safetensors"), second(b / "model.safetensors");
  ASSERT_EQ(first.tensors().size(), second.tensors().size());
  for (const TensorInfo& tensor : first.tensors()) {
    EXPECT_TRUE(
        std::ranges::equal(first.read<float>(tensor.name).values(), second.read<float>(tensor.name).values()))
        << tensor.name;
  }
}

TEST(Transformers, AGpt2HasItsLogitsHereAndComesBackToTheBit) {
  const Gpt<float> model = load_gpt2<float>(fixtures / "gpt2");
  const SafetensorsReader expected(fixtures / "gpt2/expected.safetensors");
  expect_near(model({}, expected.read_integers("tokens")), expected.read<float>("logits"));
  const testing::TemporaryFolder folder;
  save_gpt2(model, folder / "again");
  expect_same_tensors(fixtures / "gpt2", folder / "again");
}

TEST(Transformers, AVitHasItsLogitsHereAndComesBackToTheBit) {
  const Vit<float> model = load_vit<float>(fixtures / "vit");
  const SafetensorsReader expected(fixtures / "vit/expected.safetensors");
  expect_near(model({}, expected.read<float>("images")), expected.read<float>("logits"));
  const testing::TemporaryFolder folder;
  save_vit(model, folder / "again");
  expect_same_tensors(fixtures / "vit", folder / "again");
}

}  // namespace
}  // namespace exfusion::io
