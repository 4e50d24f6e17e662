#include <cmath>
#include <functional>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <exfusion/data/text_loader.hpp>
#include <exfusion/models/gpt.hpp>
#include <exfusion/models/upcycle.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/train/training_run.hpp>

#include "temporary_folder.hpp"

namespace exfusion::train {
namespace {

using testing::TemporaryFolder;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr GptConfig config{.vocab_size = 7, .context = 6, .layers = 2, .heads = 2, .d_model = 8};

/// A run of a small fused GPT, fed by hand.
template <class Rule>
struct Desk {
  std::vector<std::int32_t> tokens = std::vector<std::int32_t>(200, 3);
  data::TextLoader loader{tokens, {.batch = 2, .context = 6}};
  Rng rng{1};
  decltype(upcycle(std::declval<Gpt<float>>(), Rule(), UpcycleOptions{}, rng)) model;
  TrainingRun<float, decltype(model), data::TextLoader> run;

  explicit Desk(const std::filesystem::path& folder, Rule rule = {}, Index max_bad_steps = 3)
      : model(upcycle(Gpt<float>(config, rng), rule, UpcycleOptions{.experts = 3}, rng)),
        run(model, loader, rng,
            {.steps = 1000,
             .learning_rate = [](Index) { return 1e-2; },
             .ema = 0.9,
             .max_bad_steps = max_bad_steps,
             .folder = folder,
             .checkpoints = {.interval = 2, .minutes = 0},
             .config = nlohmann::json::object(),
             .progress = {.interval = 1, .quiet = true}},
            {}) {}

  /// One step; `spoil(loss)` may change the loss, `spoil_gradient` what the backward pass has left.
  bool step(const std::function<Tensor<float>(const Context<float>&, Tensor<float>)>& spoil = nullptr,
            const std::function<void()>& spoil_gradient = nullptr) {
    if (!run.begin_step()) return false;
    const data::TextBatch& batch = loader.next();
    run.pass([&](const Context<float>& ctx) {
      const Tensor<float> loss = model.loss(ctx, batch.tokens, batch.targets);
      return spoil ? spoil(ctx, loss) : loss;
    });
    if (spoil_gradient) spoil_gradient();
    run.end_step();
    return true;
  }

  /// The bytes of everything that a checkpoint holds.
  std::string state() {
    std::string bytes;
    for (const auto& array : run.arrays())
      bytes.append(reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size());
    return bytes;
  }

  /// Expects that the steps that `bad_step` makes change nothing, are counted and told as `name`, and that a
  /// good step then trains again.
  void expect_skipped(const TemporaryFolder& folder, const std::function<void()>& bad_step,
                      const std::string& name) {
    const std::string before = state();
    const Index first = run.step();
    for (Index i = 1; i <= 2; ++i) {
      bad_step();
      EXPECT_EQ(state(), before) << name;
      EXPECT_EQ(run.cursor().bad_steps_in_row, i) << name;
      EXPECT_EQ(run.step(), first + i);
    }
    const std::string rows = read_file(folder / "metrics.jsonl");
    EXPECT_NE(rows.find(name), std::string::npos) << name << " is not in\n" << rows;
  }
  void expect_training_goes_on() {
    const std::string before = state();
    const Index bad_steps = run.cursor().bad_steps;
    ASSERT_TRUE(step());
    EXPECT_NE(state(), before);
    EXPECT_EQ(run.cursor().bad_steps, bad_steps);
    EXPECT_EQ(run.cursor().bad_steps_in_row, 0);
    EXPECT_TRUE(std::isfinite(run.cursor().loss_sum));
  }
};

TEST(NotFinite, ALossThatIsNaNIsSkippedAndTheNextStepTrains) {
  const TemporaryFolder folder;
  Desk<MemoryBankFusion<float>> desk(folder.path());
  for (int i = 0; i < 3; ++i) desk.step();
  const auto spoil = [](const Context<float>&, Tensor<float> loss) {
    loss.data()[0] = nan;
    return loss;
  };
  desk.expect_skipped(
      folder, [&] { desk.step(spoil); }, "the loss itself");
  desk.expect_training_goes_on();
}

TEST(NotFinite, AnActivationThatIsNaNReachesTheGradientsAndIsSkipped) {
  const TemporaryFolder folder;
  Desk<LearnedFusion<float>> desk(folder.path());
  desk.step();
  const auto bad_step = [&] {
    ASSERT_TRUE(desk.run.begin_step());
    const data::TextBatch& batch = desk.loader.next();
    desk.run.pass([&](const Context<float>& ctx) {
      const Tensor<float> x = desk.model.hidden(ctx, batch.tokens);
      x.data()[0] = nan;
      return ops::linear_cross_entropy(ctx, x, Tensor<float>(desk.model.wte), batch.targets);
    });
    desk.run.end_step();
  };
  desk.expect_skipped(folder, bad_step, "the gradient of wte");
  desk.expect_training_goes_on();
}

TEST(NotFinite, AGradientThatIsInfiniteIsSkippedByName) {
  const TemporaryFolder folder;
  Desk<LearnedFusion<float>> desk(folder.path());
  desk.step();
  const auto spoil = [&] { desk.model.blocks[1].attention.qkv.weight.gradient()->data[5] = INFINITY; };
  desk.expect_skipped(
      folder, [&] { desk.step(nullptr, spoil); }, "the gradient of blocks.1.attention.qkv.weight");
  const auto spoil_experts = [&] { desk.model.blocks[0].ffn.experts.gradient()[9] = nan; };
  const std::string before = desk.state();
  desk.step(nullptr, spoil_experts);
  EXPECT_EQ(desk.state(), before);
  EXPECT_NE(read_file(folder / "metrics.jsonl").find("the gradient of blocks.0.ffn.experts"),
            std::string::npos);
}

TEST(NotFinite, AWeightThatIsNaNIsNamedAndHealsWithIt) {
  const TemporaryFolder folder;
  Desk<MemoryBankFusion<float>> desk(folder.path());
  desk.step();
  float& weight = desk.model.blocks[0].norm1.weight.data()[2];
  const float good = std::exchange(weight, nan);
  desk.expect_skipped(
      folder, [&] { desk.step(); }, "blocks.0.norm1.weight");
  weight = good;
  desk.expect_training_goes_on();
}

TEST(NotFinite, AnExpertThatIsNaNIsNamed) {
  const TemporaryFolder folder;
  Desk<LearnedFusion<float>> desk(folder.path());
  desk.step();
  const auto& experts = desk.model.blocks[1].ffn.experts;
  float& weight = experts.expert(2)[3];
  const float good = std::exchange(weight, nan);
  experts.set_fused(false);
  desk.expect_skipped(
      folder, [&] { desk.step(); }, "blocks.1.ffn.experts (expert 2)");
  weight = good;
  experts.set_fused(false);
  desk.expect_training_goes_on();
}

TEST(NotFinite, FusionWeightsThatAreNaNAreSkippedByName) {
  const TemporaryFolder folder;
  Desk<LearnedFusion<float>> desk(folder.path(), LearnedFusion<float>({.form = LearnedForm::free}));
  desk.step();
  float& weight = desk.model.blocks[0].ffn.rule.learned.data()[1];
  const float good = std::exchange(weight, nan);
  desk.expect_skipped(
      folder, [&] { desk.step(); }, "blocks.0.ffn.rule");
  weight = good;
  desk.expect_training_goes_on();
}

TEST(NotFinite, ARouterThatIsNaNNeverReachesTheMemoryBank) {
  const TemporaryFolder folder;
  Desk<MemoryBankFusion<float>> desk(folder.path());
  desk.step();
  float& weight = desk.model.blocks[1].ffn.rule.router.weight.data()[0];
  const float good = std::exchange(weight, nan);
  desk.expect_skipped(
      folder, [&] { desk.step(); }, "blocks.1.ffn.rule.router.weight");
  weight = good;
  desk.expect_training_goes_on();
}

TEST(NotFinite, ManyBadStepsSendTheRunBackOnceAndThenEndIt) {
  const TemporaryFolder folder;
  Desk<MemoryBankFusion<float>> desk(folder.path(), {}, 3);
  for (int i = 0; i < 7; ++i) desk.step();
  const Index bad_before = desk.run.cursor().bad_steps;
  EXPECT_EQ(bad_before, 0);
  desk.model.wte.data()[0] = nan;
  for (int i = 0; i < 3; ++i) desk.step();
  const Index back = list_checkpoints(folder / "checkpoints").front().step;
  EXPECT_EQ(desk.run.step(), back);
  EXPECT_GE(back, 2);
  EXPECT_LE(back, 7);
  EXPECT_EQ(desk.run.cursor().bad_steps, 3);
  EXPECT_EQ(desk.run.cursor().lr_scale, 0.5);
  EXPECT_TRUE(std::isfinite(desk.model.wte.data()[0]));
  desk.expect_training_goes_on();
  EXPECT_EQ(desk.run.optimizer().learning_rate(), 0.5e-2);
  desk.step();
  desk.model.wte.data()[0] = nan;
  Index more = 0;
  while (desk.step()) ++more;
  EXPECT_EQ(more, 3);
  EXPECT_EQ(desk.run.ending(), Ending::not_finite);
  std::vector<std::string> notes;
  EXPECT_NO_THROW(open_newest_checkpoint(folder / "checkpoints", notes));
  EXPECT_TRUE(notes.empty());
}

TEST(NotFinite, WithoutACheckpointManyBadStepsEndTheRun) {
  Desk<MemoryBankFusion<float>> desk("", {}, 2);
  desk.step();
  desk.model.wte.data()[0] = nan;
  while (desk.step()) {
  }
  EXPECT_EQ(desk.run.ending(), Ending::not_finite);
  EXPECT_EQ(desk.run.step(), 3);
}

TEST(StepGuard, CountsBadStepsAndDecides) {
  RunCursor cursor;
  EXPECT_EQ(judge_step(true, 2, true, cursor), Verdict::update);
  EXPECT_EQ(judge_step(false, 2, true, cursor), Verdict::skip);
  EXPECT_EQ(judge_step(true, 2, true, cursor), Verdict::update);
  EXPECT_EQ(judge_step(false, 2, true, cursor), Verdict::skip);
  EXPECT_EQ(judge_step(false, 2, true, cursor), Verdict::reload);
  EXPECT_EQ(cursor.bad_steps, 3);
  cursor.reloaded = true;
  EXPECT_EQ(judge_step(false, 2, true, cursor), Verdict::stop);
  cursor = {};
  EXPECT_EQ(judge_step(false, 1, false, cursor), Verdict::stop);
}

}  // namespace
}  // namespace exfusion::train
