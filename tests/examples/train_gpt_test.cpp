#include <cctype>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/text.hpp>
#include <exfusion/data/vocabulary_file.hpp>
#include <exfusion/io/gpt2.hpp>
#include <exfusion/train/evaluate.hpp>

#include "examples/run_program.hpp"
#include "temporary_folder.hpp"

namespace exfusion {
namespace {

using testing::ProgramResult;
using testing::run_program;
using testing::TemporaryFolder;
using Arguments = std::vector<std::string>;

/// A folder with a text, and programs run in it.
struct Desk {
  TemporaryFolder folder;

  Desk() {
    std::string text;
    for (int i = 0; i < 60; ++i) text += "line " + std::to_string(i) + " of a text that repeats itself\n";
    folder.file("text.txt", text);
  }

  /// train_gpt with a tiny model on text.txt; later options win.
  ProgramResult train(const Arguments& more = {}) const {
    Arguments all{"--data",    "text.txt", "--layers", "2", "--heads", "2", "--d-model",       "16",
                  "--context", "16",       "--batch",  "4", "--steps", "6", "--eval-interval", "3",
                  "--warmup",  "2",        "--sample", "20"};
    all.insert(all.end(), more.begin(), more.end());
    return run_program(folder.path(), "train_gpt", all);
  }
  ProgramResult generate(const Arguments& arguments) const {
    return run_program(folder.path(), "generate", arguments);
  }
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// The number after the first `label` in a text.
double number_after(const std::string& text, const std::string& label) {
  const std::size_t at = text.find(label);
  return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + label.size(), nullptr);
}

TEST(TrainGpt, RunsFromTextToAFolderThatGivesTheSameLoss) {
  const Desk desk;
  const ProgramResult result = desk.train({"--out", "model"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(result.error, "");
  EXPECT_TRUE(has(result.out, "step 3: validation loss")) << result.out;
  EXPECT_TRUE(has(result.out, "step 6/6 | loss")) << result.out;
  EXPECT_TRUE(has(result.out, "blocks.1.ffn")) << result.out;
  const double fused = number_after(result.out, "\nvalidation loss:");
  const double collapsed = number_after(result.out, "after collapse:");
  EXPECT_EQ(fused, collapsed);

  const auto text = data::TextDataset::from_file(desk.folder / "text.txt", {.context = 16});
  const auto model = io::load_gpt2<float>(desk.folder / "model");
  EXPECT_NEAR(train::evaluate_text(model, data::TextBatches(text.validation, 4, 16)), collapsed, 6e-5);
  EXPECT_EQ(data::load_vocabulary(desk.folder / "model" / "vocab.json").characters(),
            text.tokenizer.characters());
}

TEST(TrainGpt, TrainsEveryKindOfFeedForwardNetworkAndRule) {
  const std::vector<Arguments> kinds{
      {"--ffn", "dense"},
      {"--ffn", "moe", "--experts", "3", "--moe-k", "1"},
      {"--fusion", "static"},
      {"--fusion", "static", "--experts", "2", "--static-weights", "0.25,0.75"},
      {"--fusion", "learned", "--fusion-lr", "10", "--expert-init", "zero_sum", "--init-scale", "1.5"},
      {"--fusion", "learned", "--free-weights", "--fusion-granularity", "row"},
      {"--fusion", "bank", "--bank-window", "3", "--router-std", "1", "--accumulate", "2"},
      {"--fusion", "bank", "--bank-decay", "0.5", "--expert-init", "drop", "--drop-ratio", "0.3"},
      {"--experts", "1", "--expert-init", "drop", "--keep-function", "false"},
      {"--ema", "0.9", "--dropout", "0.1", "--schedule", "wsd", "--decay-steps", "2", "--clip", "0"},
      {"--schedule", "linear", "--min-lr", "0"},
      {"--schedule", "constant", "--eval-batches", "1", "--eval-interval", "1"}};
  const Desk desk;
  for (const Arguments& kind : kinds) {
    const ProgramResult result = desk.train(kind);
    EXPECT_EQ(result.exit_code, 0) << kind[1] << ' ' << kind.back() << ": " << result.error;
    EXPECT_EQ(number_after(result.out, "after collapse:") > 0, kind[1] != "dense" && kind[1] != "moe");
  }
}

TEST(TrainGpt, ADryRunCountsAModelThatNoMachineHoldsAndDoesNothing) {
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

TEST(TrainGpt, RecomputationGivesTheSameModelAndADryRunCountsLessMemoryAndMoreWork) {
  const Desk desk;
  const Arguments drop{"--dropout", "0.1"};
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

TEST(TrainGpt, ADryRunCountsTheParametersThatTheRunThenHas) {
  const Desk desk;
  const ProgramResult plan = desk.train({"--dry-run"}), run = desk.train();
  const std::string text = run.out.substr(run.out.find("parameters: "), 40);
  std::string digits;
  for (char c : text.substr(0, text.find(" trained"))) {
    if (std::isdigit(static_cast<unsigned char>(c)) != 0) digits += c;
  }
  EXPECT_EQ(number_after(plan.out, "parameters, trained"), std::stod(digits)) << plan.out << run.out;
}

TEST(TrainGpt, GivesTheSameModelForAnyNumberOfThreads) {
  const Desk desk;
  ASSERT_EQ(desk.train({"--out", "one", "--threads", "1", "--dropout", "0.1"}).exit_code, 0);
  ASSERT_EQ(desk.train({"--out", "three", "--threads", "3", "--dropout", "0.1"}).exit_code, 0);
  EXPECT_EQ(read_file(desk.folder / "one" / "model.safetensors"),
            read_file(desk.folder / "three" / "model.safetensors"));
}

TEST(TrainGpt, RefusesBadOptionsNamingTheValueAndTheLimitBeforeItWritesAnything) {
  const Desk desk;
  desk.folder.file("empty.txt", "");
  desk.folder.file("short.txt", "too short");
  desk.folder.file("binary.txt", "\xff\xfe\x00");
  const std::vector<std::pair<Arguments, Arguments>> cases{
      {{"--heads", "3"}, {"16", "3"}},
      {{"--heads", "0"}, {"heads", "0"}},
      {{"--layers", "-1"}, {"layers", "-1"}},
      {{"--experts", "0"}, {"experts", "0", "between 1"}},
      {{"--context", "5000"}, {"5000"}},
      {{"--context", "0"}, {"context", "0"}},
      {{"--batch", "0"}, {"--batch", "0", "1 to 1000000"}},
      {{"--batch", "1000001"}, {"--batch", "1000001", "1 to 1000000"}},
      {{"--accumulate", "0"}, {"--accumulate", "0", "1 to 1000000"}},
      {{"--d-model", "2000000", "--heads", "1"}, {"more than 2^44"}},
      {{"--steps", "0"}, {"--steps", "0", "at least 1"}},
      {{"--steps", "many"}, {"--steps", "many"}},
      {{"--lr", "-1"}, {"lr", "-1"}},
      {{"--lr", "nan"}, {"lr", "nan"}},
      {{"--min-lr", "1"}, {"min_lr", "1", "0.001"}},
      {{"--warmup", "6"}, {"warmup", "6"}},
      {{"--clip", "-2"}, {"--clip", "-2"}},
      {{"--dropout", "1"}, {"dropout", "1"}},
      {{"--ema", "1"}, {"--ema", "1"}},
      {{"--threads", "-1"}, {"--threads", "-1"}},
      {{"--ffn", "sparse"}, {"sparse", "dense"}},
      {{"--fusion", "static", "--static-weights", "nan,1,0,0"}, {"nan"}},
      {{"--fusion", "static", "--static-weights", "0.5,0.5"}, {"2", "4"}},
      {{"--bank-value", "routed"}, {"routed", "straight_through"}},
      {{"--bank-decay", "1"}, {"1", "[0, 1)"}},
      {{"--bank-decay", "0.5", "--ffn", "dense"}, {"--bank-decay", "no effect"}},
      {{"--expert-init", "drop", "--drop-ratio", "2"}, {"2", "[0, 1]"}},
      {{"--ffn", "moe", "--moe-k", "9", "--out", ""}, {"k = 9", "4"}},
      {{"--ffn", "moe"}, {"--out"}},
      {{"--data", "absent.txt"}, {"absent.txt"}},
      {{"--data", "."}, {"folder"}},
      {{"--data", "empty.txt"}, {"empty"}},
      {{"--data", "short.txt"}, {"short.txt", "9", "17"}},
      {{"--data", "binary.txt"}, {"binary.txt", "UTF-8"}},
      {{"--out", "text.txt"}, {"text.txt"}},
      {{"--out", "text.txt/below"}, {"text.txt"}},
      {{"--unknown"}, {"--unknown"}}};
  for (const auto& [arguments, words] : cases) {
    Arguments all{"--out", "model"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    std::string shown;
    for (const auto& argument : arguments) shown += argument + ' ';
    const ProgramResult result = desk.train(all);
    EXPECT_EQ(result.exit_code, 2) << shown;
    for (const auto& word : words) EXPECT_TRUE(has(result.error, word)) << shown << "-> " << result.error;
    EXPECT_FALSE(has(result.out, "step")) << shown;
    EXPECT_FALSE(std::filesystem::exists(desk.folder / "model")) << shown;
  }
  EXPECT_TRUE(has(read_file(desk.folder / "text.txt"), "repeats itself"));
}

TEST(TrainGpt, AnInterruptedRunStopsBetweenStepsAndSavesNothing) {
  const Desk desk;
  testing::Program program(desk.folder.path(), "train_gpt",
                           {"--data", "text.txt", "--layers", "1", "--heads", "1", "--d-model", "8",
                            "--context", "8", "--batch", "1", "--steps", "100000000", "--out", "model"});
  ASSERT_TRUE(program.wait_for("step"));
  program.send(SIGINT);
  const ProgramResult result = program.wait();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_TRUE(has(result.out, "interrupted after step")) << result.out;
  EXPECT_TRUE(std::filesystem::is_empty(desk.folder / "model"));
}

TEST(TrainGpt, ALossThatIsNotFiniteEndsTheRunBeforeAnythingIsSaved) {
  const Desk desk;
  const ProgramResult result =
      desk.train({"--lr", "1e30", "--warmup", "0", "--steps", "50", "--out", "model"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(has(result.error, "finite")) << result.error;
  EXPECT_FALSE(std::filesystem::exists(desk.folder / "model" / "model.safetensors"));
}

TEST(TrainGpt, HelpNamesDefaultsAndExitsWithZero) {
  const Desk desk;
  const ProgramResult result = desk.train({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_TRUE(has(result.out, "--expert-init"));
  EXPECT_TRUE(has(result.out, "=copies"));
}

TEST(Generate, ContinuesAPromptReproducibly) {
  const Desk desk;
  ASSERT_EQ(desk.train({"--out", "model"}).exit_code, 0);
  const auto run = [&](const std::string& seed) {
    return desk.generate(
        {"--model", "model", "--prompt", "line ", "--tokens", "40", "--seed", seed, "--top-k", "5"});
  };
  const ProgramResult first = run("1");
  ASSERT_EQ(first.exit_code, 0) << first.error;
  EXPECT_TRUE(first.out.starts_with("line "));
  EXPECT_EQ(first.out.size(), std::string("line ").size() + 40 + 1);
  EXPECT_EQ(first.out, run("1").out);
  EXPECT_NE(first.out, run("2").out);
}

TEST(Generate, RefusesBadInputNamingIt) {
  const Desk desk;
  ASSERT_EQ(desk.train({"--out", "model"}).exit_code, 0);
  const std::vector<std::pair<Arguments, std::string>> cases{
      {{"--model", "absent"}, "absent"},
      {{"--model", "model", "--prompt", "Z"}, "'Z'"},
      {{"--model", "model", "--prompt", ""}, "empty"},
      {{"--model", "model", "--temperature", "-1"}, "-1"},
      {{"--model", "model", "--top-k", "-1"}, "-1"},
      {{"--model", "model", "--tokens", "-5"}, "-5"},
      {{}, "--model"}};
  for (const auto& [arguments, word] : cases) {
    const ProgramResult result = desk.generate(arguments);
    EXPECT_EQ(result.exit_code, 2) << word;
    EXPECT_TRUE(has(result.error, word)) << result.error;
  }
  desk.folder.file("model/vocab.json", R"({"a": 0})");
  EXPECT_EQ(desk.generate({"--model", "model", "--prompt", "a"}).exit_code, 2);
  desk.folder.file("model/model.safetensors", "damaged");
  EXPECT_EQ(desk.generate({"--model", "model", "--prompt", "a"}).exit_code, 2);
}

}  // namespace
}  // namespace exfusion
