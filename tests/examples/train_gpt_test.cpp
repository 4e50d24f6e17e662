#include <cctype>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/text.hpp>
#include <exfusion/data/tokenizer_file.hpp>
#include <exfusion/io/gpt2.hpp>
#include <exfusion/train/checkpoint_folder.hpp>
#include <exfusion/train/evaluate.hpp>
#include <exfusion/train/stored_model.hpp>

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
  EXPECT_TRUE(has(result.out, "step 3, epoch 0.1: validation loss")) << result.out;
  EXPECT_TRUE(has(result.out, "step 6/6 (100 %) | loss")) << result.out;
  EXPECT_TRUE(has(result.out, "blocks.1.ffn")) << result.out;
  const double fused = number_after(result.out, "\nvalidation loss:");
  const double collapsed = number_after(result.out, "after collapse:");
  EXPECT_EQ(fused, collapsed);

  const auto text = data::TextDataset::from_file(desk.folder / "text.txt", {.context = 16});
  const auto model = io::load_gpt2<float>(desk.folder / "model");
  EXPECT_NEAR(train::evaluate_text(model, data::TextBatches(text.validation, 4, 16)), collapsed, 6e-5);
  EXPECT_EQ(data::load_tokenizer(desk.folder / "model"), text.tokenizer);
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
      {{"--resume", "model"}, {"model"}},
      {{"--override", "steps,colour", "--resume", "auto"}, {"colour", "no option"}},
      {{"--override", "steps"}, {"--override", "no effect", "--resume"}},
      {{"--config", "absent.toml"}, {"absent.toml"}},
      {{"--config", "text.txt"}, {"text.txt"}},
      {{"--init-from", "text.txt"}, {"no effect", "--init-from"}},
      {{"--label-smoothing", "1"}, {"--label-smoothing", "1"}},
      {{"--keep-last", "0"}, {"--keep-last", "0"}},
      {{"--keep-last", "2", "--out", ""}, {"--keep-last", "no effect", "--out"}},
      {{"--max-bad-steps", "0"}, {"--max-bad-steps", "0"}},
      {{"--patience", "-1"}, {"--patience", "-1"}},
      {{"--compare", "absent"}, {"--compare", "absent", "metrics.jsonl"}},
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

/// A run that would never end by itself.
const Arguments endless{"--data",    "text.txt",  "--layers",  "1",    "--heads", "1",
                        "--d-model", "8",         "--context", "8",    "--batch", "1",
                        "--steps",   "100000000", "--out",     "model"};

TEST(TrainGpt, AnInterruptedRunSavesACheckpointAndSaysHowToGoOn) {
  const Desk desk;
  for (const int signal : {SIGINT, SIGTERM}) {
    Arguments arguments = endless;
    arguments.insert(arguments.end(), {"--resume", "auto"});
    std::filesystem::remove(desk.folder / "stdout.txt");
    testing::Program program(desk.folder.path(), "train_gpt", arguments);
    ASSERT_TRUE(program.wait_for("step "));
    program.send(signal);
    const ProgramResult result = program.wait();
    EXPECT_EQ(result.exit_code, 130);
    EXPECT_TRUE(has(result.out, "interrupted after step")) << result.out;
    EXPECT_TRUE(has(result.out, "train_gpt --resume model")) << result.out;
    std::vector<std::string> notes;
    const auto checkpoint = train::open_newest_checkpoint(desk.folder / "model/checkpoints", notes);
    ASSERT_TRUE(checkpoint);
    EXPECT_EQ(checkpoint->info().state["step"], number_after(result.out, "interrupted after step"));
  }
}

TEST(TrainGpt, ARunWithoutAFolderSaysThatNothingWasSaved) {
  const Desk desk;
  Arguments arguments = endless;
  arguments.back() = "";
  testing::Program program(desk.folder.path(), "train_gpt", arguments);
  ASSERT_TRUE(program.wait_for("step "));
  program.send(SIGINT);
  const ProgramResult result = program.wait();
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_TRUE(has(result.out, "nothing was saved")) << result.out;
}

TEST(TrainGpt, TwoRunsCannotWriteIntoOneFolder) {
  const Desk desk;
  testing::Program first(desk.folder.path(), "train_gpt", endless);
  ASSERT_TRUE(first.wait_for("step "));
  Arguments second = endless;
  second.push_back("--overwrite");
  std::filesystem::create_directory(desk.folder / "elsewhere");
  second.back() = "--overwrite";
  for (auto& word : second) {
    if (word == "text.txt" || word == "model") word = "../" + word;
  }
  const ProgramResult result = run_program(desk.folder / "elsewhere", "train_gpt", second);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(has(result.error, "in use by another run")) << result.error;
  first.send(SIGKILL);
}

TEST(TrainGpt, AStoppedRunEndsWithTheBitsOfOneThatWasNot) {
  const Desk desk;
  const Arguments common{"--steps",
                         "40",
                         "--accumulate",
                         "2",
                         "--ema",
                         "0.9",
                         "--dropout",
                         "0.1",
                         "--sample-interval",
                         "10",
                         "--eval-interval",
                         "10",
                         "--checkpoint-interval",
                         "7"};
  const auto run = [&](Arguments more) {
    more.insert(more.begin(), common.begin(), common.end());
    return desk.train(more);
  };
  ASSERT_EQ(run({"--out", "straight"}).exit_code, 0);
  ASSERT_EQ(run({"--out", "stopped", "--stop-after", "13"}).exit_code, 130);
  // Options come from the checkpoint; those that change no result may differ.
  const ProgramResult result =
      run_program(desk.folder.path(), "train_gpt", {"--resume", "stopped", "--threads", "1"});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_TRUE(has(result.out, "goes on after step 13")) << result.out;
  EXPECT_EQ(read_file(desk.folder / "straight/model.safetensors"),
            read_file(desk.folder / "stopped/model.safetensors"));
  EXPECT_EQ(read_file(desk.folder / "straight/config.json"), read_file(desk.folder / "stopped/config.json"));
  // A run that is over is only evaluated again.
  ASSERT_EQ(run_program(desk.folder.path(), "train_gpt", {"--resume", "auto", "--out", "stopped"}).exit_code,
            0);
  EXPECT_EQ(read_file(desk.folder / "straight/model.safetensors"),
            read_file(desk.folder / "stopped/model.safetensors"));
}

TEST(TrainGpt, ResumingWithOtherOptionsListsThemUnlessTheyAreMeant) {
  const Desk desk;
  ASSERT_EQ(desk.train({"--out", "model", "--stop-after", "2"}).exit_code, 130);
  const auto resume = [&](Arguments more) {
    more.insert(more.begin(), {"--resume", "model"});
    return run_program(desk.folder.path(), "train_gpt", more);
  };
  const ProgramResult refused =
      resume({"--lr", "5e-4", "--steps", "8", "--fusion", "learned", "--batch", "4", "--beta2", "9.9e-1"});
  EXPECT_EQ(refused.exit_code, 2);
  for (const char* line :
       {"--lr: 0.001 there, 5e-4 here", "--steps: 6 there, 8 here", "--fusion: bank there, learned here"})
    EXPECT_TRUE(has(refused.error, line)) << refused.error;
  EXPECT_FALSE(has(refused.error, "--batch") || has(refused.error, "--beta2")) << refused.error;
  EXPECT_EQ(resume({"--lr", "5e-4", "--steps", "8", "--override", "lr"}).exit_code, 2);
  const ProgramResult meant = resume({"--lr", "5e-4", "--steps", "8", "--override", "lr,steps"});
  EXPECT_EQ(meant.exit_code, 0) << meant.error;
  EXPECT_TRUE(has(meant.out, "step 8/8")) << meant.out;
  // Other data are noticed, too.
  desk.folder.file("text.txt",
                   "line 1 of a text that repeats itself\n" + read_file(desk.folder / "text.txt"));
  const ProgramResult other = resume({});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_TRUE(has(other.error, "data")) << other.error;
}

TEST(TrainGpt, NeverReplacesARunOrAModelUnlessTold) {
  const Desk desk;
  ASSERT_EQ(desk.train({"--out", "model"}).exit_code, 0);
  const std::string model = read_file(desk.folder / "model/model.safetensors");
  const ProgramResult refused = desk.train({"--out", "model", "--seed", "2"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_TRUE(has(refused.error, "--resume auto")) << refused.error;
  EXPECT_EQ(read_file(desk.folder / "model/model.safetensors"), model);
  EXPECT_EQ(desk.train({"--out", "model", "--seed", "2", "--overwrite"}).exit_code, 0);
  EXPECT_NE(read_file(desk.folder / "model/model.safetensors"), model);
}

TEST(TrainGpt, ARunGoesOnInAnotherFolderButNeverOverAnotherRun) {
  const Desk desk;
  ASSERT_EQ(desk.train({"--out", "one", "--stop-after", "3"}).exit_code, 130);
  ASSERT_EQ(desk.train({"--out", "other", "--stop-after", "4"}).exit_code, 130);
  const auto resume = [&](const std::string& out) {
    return run_program(desk.folder.path(), "train_gpt",
                       {"--resume", "one/checkpoints/step-3.safetensors", "--out", out});
  };
  const ProgramResult refused = resume("other");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_TRUE(has(refused.error, "--overwrite")) << refused.error;
  EXPECT_TRUE(std::filesystem::exists(desk.folder / "other/checkpoints/step-4.safetensors"));
  ASSERT_EQ(resume("branch").exit_code, 0);
  EXPECT_TRUE(std::filesystem::exists(desk.folder / "branch/checkpoints/step-6.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(desk.folder / "one/checkpoints/step-3.safetensors"));
  ASSERT_EQ(resume("one").exit_code, 0);
  EXPECT_EQ(read_file(desk.folder / "one/model.safetensors"),
            read_file(desk.folder / "branch/model.safetensors"));
}

TEST(TrainGpt, ReadsTheConfigurationThatItSaved) {
  const Desk desk;
  ASSERT_EQ(desk.train({"--out", "first", "--fusion", "static", "--experts", "2", "--static-weights",
                        "0.25,0.75", "--recompute"})
                .exit_code,
            0);
  const ProgramResult second =
      run_program(desk.folder.path(), "train_gpt", {"--config", "first/config.toml", "--out", "second"});
  ASSERT_EQ(second.exit_code, 0) << second.error;
  EXPECT_EQ(read_file(desk.folder / "first/model.safetensors"),
            read_file(desk.folder / "second/model.safetensors"));
  EXPECT_EQ(read_file(desk.folder / "first/config.toml"), read_file(desk.folder / "second/config.toml"));
  // The command line wins, and what then has no effect is left aside.
  const ProgramResult dense = run_program(
      desk.folder.path(), "train_gpt", {"--config", "first/config.toml", "--ffn", "dense", "--out", "dense"});
  EXPECT_EQ(dense.exit_code, 0) << dense.error;
  EXPECT_FALSE(has(read_file(desk.folder / "dense/config.toml"), "experts"));
  desk.folder.file("wrong.toml", "steps = 3\ncolour = \"red\"\n");
  EXPECT_TRUE(has(desk.train({"--config", "wrong.toml"}).error, "'colour'"));
  desk.folder.file("wrong.toml", "heads = \"many\"\n");
  const ProgramResult wrong = run_program(desk.folder.path(), "train_gpt", {"--config", "wrong.toml"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_TRUE(has(wrong.error, "many")) << wrong.error;
}

TEST(TrainGpt, BeginsWithTheModelOfAFinishedRun) {
  const Desk desk;
  ASSERT_EQ(desk.train({"--out", "dense", "--ffn", "dense", "--steps", "30"}).exit_code, 0);
  Arguments arguments{"--data",      "text.txt", "--batch",         "4",    "--steps",  "6",
                      "--context",   "16",       "--eval-interval", "1",    "--warmup", "5",
                      "--init-from", "dense",    "--out",           "fused"};
  const ProgramResult fused = run_program(desk.folder.path(), "train_gpt", arguments);
  ASSERT_EQ(fused.exit_code, 0) << fused.error;
  const double before = number_after(read_file(desk.folder / "dense/metrics.jsonl"),
                                     "\"kind\":\"result\",\"step\":30,\"loss\":");
  EXPECT_NEAR(number_after(fused.out, "validation loss"), before, 0.1);
  arguments.back() = "other";
  arguments[13] = "absent";
  EXPECT_TRUE(has(run_program(desk.folder.path(), "train_gpt", arguments).error, "absent"));
  arguments[13] = "dense";
  // A text with a character that the model does not know.
  desk.folder.file("other.txt", read_file(desk.folder / "text.txt") + "\u00e9");
  arguments[1] = "other.txt";
  EXPECT_TRUE(has(run_program(desk.folder.path(), "train_gpt", arguments).error, "U+00E9"));
  // The run goes on without the folder that it began with.
  arguments[1] = "text.txt";
  arguments.insert(arguments.end(), {"--stop-after", "3"});
  ASSERT_EQ(run_program(desk.folder.path(), "train_gpt", arguments).exit_code, 130);
  std::filesystem::remove_all(desk.folder / "dense");
  const ProgramResult resumed = run_program(desk.folder.path(), "train_gpt", {"--resume", "other"});
  EXPECT_EQ(resumed.exit_code, 0) << resumed.error;
  EXPECT_EQ(read_file(desk.folder / "other/model.safetensors"),
            read_file(desk.folder / "fused/model.safetensors"));
}

TEST(TrainGpt, ACheckpointHoldsTheModelThatItsRunExports) {
  const Desk desk;
  const std::vector<Arguments> kinds{{"--ffn", "dense"},
                                     {"--fusion", "static", "--expert-init", "zero_sum"},
                                     {"--fusion", "learned", "--fusion-granularity", "row"},
                                     {"--fusion", "bank", "--ema", "0.9"}};
  for (const Arguments& kind : kinds) {
    Arguments arguments{"--out", "run", "--steps", "5", "--overwrite"};
    arguments.insert(arguments.end(), kind.begin(), kind.end());
    ASSERT_EQ(desk.train(arguments).exit_code, 0);
    const io::CheckpointReader checkpoint(desk.folder / "run/checkpoints/step-5.safetensors");
    const auto read = collect_parameters<float>(train::read_gpt<float>(checkpoint)).parameters;
    const auto saved = collect_parameters<float>(io::load_gpt2<float>(desk.folder / "run")).parameters;
    ASSERT_EQ(read.size(), saved.size());
    for (std::size_t i = 0; i < read.size(); ++i) {
      EXPECT_TRUE(std::ranges::equal(read[i].tensor.values(), saved[i].tensor.values()))
          << kind[1] << ' ' << read[i].name;
    }
  }
}

TEST(TrainGpt, BeginsWithTheModelOfARunThatHasNotEnded) {
  const Desk desk;
  ASSERT_EQ(desk.train({"--out", "run", "--steps", "9", "--stop-after", "4"}).exit_code, 130);
  const auto file = std::string("run/checkpoints/step-4.safetensors");
  for (const std::string& from : {std::string("run"), file}) {
    const ProgramResult next = run_program(desk.folder.path(), "train_gpt",
                                           {"--data", "text.txt", "--batch", "4", "--steps", "2", "--context",
                                            "16", "--init-from", from, "--out", from == "run" ? "a" : "b"});
    ASSERT_EQ(next.exit_code, 0) << next.error;
  }
  EXPECT_EQ(read_file(desk.folder / "a/model.safetensors"), read_file(desk.folder / "b/model.safetensors"));
  const Arguments prompt{"--model", "run", "--prompt", "the", "--tokens", "5"};
  EXPECT_EQ(desk.generate(prompt).exit_code, 0);
  // A damaged checkpoint is passed over, and that is said.
  std::filesystem::copy(desk.folder / file, desk.folder / "run/checkpoints/step-5.safetensors");
  std::filesystem::resize_file(desk.folder / "run/checkpoints/step-5.safetensors", 5000);
  const ProgramResult generated = desk.generate(prompt);
  EXPECT_EQ(generated.exit_code, 0);
  EXPECT_TRUE(has(generated.error, "step-5")) << generated.error;
}

TEST(TrainGpt, LearnsAVocabularyOfBytePairs) {
  const Desk desk;
  const ProgramResult stopped = desk.train({"--tokenizer", "bpe:270", "--out", "run", "--stop-after", "3"});
  ASSERT_EQ(stopped.exit_code, 130) << stopped.error;
  const ProgramResult resumed = run_program(desk.folder.path(), "train_gpt", {"--resume", "run"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.error;
  EXPECT_EQ(io::load_gpt2<float>(desk.folder / "run").config.vocab_size, 270);
  EXPECT_EQ(data::load_tokenizer(desk.folder / "run").vocab_size(), 270);
  EXPECT_TRUE(has(resumed.out, "tokens to train")) << resumed.out;
  const ProgramResult text = desk.generate({"--model", "run", "--prompt", "line 5\u00e9", "--tokens", "5"});
  EXPECT_EQ(text.exit_code, 0) << text.error;
  EXPECT_TRUE(text.out.starts_with("line 5\u00e9")) << text.out;
  // A folder's tokenizer serves another model.
  EXPECT_EQ(desk.train({"--tokenizer", "run", "--out", "other"}).exit_code, 0);
  EXPECT_EQ(read_file(desk.folder / "other/tokenizer.json"), read_file(desk.folder / "run/tokenizer.json"));
  for (const char* wrong : {"bpe:", "bpe:256", "bpe:x", "bpe:1e300", "absent"}) {
    const ProgramResult result = desk.train({"--tokenizer", wrong});
    EXPECT_EQ(result.exit_code, 2) << wrong;
    EXPECT_NE(result.error, "") << wrong;
  }
}

TEST(TrainGpt, ABudgetOfTokensEndsTheRunAndItsSchedule) {
  const Desk desk;
  const ProgramResult result = desk.train({"--steps", "100", "--max-tokens", "257"});  // 64 tokens a step
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_TRUE(has(result.out, "step 5/5")) << result.out;
  EXPECT_TRUE(has(result.out, "| lr 1.00e-04")) << result.out;
}

TEST(TrainGpt, ALossThatIsNotFiniteEndsTheRunWithItsOwnExitCode) {
  const Desk desk;
  const ProgramResult result = desk.train({"--lr", "1e30", "--warmup", "0", "--steps", "50", "--out", "model",
                                           "--max-bad-steps", "4", "--checkpoint-interval", "1"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_TRUE(has(result.out, "step 2 skipped")) << result.out;
  EXPECT_TRUE(has(result.error, "not finite")) << result.error;
  EXPECT_FALSE(std::filesystem::exists(desk.folder / "model/model.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(desk.folder / "model/metrics.jsonl"));
}

TEST(TrainGpt, QuietRunsSayOnlyTheResult) {
  const Desk desk;
  const ProgramResult result = desk.train({"--quiet"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_FALSE(has(result.out, "step "));
  EXPECT_FALSE(has(result.out, "parameters"));
  EXPECT_TRUE(has(result.out, "validation loss"));
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

}  // namespace
}  // namespace exfusion
