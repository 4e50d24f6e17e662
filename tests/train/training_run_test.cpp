#include <csignal>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/image_loader.hpp>
#include <exfusion/data/text_loader.hpp>
#include <exfusion/models/gpt.hpp>
#include <exfusion/models/upcycle.hpp>
#include <exfusion/models/vit.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/nn/static_fusion.hpp>
#include <exfusion/optim/schedule.hpp>
#include <exfusion/train/evaluate.hpp>
#include <exfusion/train/training_run.hpp>

#include "temporary_folder.hpp"

namespace exfusion::train {
namespace {

using testing::TemporaryFolder;

constexpr Index all_steps = 200;

/// A text and a loader over it, whose epochs take 9.25 steps.
struct TextTask {
  using Config = GptConfig;
  static constexpr GptConfig config{
      .vocab_size = 11, .context = 8, .layers = 2, .heads = 2, .d_model = 16, .dropout = 0.1};

  std::vector<std::int32_t> tokens = make_tokens();
  data::TextLoader loader{tokens, {.batch = 2, .context = 8, .seed = 3}};

  static Gpt<float> make_model(Rng& rng) { return Gpt<float>(config, rng); }
  static std::vector<std::int32_t> make_tokens() {
    Rng rng(5);
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 320; ++i) tokens.push_back(static_cast<std::int32_t>(rng.below(11)));
    return tokens;
  }
  template <class Model>
  Tensor<float> next_loss(const Model& model, const Context<float>& ctx) {
    const auto& [inputs, targets] = loader.next();
    return model.loss(ctx, inputs, targets, {.label_smoothing = 0.1});
  }
  template <class Model>
  double evaluate(const Model& model) const {
    return evaluate_text(model, data::TextBatches(tokens, 4, 8), 2);
  }
};

/// Random images and a loader that crops and mirrors them.
struct ImageTask {
  using Config = VitConfig;
  static constexpr VitConfig config{.image_size = 8,
                                    .channels = 1,
                                    .patch_size = 4,
                                    .classes = 3,
                                    .layers = 2,
                                    .heads = 2,
                                    .d_model = 16,
                                    .dropout = 0.1,
                                    .drop_path = 0.1};

  data::ImageDataset images = make_images();
  data::Normalisation normalisation = data::Normalisation::of(images);
  data::ImageLoader<float> loader{
      images,
      normalisation,
      {.batch = 2, .seed = 3, .augmentation = {.crop_padding = 1, .horizontal_flip = true}}};

  static Vit<float> make_model(Rng& rng) { return Vit<float>(config, rng); }
  static data::ImageDataset make_images() {
    Rng rng(5);
    data::ImageDataset images{
        .channels = 1, .height = 8, .width = 8, .pixels = {}, .labels = {}, .class_names = {"a", "b", "c"}};
    for (int i = 0; i < 37; ++i) {
      images.labels.push_back(static_cast<std::int32_t>(rng.below(3)));
      for (int pixel = 0; pixel < 64; ++pixel)
        images.pixels.push_back(static_cast<std::uint8_t>(rng.below(256)));
    }
    return images;
  }
  template <class Model>
  Tensor<float> next_loss(const Model& model, const Context<float>& ctx) {
    const auto& [pixels, labels] = loader.next();
    return ops::cross_entropy(ctx, model(ctx, pixels), labels);
  }
  template <class Model>
  double evaluate(const Model& model) const {
    return evaluate_images(model, data::ImageBatches<float>(images, normalisation, 8)).loss;
  }
};

TrainingOptions options_for(const std::filesystem::path& folder, Precision precision = Precision::fp32) {
  return {.steps = all_steps,
          .accumulate = 2,
          .learning_rate =
              [schedule = CosineSchedule({.lr = 1e-2, .min_lr = 1e-4, .warmup = 10, .steps = all_steps})](
                  Index step) { return schedule.at(step); },
          .adamw = {.beta2 = 0.99},
          .ema = 0.9,
          .precision = precision,
          .folder = folder,
          .checkpoints = {.interval = 0, .minutes = 0},
          .config = nlohmann::json::object(),
          .progress = {.interval = 7, .quiet = true}};
}

/// Where a session is stopped: before a pass of a step, or not at all.
struct StopAt {
  Index step = -1;
  Index pass = 0;
};

/// One session of a run: from the beginning, or from the newest checkpoint if there is one.
template <class Task, class MakeModel>
Ending train_session(const TrainingOptions& options, const MakeModel& make_model, const StopAt& stop = {}) {
  std::vector<std::string> notes;
  const auto from = open_newest_checkpoint(options.folder / "checkpoints", notes);
  Task task;
  Rng rng(from ? 99 : 1);  // what a continued run does not take from its checkpoint would show
  const auto model = make_model(rng);
  TrainingRun<float, std::remove_const_t<decltype(model)>, decltype(task.loader)> run(
      model, task.loader, rng, options, {}, from.get());
  while (run.begin_step()) {
    for (Index pass = 0; pass < options.accumulate && run.goes_on(); ++pass) {
      if (run.step() == stop.step && pass == stop.pass) std::raise(SIGTERM);
      run.pass([&](const Context<float>& ctx) { return task.next_loss(model, ctx); });
    }
    if (run.end_step() && run.step() % 50 == 0)
      run.evaluate([&] { return ValidationRow{.loss = task.evaluate(model)}; });
  }
  return run.ending();
}

/// All of a checkpoint but the time it took.
struct Saved {
  nlohmann::json state;
  std::vector<std::pair<std::string, std::string>> arrays;
  bool operator==(const Saved&) const = default;
};

Saved read_saved(const std::filesystem::path& path) {
  const io::CheckpointReader reader(path);
  Saved saved{.state = reader.info().state, .arrays = {}};
  saved.state.erase("seconds");
  const std::string content = read_file(path);
  for (const auto& tensor : reader.tensors()) {
    std::string bytes;
    io::SafetensorsReader(path).for_each_chunk(tensor.name, [&](std::span<const std::byte> part) {
      bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
    });
    saved.arrays.emplace_back(tensor.name, bytes);
  }
  return saved;
}

/// The rows of training and validation without what depends on the clock.
std::vector<nlohmann::json> read_rows(const std::filesystem::path& folder) {
  std::vector<nlohmann::json> rows;
  std::istringstream lines(read_file(folder / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    auto row = nlohmann::json::parse(line);
    if (row["kind"] == "run" || row["kind"] == "event") continue;
    for (const char* key : {"items_per_second", "mfu", "seconds", "memory_bytes"}) row.erase(key);
    rows.push_back(row);
  }
  return rows;
}

template <class Task, class MakeModel>
void expect_that_a_stopped_run_ends_alike(const MakeModel& make_model, Precision precision) {
  const TemporaryFolder folder;
  ASSERT_EQ(train_session<Task>(options_for(folder / "straight", precision), make_model), Ending::finished);
  const Saved straight = read_saved(checkpoint_path(folder / "straight/checkpoints", all_steps));
  const auto rows = read_rows(folder / "straight");
  ASSERT_GT(straight.arrays.size(), 10U);
  for (const StopAt stop : {StopAt{1}, StopAt{37}, StopAt{100}, StopAt{150, 1}, StopAt{199}}) {
    const auto options = options_for(folder / ("stopped" + std::to_string(stop.step)), precision);
    ASSERT_EQ(train_session<Task>(options, make_model, stop), Ending::interrupted);
    ASSERT_EQ(list_checkpoints(options.folder / "checkpoints").front().step, stop.step);
    ASSERT_EQ(train_session<Task>(options, make_model), Ending::finished);
    const Saved stopped = read_saved(checkpoint_path(options.folder / "checkpoints", all_steps));
    EXPECT_EQ(stopped.state, straight.state) << stop.step;
    ASSERT_EQ(stopped.arrays.size(), straight.arrays.size());
    for (std::size_t i = 0; i < straight.arrays.size(); ++i)
      EXPECT_TRUE(stopped.arrays[i] == straight.arrays[i]) << stop.step << ": " << straight.arrays[i].first;
    EXPECT_EQ(read_rows(options.folder), rows) << stop.step;
  }
}

template <class Task>
void expect_that_all_rules_continue_exactly(Precision precision) {
  const auto dense = [](Rng& rng) { return Task::make_model(rng); };
  expect_that_a_stopped_run_ends_alike<Task>(dense, precision);
  const UpcycleOptions experts{.experts = 3, .init = ZeroSum{0.5}};
  const auto with_rule = [&](const auto& rule) {
    return [&](Rng& rng) { return upcycle(dense(rng), rule, experts, rng); };
  };
  expect_that_a_stopped_run_ends_alike<Task>(with_rule(StaticFusion<float>()), precision);
  expect_that_a_stopped_run_ends_alike<Task>(with_rule(LearnedFusion<float>()), precision);
  const MemoryBankFusion<float> bank(
      {.value = BankValue::straight_through});  // allows accumulation in a Vit, too
  expect_that_a_stopped_run_ends_alike<Task>(with_rule(bank), precision);
}

TEST(TrainingRun, OfAGptGoesOnBitForBitWithEveryRule) {
  expect_that_all_rules_continue_exactly<TextTask>(Precision::fp32);
}
TEST(TrainingRun, OfAGptInBf16GoesOnBitForBitWithEveryRule) {
  expect_that_all_rules_continue_exactly<TextTask>(Precision::bf16);
}
TEST(TrainingRun, OfAVitGoesOnBitForBitWithEveryRule) {
  expect_that_all_rules_continue_exactly<ImageTask>(Precision::fp32);
}
TEST(TrainingRun, OfAVitInBf16GoesOnBitForBitWithEveryRule) {
  expect_that_all_rules_continue_exactly<ImageTask>(Precision::bf16);
}

TEST(TrainingRun, OfAVitWithRoutedWeightsGoesOnBitForBit) {
  const auto make = [](Rng& rng) { return upcycle(ImageTask::make_model(rng), {.experts = 3}, rng); };
  const TemporaryFolder folder;
  auto straight = options_for(folder / "straight"), stopped = options_for(folder / "stopped");
  straight.accumulate = stopped.accumulate = 1;
  ASSERT_EQ(train_session<ImageTask>(straight, make), Ending::finished);
  ASSERT_EQ(train_session<ImageTask>(stopped, make, {.step = 100}), Ending::interrupted);
  ASSERT_EQ(train_session<ImageTask>(stopped, make), Ending::finished);
  EXPECT_EQ(read_saved(checkpoint_path(folder / "straight/checkpoints", all_steps)),
            read_saved(checkpoint_path(folder / "stopped/checkpoints", all_steps)));
}

TEST(TrainingRun, WithAWindowedBankAndRoundedMomentsGoesOnBitForBit) {
  const auto make = [](Rng& rng) {
    const MemoryBankFusion<float> rule({.bank = {.memory = BankMemory::window, .window = 5}});
    return upcycle(TextTask::make_model(rng), rule, {.experts = 2}, rng);
  };
  const TemporaryFolder folder;
  auto straight = options_for(folder / "straight"), stopped = options_for(folder / "stopped");
  straight.adamw.bf16_moments = stopped.adamw.bf16_moments = true;
  ASSERT_EQ(train_session<TextTask>(straight, make), Ending::finished);
  ASSERT_EQ(train_session<TextTask>(stopped, make, {.step = 77, .pass = 1}), Ending::interrupted);
  ASSERT_EQ(train_session<TextTask>(stopped, make), Ending::finished);
  EXPECT_EQ(read_saved(checkpoint_path(folder / "straight/checkpoints", all_steps)),
            read_saved(checkpoint_path(folder / "stopped/checkpoints", all_steps)));
}

TEST(TrainingRun, GoesOnFromAnOlderCheckpointWhenTheNewestIsDamaged) {
  const auto make = [](Rng& rng) { return TextTask::make_model(rng); };
  const TemporaryFolder folder;
  auto options = options_for(folder / "run");
  options.checkpoints = {.interval = 10, .minutes = 0, .keep_last = 2};
  options.stop_after = 40;
  ASSERT_EQ(train_session<TextTask>(options, make), Ending::interrupted);
  folder.file("run/checkpoints/step-40.safetensors", "torn");
  options.stop_after = 0;
  ASSERT_EQ(train_session<TextTask>(options, make), Ending::finished);
  ASSERT_EQ(train_session<TextTask>(options_for(folder / "straight"), make), Ending::finished);
  EXPECT_EQ(read_saved(checkpoint_path(folder / "run/checkpoints", all_steps)),
            read_saved(checkpoint_path(folder / "straight/checkpoints", all_steps)));
  EXPECT_EQ(read_rows(folder / "run"), read_rows(folder / "straight"));
}

TEST(TrainingRun, RefusesACheckpointOfAnotherModelOrOtherData) {
  const TemporaryFolder folder;
  auto options = options_for(folder / "run");
  options.stop_after = 3;
  ASSERT_EQ(train_session<TextTask>(options, [](Rng& rng) { return TextTask::make_model(rng); }),
            Ending::interrupted);
  const auto wider = [](Rng& rng) {
    auto config = TextTask::config;
    config.d_model = 32;
    return Gpt<float>(config, rng);
  };
  EXPECT_THROW(train_session<TextTask>(options, wider), FormatError);
  const auto fused = [](Rng& rng) { return upcycle(TextTask::make_model(rng), {.experts = 2}, rng); };
  EXPECT_THROW(train_session<TextTask>(options, fused), FormatError);
  options.ema = 0;
  EXPECT_THROW(train_session<TextTask>(options, [](Rng& rng) { return TextTask::make_model(rng); }),
               FormatError);
  const io::CheckpointReader from(checkpoint_path(folder / "run/checkpoints", 3));
  const std::vector<std::int32_t> other(100, 1);
  data::TextLoader loader(other, {.batch = 2, .context = 8});
  Rng rng(1);
  const auto model = TextTask::make_model(rng);
  EXPECT_THROW(
      (TrainingRun<float, Gpt<float>, data::TextLoader>(model, loader, rng, options_for(""), {}, &from)),
      ConfigError);
}

TEST(TrainingRun, StopsEarlyWithoutABetterEvaluationOrTime) {
  const auto make = [](Rng& rng) { return TextTask::make_model(rng); };
  const auto train = [&](const TrainingOptions& options, const auto& loss_at) {
    TextTask task;
    Rng rng(1);
    const auto model = make(rng);
    TrainingRun<float, Gpt<float>, data::TextLoader> run(model, task.loader, rng, options, {});
    while (run.begin_step()) {
      run.pass([&](const Context<float>& ctx) { return task.next_loss(model, ctx); });
      if (run.end_step()) run.evaluate([&] { return ValidationRow{.loss = loss_at(run.step())}; });
    }
    EXPECT_EQ(run.ending(), Ending::finished);
    return run.step();
  };
  auto options = options_for("");
  options.patience = 4;
  EXPECT_EQ(train(options, [](Index step) { return step < 10 ? -static_cast<double>(step) : 0.0; }), 13);
  EXPECT_EQ(train(options, [](Index) { return std::nan(""); }), 4);
  options.patience = 0;
  options.max_minutes = 1e-9;
  EXPECT_EQ(train(options, [](Index) { return 1.0; }), 0);
  options.max_minutes = -1;
  EXPECT_THROW(train(options, [](Index) { return 1.0; }), ConfigError);
}

}  // namespace
}  // namespace exfusion::train
