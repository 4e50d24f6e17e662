#include <cctype>
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/cifar.hpp>
#include <exfusion/data/image_loader.hpp>
#include <exfusion/io/vit.hpp>
#include <exfusion/train/evaluate.hpp>

#include "examples/run_program.hpp"
#include "temporary_folder.hpp"

namespace exfusion {
namespace {

using testing::ProgramResult;
using testing::TemporaryFolder;
using Arguments = std::vector<std::string>;

constexpr int record_bytes = 1 + 3 * 32 * 32;

/// Some records of the CIFAR-10 binary format, of random pixels.
std::string cifar_records(int count) {
  Rng rng(9);
  std::string bytes;
  for (int i = 0; i < count * record_bytes; ++i) {
    const int label = i / record_bytes % 10;
    bytes += static_cast<char>(i % record_bytes == 0 ? label : static_cast<int>(rng.below(256)));
  }
  return bytes;
}

/// A folder with a small data set in "images", and train_vit run beside it.
struct Desk {
  TemporaryFolder folder;

  Desk() {
    std::filesystem::create_directory(folder / "images");
    folder.file("images/data_batch_1.bin", cifar_records(20));
    folder.file("images/test_batch.bin", cifar_records(10));
  }

  ProgramResult train(const Arguments& more = {}) const {
    Arguments all{"--data",          "cifar10:images",
                  "--layers",        "2",
                  "--heads",         "2",
                  "--d-model",       "16",
                  "--patch",         "8",
                  "--batch",         "4",
                  "--steps",         "6",
                  "--eval-interval", "3",
                  "--warmup",        "2"};
    all.insert(all.end(), more.begin(), more.end());
    return testing::run_program(folder.path(), "train_vit", all);
  }
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

double number_after(const std::string& text, const std::string& label) {
  const std::size_t at = text.find(label);
  return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + label.size(), nullptr);
}

TEST(TrainVit, RunsFromImagesToAFolderThatGivesTheSameLossAndAccuracy) {
  const Desk desk;
  const ProgramResult result = desk.train({"--out", "model"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.error, "");
  EXPECT_TRUE(has(result.out, "step 3, epoch 0.6: validation loss")) << result.out;
  const double collapsed = number_after(result.out, "after collapse:");
  EXPECT_EQ(number_after(result.out, "\nvalidation loss:"), collapsed);

  const auto images = data::load_cifar10(desk.folder / "images");
  const auto model = io::load_vit<float>(desk.folder / "model");
  const data::ImageBatches<float> batches(images.test, data::Normalisation::of(images.train), 4);
  const auto score = train::evaluate_images(model, batches);
  EXPECT_NEAR(score.loss, collapsed, 6e-5);
  const std::string after = result.out.substr(result.out.find("after collapse:"));
  EXPECT_NEAR(100 * score.accuracy, number_after(after, "accuracy"), 6e-3);
  EXPECT_TRUE(has(read_file(desk.folder / "model" / "config.json"), images.train.class_names[3]));
}

TEST(TrainVit, TrainsEveryKindOfFeedForwardNetworkAndRule) {
  const std::vector<Arguments> kinds{
      {"--ffn", "dense", "--drop-path", "0.2", "--label-smoothing", "0.1", "--augment", "false"},
      {"--ffn", "moe", "--experts", "3"},
      {"--fusion", "static"},
      {"--fusion", "learned", "--fusion-granularity", "matrix"},
      {"--fusion", "bank", "--bank-value", "straight_through", "--accumulate", "2"},
      {"--ema", "0.9", "--dropout", "0.1"}};
  const Desk desk;
  for (const Arguments& kind : kinds) {
    const ProgramResult result = desk.train(kind);
    EXPECT_EQ(result.exit_code, 0) << kind[0] << ' ' << kind[1] << ": " << result.error;
  }
}

TEST(TrainVit, ADryRunCountsAModelThatNoMachineHoldsAndDoesNothing) {
  const Desk desk;
  const ProgramResult result =
      desk.train({"--dry-run", "--layers", "1000", "--d-model", "8192", "--experts", "64", "--out", "model"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  // Each of 1000 layers has 64 networks of 8 x 8192 x 8192 numbers.
  EXPECT_GT(number_after(result.out, "parameters, trained"), 1000.0 * 64 * 8 * 8192 * 8192);
  EXPECT_TRUE(has(result.out, "memory in all")) << result.out;
  EXPECT_TRUE(has(result.out, "TiB")) << result.out;
  EXPECT_FALSE(has(result.out, "step 1")) << result.out;
  EXPECT_FALSE(std::filesystem::exists(desk.folder / "model"));
  EXPECT_EQ(desk.train({"--dry-run", "--heads", "3"}).exit_code, 2);
}

TEST(TrainVit, RecomputationGivesTheSameModelAndADryRunCountsLessMemoryAndMoreWork) {
  const Desk desk;
  const Arguments drop{"--dropout", "0.1", "--drop-path", "0.2"};
  const auto run = [&](const Arguments& more) {
    Arguments all = drop;
    all.insert(all.end(), more.begin(), more.end());
    return desk.train(all);
  };
  ASSERT_EQ(run({"--out", "plain"}).exit_code, 0);
  ASSERT_EQ(run({"--out", "again", "--recompute"}).exit_code, 0);
  EXPECT_EQ(read_file(desk.folder / "plain" / "model.safetensors"),
            read_file(desk.folder / "again" / "model.safetensors"));
  const std::string plain = run({"--dry-run"}).out, again = run({"--dry-run", "--recompute"}).out;
  EXPECT_LT(number_after(again, "activations"), number_after(plain, "activations"));
  EXPECT_GT(number_after(again, "FLOPs of one step"), number_after(plain, "FLOPs of one step"));
}

TEST(TrainVit, ADryRunCountsTheParametersThatTheRunThenHas) {
  const Desk desk;
  const ProgramResult plan = desk.train({"--dry-run"}), run = desk.train();
  const std::string text = run.out.substr(run.out.find("parameters: "), 40);
  std::string digits;
  for (char c : text.substr(0, text.find(" trained"))) {
    if (std::isdigit(static_cast<unsigned char>(c)) != 0) digits += c;
  }
  EXPECT_EQ(number_after(plan.out, "parameters, trained"), std::stod(digits)) << plan.out << run.out;
}

TEST(TrainVit, TrainsOnTheBuiltInShapes) {
  const Desk desk;
  const ProgramResult result = desk.train({"--data", "builtin", "--eval-interval", "0", "--batch", "64"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
}

TEST(TrainVit, RefusesBadOptionsNamingTheValueAndTheLimitBeforeItWritesAnything) {
  const Desk desk;
  for (const char* name : {"truncated", "label", "mnist"})
    std::filesystem::create_directory(desk.folder / name);
  desk.folder.file("truncated/data_batch_1.bin", cifar_records(2).substr(1));
  desk.folder.file("truncated/test_batch.bin", cifar_records(2));
  desk.folder.file("label/data_batch_1.bin", std::string(record_bytes, '\x0b'));
  desk.folder.file("label/test_batch.bin", cifar_records(2));
  const std::vector<std::pair<Arguments, Arguments>> cases{
      {{"--patch", "5"}, {"32", "5"}},
      {{"--patch", "0"}, {"patch", "0"}},
      {{"--heads", "3"}, {"16", "3"}},
      {{"--drop-path", "1"}, {"drop_path", "1"}},
      {{"--label-smoothing", "1.5"}, {"1.5"}},
      {{"--batch", "0"}, {"--batch", "0"}},
      {{"--mixup", "-1"}, {"mixup", "-1"}},
      {{"--experts", "0"}, {"experts", "0", "between 1"}},
      {{"--accumulate", "2"}, {"straight_through"}},
      {{"--data", "images"}, {"images", "cifar10:DIR"}},
      {{"--data", "cifar10:absent"}, {"absent"}},
      {{"--data", "cifar10:truncated"}, {"data_batch_1.bin", "6145"}},
      {{"--data", "cifar10:label"}, {"11", "9"}},
      {{"--data", "mnist:mnist"}, {"mnist"}},
      {{"--out", "images/test_batch.bin"}, {"test_batch.bin"}}};
  for (const auto& [arguments, words] : cases) {
    Arguments all{"--out", "model"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const ProgramResult result = desk.train(all);
    EXPECT_EQ(result.exit_code, 2) << arguments[0] << ' ' << arguments[1];
    for (const auto& word : words) {
      EXPECT_TRUE(has(result.error, word)) << arguments[0] << ' ' << arguments[1] << " -> " << result.error;
    }
    EXPECT_FALSE(std::filesystem::exists(desk.folder / "model" / "config.json")) << arguments[0];
  }
}

TEST(TrainVit, AStoppedRunEndsWithTheBitsOfOneThatWasNot) {
  const Desk desk;
  const auto run = [&](Arguments more) {
    more.insert(more.begin(), {"--steps", "20", "--ema", "0.9", "--drop-path", "0.2", "--dropout", "0.1",
                               "--mixup", "0.4", "--cutmix", "1"});
    return desk.train(more);
  };
  ASSERT_EQ(run({"--out", "straight"}).exit_code, 0);
  ASSERT_EQ(run({"--out", "stopped", "--stop-after", "13"}).exit_code, 130);
  const ProgramResult result = testing::run_program(desk.folder.path(), "train_vit", {"--resume", "stopped"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(read_file(desk.folder / "straight/model.safetensors"),
            read_file(desk.folder / "stopped/model.safetensors"));
  EXPECT_EQ(testing::run_program(desk.folder.path(), "train_gpt", {"--resume", "stopped"}).exit_code, 2);
}

TEST(TrainVit, BeginsWithTheModelOfAFinishedRun) {
  const Desk desk;
  ASSERT_EQ(desk.train({"--out", "dense", "--ffn", "dense"}).exit_code, 0);
  const Arguments arguments{
      "--data", "cifar10:images", "--batch",  "4", "--steps",     "3",     "--warmup", "2",
      "--lr",   "1e-9",           "--min-lr", "0", "--init-from", "dense", "--out",    "fused"};
  const ProgramResult fused = testing::run_program(desk.folder.path(), "train_vit", arguments);
  ASSERT_EQ(fused.exit_code, 0) << fused.error;
  const auto dense = io::load_vit<float>(desk.folder / "dense"),
             collapsed = io::load_vit<float>(desk.folder / "fused");
  for (Index i = 0; i < dense.head.weight.size(); ++i)
    EXPECT_NEAR(dense.head.weight.data()[i], collapsed.head.weight.data()[i], 1e-6);
}

}  // namespace
}  // namespace exfusion
