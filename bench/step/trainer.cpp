#include "trainer.hpp"

#include <sstream>
#include <utility>

#include <exfusion/models/flops.hpp>
#include <exfusion/models/upcycle.hpp>
#include <exfusion/nn/learned_fusion.hpp>
#include <exfusion/nn/sparse_moe.hpp>
#include <exfusion/nn/static_fusion.hpp>
#include <exfusion/optim/adamw.hpp>

namespace exfusion::bench {
namespace {

constexpr Index d_head = 64;

GptConfig gpt_config(const StepCase& chosen) {
  return {.vocab_size = chosen.model == "gpt2" ? 50257 : 65,
          .context = chosen.length,
          .layers = chosen.layers,
          .heads = chosen.d_model / d_head,
          .d_model = chosen.d_model};
}

VitConfig vit_config(const StepCase& chosen) {
  return {.image_size = 32,
          .patch_size = 4,
          .classes = 10,
          .layers = chosen.layers,
          .heads = chosen.d_model / d_head,
          .d_model = chosen.d_model};
}

/// What every step computes in. The one place where the precision is chosen.
Context<float> step_context(const StepCase& chosen, Tape<float>& tape, Rng& rng) {
  return {.tape = &tape,
          .rng = &rng,
          .training = true,
          .precision = chosen.precision == "bf16" ? Precision::bf16 : Precision::fp32};
}

IntTensor random_ids(Shape shape, Index limit, Rng& rng) {
  IntTensor ids(shape);
  for (auto& id : ids.values()) id = static_cast<std::int32_t>(rng.below(limit));
  return ids;
}

struct TextBatch {
  IntTensor tokens, targets;

  TextBatch(const GptConfig& config, const StepCase& chosen, Rng& rng)
      : tokens(random_ids({chosen.batch, chosen.length}, config.vocab_size, rng)),
        targets(random_ids({chosen.batch, chosen.length}, config.vocab_size, rng)) {}

  Tensor<float> loss(const Context<float>& ctx, const auto& model) const {
    return model.loss(ctx, tokens, targets);
  }
};

struct ImageBatch {
  Tensor<float> images;
  IntTensor labels;

  ImageBatch(const VitConfig& config, const StepCase& chosen, Rng& rng)
      : images(Tensor<float>::empty({chosen.batch, config.channels, config.image_size, config.image_size})),
        labels(random_ids({chosen.batch}, config.classes, rng)) {
    rng.fill_normal(images.values(), 0.0, 1.0);
  }

  Tensor<float> loss(const Context<float>& ctx, const auto& model) const {
    return ops::cross_entropy(ctx, model(ctx, images), labels);
  }
};

template <class Model, class Batch>
class ModelTrainer final : public Trainer {
 public:
  ModelTrainer(Model model, const StepCase& chosen, Rng& rng)
      : model_(std::move(model)),
        chosen_(chosen),
        rng_(rng),
        batch_(model_.config, chosen, rng_),
        optimizer_(model_,
                   {.lr = 3e-4, .weight_decay = 0.1, .bf16_moments = chosen.ffn == "bank_bf16_moments"}) {}

  void step() override {
    tape_.backward(batch_.loss(step_context(chosen_, tape_, rng_), model_));
    optimizer_.step();
    tape_.clear();
  }

 private:
  Model model_;
  StepCase chosen_;
  Rng rng_;
  Batch batch_;
  AdamW<float> optimizer_;
  Tape<float> tape_;
};

/// The dense model is gone before the optimizer takes memory.
template <class Batch, class Model>
std::unique_ptr<Trainer> with_ffn(Model dense, const StepCase& chosen, Rng& rng) {
  const auto train = [&]<class Made>(Made model) -> std::unique_ptr<Trainer> {
    dense = Model();
    return std::make_unique<ModelTrainer<Made, Batch>>(std::move(model), chosen, rng);
  };
  const UpcycleOptions fused{.experts = chosen.experts};
  if (chosen.ffn == "dense") return train(Model(std::move(dense)));
  if (chosen.ffn.starts_with("bank")) return train(upcycle(dense, fused, rng));
  if (chosen.ffn == "learned") return train(upcycle(dense, LearnedFusion<float>{}, fused, rng));
  if (chosen.ffn == "static") return train(upcycle(dense, StaticFusion<float>{}, fused, rng));
  const SparseMoEOptions sparse{.experts = chosen.experts, .k = chosen.ffn == "moe1" ? 1 : 2};
  return train(dense.transform_ffn(
      [&](const FeedForward<float>& ffn, Index) { return SparseMoE<float>(ffn, sparse, rng); }));
}

}  // namespace

StepCase StepCase::completed() const {
  StepCase result = *this;
  const auto set = [](Index& size, Index own) { size = size == 0 ? own : size; };
  const bool is_gpt2 = model == "gpt2", is_vit = model == "vit";
  set(result.layers, is_vit ? 9 : is_gpt2 ? 12 : 6);
  set(result.d_model, is_vit ? 192 : is_gpt2 ? 768 : 384);
  set(result.batch, is_vit ? 128 : is_gpt2 ? 4 : 16);
  set(result.length, is_gpt2 ? 64 : 256);
  if (is_vit) result.length = vit_config(result).tokens();
  return result;
}

std::string StepCase::name() const {
  std::ostringstream text;
  text << model << '/' << ffn << "/experts:" << experts << "/layers:" << layers << "/d_model:" << d_model
       << "/batch:" << batch << "/length:" << length << '/' << precision;
  return text.str();
}

double StepCase::flops() const {
  FfnWork work;
  if (ffn.starts_with("moe")) work = {.networks = ffn == "moe1" ? 1 : 2, .router_outputs = experts};
  if (model == "vit") return training_flops(vit_config(*this), batch, work);
  return training_flops(gpt_config(*this), batch, length, work);
}

std::unique_ptr<Trainer> make_trainer(const StepCase& chosen) {
  Rng rng(1);
  if (chosen.model == "vit") {
    return with_ffn<ImageBatch>(Vit<float>(vit_config(chosen), rng), chosen, rng);
  }
  return with_ffn<TextBatch>(Gpt<float>(gpt_config(chosen), rng), chosen, rng);
}

}  // namespace exfusion::bench
