#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/tokenizer_file.hpp>
#include <exfusion/io/gpt2.hpp>
#include <exfusion/io/vit.hpp>
#include <exfusion/train/evaluate.hpp>

#include "examples/run_program.hpp"
#include "temporary_folder.hpp"

namespace exfusion {
namespace {

using testing::ProgramResult;
using testing::run_program;
using Arguments = std::vector<std::string>;

double number_after(const std::string& text, const std::string& label) {
  const std::size_t at = text.find(label);
  return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + label.size(), nullptr);
}

/// The header and the numbers of a .npy file.
std::pair<std::string, std::vector<float>> read_npy(const std::filesystem::path& path) {
  const std::string content = read_file(path);
  EXPECT_EQ(content.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const std::size_t begin =
      10 + static_cast<unsigned char>(content[8]) + 256U * static_cast<unsigned char>(content[9]);
  EXPECT_EQ(begin % 64, 0U);
  std::vector<float> values((content.size() - begin) / sizeof(float));
  std::memcpy(values.data(), content.data() + begin, values.size() * sizeof(float));
  return {content.substr(10, begin - 10), values};
}

struct Desk {
  testing::TemporaryFolder folder;

  ProgramResult run(const Arguments& arguments) const {
    return run_program(folder.path(), "evaluate", arguments);
  }
};

TEST(Evaluate, MeasuresAText) {
  const Desk desk;
  Rng rng(3);
  const std::string text =
      "a text that is long enough for some windows of the model, and then a little longer";
  const auto tokenizer = data::CharTokenizer::from_text(text);
  const Gpt<float> model(
      {.vocab_size = tokenizer.vocab_size(), .context = 8, .layers = 1, .heads = 1, .d_model = 4}, rng);
  io::save_gpt2(model, desk.folder / "model");
  data::save_tokenizer(tokenizer, desk.folder / "model");
  desk.folder.file("text.txt", text);
  const ProgramResult result =
      desk.run({"model", "--data", "text.txt", "--batch", "3", "--logits", "logits.npy"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const auto tokens = tokenizer.encode(text);
  const data::TextBatches batches(tokens, 100, 8);
  const double loss = train::evaluate_text(model, batches);
  EXPECT_NEAR(number_after(result.out, "loss: "), loss, 2e-6);
  EXPECT_NEAR(number_after(result.out, "perplexity: "), std::exp(loss), 2e-4);
  // Every character is a byte.
  EXPECT_NEAR(number_after(result.out, "bits per byte: "), loss / std::log(2), 3e-6);
  const auto [header, logits] = read_npy(desk.folder / "logits.npy");
  const auto expected = model({}, batches[0].tokens);
  EXPECT_NE(header.find("'shape': (" + std::to_string(batches.windows()) + ", 8, " +
                        std::to_string(tokenizer.vocab_size()) + ", )"),
            std::string::npos)
      << header;
  ASSERT_EQ(logits.size(), static_cast<std::size_t>(expected.size()));
  for (std::size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], expected.values()[i], 1e-5);
}

TEST(Evaluate, MeasuresImages) {
  const Desk desk;
  Rng rng(3);
  const Vit<float> model(
      {.image_size = 6, .patch_size = 3, .classes = 3, .layers = 1, .heads = 1, .d_model = 4}, rng);
  io::save_vit(model, desk.folder / "model");
  const auto images = Tensor<float>::empty({7, 3, 6, 6});
  rng.fill_normal(images.values(), 0.0, 1.0);
  const auto logits = model({}, images);
  const IntTensor labels({7}, {0, 1, 2, 0, 1, 2, 0});
  const io::SafetensorsEntry pixels{"images", io::Dtype::F32, {7, 3, 6, 6}, std::as_bytes(images.values())};
  const io::SafetensorsEntry classes{"labels", io::Dtype::I32, {7}, std::as_bytes(labels.values())};
  const std::vector<io::SafetensorsEntry> entries{pixels, classes};
  io::write_safetensors_file(desk.folder / "images.safetensors", io::safetensors_header(entries, {}),
                             entries);
  const ProgramResult result =
      desk.run({"model", "--data", "images.safetensors", "--batch", "3", "--logits", "logits.npy"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  const train::ImageScore score = train::score_logits(logits, labels);
  EXPECT_NEAR(number_after(result.out, "loss: "), score.loss, 2e-6);
  EXPECT_NEAR(number_after(result.out, "accuracy: "), score.accuracy, 1e-6);
  const auto written = read_npy(desk.folder / "logits.npy").second;
  ASSERT_EQ(written.size(), 21U);
  for (std::size_t i = 0; i < written.size(); ++i) EXPECT_NEAR(written[i], logits.values()[i], 1e-5);
}

TEST(Evaluate, RefusesWhatDoesNotFit) {
  const Desk desk;
  Rng rng(3);
  io::save_gpt2(Gpt<float>({.vocab_size = 7, .context = 8, .layers = 1, .heads = 1, .d_model = 4}, rng),
                desk.folder / "gpt");
  io::save_vit(
      Vit<float>({.image_size = 6, .patch_size = 3, .classes = 3, .layers = 1, .heads = 1, .d_model = 4},
                 rng),
      desk.folder / "vit");
  desk.folder.file("text.txt", "some text");
  desk.folder.file("large.bin", std::string("\x07\x00\x01\x00", 4));
  const std::vector<std::pair<Arguments, std::string>> cases{
      {{"absent", "--data", "text.txt"}, "absent"},
      {{"gpt", "--data", "text.txt"}, "no tokenizer"},
      {{"gpt", "--data", "large.bin"}, "token 0 is 7"},
      {{"gpt", "--data", "absent.bin"}, "absent.bin"},
      {{"gpt", "--data", "large.bin", "--context", "9"}, "--context"},
      {{"vit", "--data", "builtin"}, "these are 3 x 32 x 32"},
      {{"vit", "--data", "text.txt"}, "--data"},
      {{"vit", "--data", "gpt/model.safetensors"}, "images"}};
  for (const auto& [arguments, word] : cases) {
    const ProgramResult result = desk.run(arguments);
    EXPECT_EQ(result.exit_code, 2) << word;
    EXPECT_NE(result.error.find(word), std::string::npos) << word << ": " << result.error;
  }
}

}  // namespace
}  // namespace exfusion
