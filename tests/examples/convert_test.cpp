#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/core/file.hpp>
#include <exfusion/io/vit.hpp>

#include "examples/run_program.hpp"
#include "temporary_folder.hpp"

namespace exfusion {
namespace {

using testing::ProgramResult;
using testing::run_program;
using Arguments = std::vector<std::string>;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A folder with a small dense GPT, of a few steps' training, and programs run in it.
struct Desk {
  testing::TemporaryFolder folder;

  Desk() {
    std::string text;
    for (int i = 0; i < 60; ++i) text += "line " + std::to_string(i) + " of a text that repeats itself\n";
    folder.file("text.txt", text);
    const ProgramResult trained = train({"--ffn", "dense", "--layers", "2", "--heads", "2", "--d-model", "16",
                                         "--out", "dense", "--tokenizer", "bpe:270"});
    EXPECT_EQ(trained.exit_code, 0) << trained.error;
  }

  ProgramResult run(const std::string& program, const Arguments& arguments) const {
    return run_program(folder.path(), program, arguments);
  }
  ProgramResult train(const Arguments& more) const {
    Arguments all{"--data", "text.txt", "--context", "16", "--batch", "4", "--steps", "4", "--warmup", "2"};
    all.insert(all.end(), more.begin(), more.end());
    return run("train_gpt", all);
  }
  ProgramResult convert(const Arguments& arguments) const { return run("convert", arguments); }
  std::string file(const std::string& name) const { return read_file(folder / name); }
};

TEST(Convert, CollapsingEqualExpertsGivesTheBytesBack) {
  const Desk desk;
  for (const Arguments& kind : {Arguments{}, Arguments{"--experts", "8", "--fusion", "static"},
                                Arguments{"--experts", "16", "--fusion", "learned"}}) {
    Arguments upcycle{"upcycle", "dense", "fused.safetensors", "--overwrite"};
    upcycle.insert(upcycle.end(), kind.begin(), kind.end());
    const ProgramResult fused = desk.convert(upcycle);
    ASSERT_EQ(fused.exit_code, 0) << fused.error;
    const ProgramResult back = desk.convert({"collapse", "fused.safetensors", "back", "--overwrite"});
    ASSERT_EQ(back.exit_code, 0) << back.error;
    for (const char* name : {"model.safetensors", "config.json", "tokenizer.json"})
      EXPECT_TRUE(desk.file(std::string("back/") + name) == desk.file(std::string("dense/") + name))
          << name << ", " << fused.out;
  }
}

TEST(Convert, WhatIsUpcycledTrainsWithItsExperts) {
  const Desk desk;
  ASSERT_EQ(desk.convert({"upcycle", "dense", "fused.safetensors", "--experts", "3", "--fusion", "learned",
                          "--fusion-granularity", "row", "--expert-init", "zero_sum", "--seed", "5"})
                .exit_code,
            0);
  // Nothing is learned with a rate of nearly 0: what is saved is what the file amounts to.
  const ProgramResult trained =
      desk.train({"--init-from", "fused.safetensors", "--lr", "1e-30", "--min-lr", "0", "--out", "run"});
  ASSERT_EQ(trained.exit_code, 0) << trained.error;
  EXPECT_TRUE(has(trained.out, "3 experts fused into one, rule learned")) << trained.out;
  EXPECT_TRUE(has(desk.file("run/config.toml"), "fusion-granularity = \"row\""))
      << desk.file("run/config.toml");
  ASSERT_EQ(desk.convert({"collapse", "fused.safetensors", "collapsed"}).exit_code, 0);
  EXPECT_TRUE(desk.file("run/model.safetensors") == desk.file("collapsed/model.safetensors"));
  const ProgramResult refused = desk.train({"--init-from", "fused.safetensors", "--experts", "4"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_TRUE(has(refused.error, "leave --experts away")) << refused.error;
  // The experts' differences come out in the checkpoint: training began with them, not with copies.
  const ProgramResult inspected = desk.convert({"inspect", "run/checkpoints/step-4.safetensors"});
  EXPECT_TRUE(has(inspected.out, "\"granularity\":\"row\"")) << inspected.out;
  const ProgramResult resumed =
      desk.train({"--init-from", "fused.safetensors", "--out", "two", "--stop-after", "2"});
  EXPECT_EQ(resumed.exit_code, 130) << resumed.error;
  EXPECT_EQ(desk.run("train_gpt", {"--resume", "two"}).exit_code, 0);
}

TEST(Convert, TurnsACheckpointIntoTheFolderThatItsRunExports) {
  const Desk desk;
  ASSERT_EQ(desk.train({"--out", "run", "--init-from", "dense"}).exit_code, 0);
  ASSERT_EQ(desk.convert({"to-hf", "run/checkpoints/step-4.safetensors", "hf"}).exit_code, 0);
  for (const char* name : {"model.safetensors", "config.json", "tokenizer.json"})
    EXPECT_TRUE(desk.file(std::string("hf/") + name) == desk.file(std::string("run/") + name)) << name;
}

TEST(Convert, StoresWeightsAsAskedFor) {
  const Desk desk;
  ASSERT_EQ(desk.convert({"to-hf", "dense", "half", "--dtype", "bf16"}).exit_code, 0);
  const ProgramResult inspected = desk.convert({"inspect", "half"});
  EXPECT_TRUE(has(inspected.out, "transformer.wte.weight  BF16 ")) << inspected.out;
  EXPECT_FALSE(has(inspected.out, "F32")) << inspected.out;
  EXPECT_TRUE(has(desk.file("half/config.json"), "\"torch_dtype\": \"bfloat16\""))
      << desk.file("half/config.json");
  EXPECT_EQ(desk.run("generate", {"--model", "half", "--prompt", "line", "--tokens", "3"}).exit_code, 0);
  // Nothing more is lost on the way back.
  ASSERT_EQ(desk.convert({"to-hf", "half", "again", "--dtype", "bf16"}).exit_code, 0);
  EXPECT_TRUE(desk.file("again/model.safetensors") == desk.file("half/model.safetensors"));
}

TEST(Convert, GgufGivesTheModelAndItsTokenizerBack) {
  const Desk desk;
  ASSERT_EQ(desk.convert({"to-gguf", "dense", "model.gguf"}).exit_code, 0);
  ASSERT_EQ(desk.convert({"to-hf", "model.gguf", "back"}).exit_code, 0);
  for (const char* name : {"model.safetensors", "tokenizer.json"})
    EXPECT_TRUE(desk.file(std::string("back/") + name) == desk.file(std::string("dense/") + name)) << name;
  EXPECT_EQ(desk.run("generate", {"--model", "model.gguf", "--prompt", "line", "--tokens", "3"}).exit_code,
            0);
  const ProgramResult inspected = desk.convert({"inspect", "model.gguf"});
  EXPECT_TRUE(has(inspected.out, "blk.1.ffn_down.weight")) << inspected.out;
  ASSERT_EQ(desk.convert({"to-gguf", "dense", "half.gguf", "--dtype", "f16"}).exit_code, 0);
  EXPECT_LT(std::filesystem::file_size(desk.folder / "half.gguf"),
            std::filesystem::file_size(desk.folder / "model.gguf") * 3 / 4);
}

TEST(Convert, InspectSaysWhatThereIs) {
  const Desk desk;
  const ProgramResult dense = desk.convert({"inspect", "dense"});
  EXPECT_EQ(dense.exit_code, 0) << dense.error;
  for (const char* part : {"a dense model", "transformer.wte.weight  F32 [270,16]", "GPT-2", "270 tokens"})
    EXPECT_TRUE(has(dense.out, part)) << dense.out;
  const ProgramResult run = desk.convert({"inspect", "dense/checkpoints/step-4.safetensors"});
  for (const char* part : {"a checkpoint of a run", "after step 4", "{\"kind\":\"dense\"}", "model.wte"})
    EXPECT_TRUE(has(run.out, part)) << run.out;
}

TEST(Convert, InspectReadsAnySafetensorsFile) {
  const Desk desk;
  const ProgramResult result = desk.convert({"inspect", "dense/model.safetensors"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_TRUE(has(result.out, "transformer.wpe.weight  F32 [16,16]")) << result.out;
}

TEST(Convert, AVitKeepsItsLabelsAndHowItsImagesBecomeNumbers) {
  const Desk desk;
  Rng rng(3);
  io::save_vit(
      Vit<float>({.image_size = 6, .patch_size = 3, .classes = 2, .layers = 1, .heads = 1, .d_model = 4},
                 rng),
      desk.folder / "vit", {"cat", "dog"});
  desk.folder.file("vit/preprocessor_config.json", "{\"image_mean\": [0.5]}");
  ASSERT_EQ(desk.convert({"to-hf", "vit", "back"}).exit_code, 0);
  ASSERT_EQ(desk.convert({"upcycle", "vit", "fused.safetensors"}).exit_code, 0);
  ASSERT_EQ(desk.convert({"collapse", "fused.safetensors", "collapsed"}).exit_code, 0);
  for (const char* folder : {"back/", "collapsed/"}) {
    for (const char* name : {"model.safetensors", "config.json"})
      EXPECT_TRUE(desk.file(std::string(folder) + name) == desk.file(std::string("vit/") + name))
          << folder << name;
  }
  EXPECT_EQ(desk.file("back/preprocessor_config.json"), "{\"image_mean\": [0.5]}");
}

TEST(Convert, RefusesWhatItCannotDo) {
  const Desk desk;
  desk.folder.file("there", "precious");
  const std::vector<std::pair<Arguments, std::string>> cases{
      {{"inspect", "absent"}, "absent"},
      {{"inspect", "text.txt"}, "text.txt"},
      {{"collapse", "dense", "out"}, "dense already"},
      {{"upcycle", "dense", "there"}, "--overwrite"},
      {{"upcycle", "dense", "out", "--experts", "0"}, "expert"},
      {{"upcycle", "dense", "out", "--fusion", "static", "--bank-decay", "0.5"}, "no effect"},
      {{"upcycle", "dense", "out", "--moe-k", "2"}, "--moe-k"},
      {{"to-hf", "dense", "dense"}, "--overwrite"},
      {{"upcycle", "dense"}, "target"},
      {{}, "subcommand"}};
  for (const auto& [arguments, word] : cases) {
    const ProgramResult result = desk.convert(arguments);
    EXPECT_EQ(result.exit_code, 2) << word;
    EXPECT_TRUE(has(result.error, word)) << word << ": " << result.error;
    EXPECT_FALSE(std::filesystem::exists(desk.folder / "out")) << word;
  }
  EXPECT_EQ(desk.file("there"), "precious");
}

}  // namespace
}  // namespace exfusion
