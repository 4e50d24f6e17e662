#pragma once

#include <concepts>
#include <type_traits>
#include <vector>

#include <exfusion/models/config_check.hpp>
#include <exfusion/nn/patch_embedding.hpp>
#include <exfusion/nn/transformer_block.hpp>
#include <exfusion/ops/add_position.hpp>
#include <exfusion/ops/mean_pool.hpp>
#include <exfusion/ops/prepend_token.hpp>
#include <exfusion/ops/select_token.hpp>

namespace exfusion {

/// What the classifier sees: a class token that attends to all patches, or the patches' mean (arXiv
/// 2205.01580), in which case there is no class token.
enum class Pooling { cls, mean };

struct VitConfig {
  Index image_size = 0;  ///< Height and width.
  Index channels = 3;
  Index patch_size = 0;
  Index classes = 0;
  Index layers = 0;
  Index heads = 0;
  Index d_model = 0;
  Index d_ff = 0;  ///< 0: four times d_model.
  double dropout = 0;
  double drop_path = 0;  ///< Of the last block; it grows linearly from 0 in the first.
  Pooling pooling = Pooling::cls;
  double layer_norm_eps = 1e-12;
  Activation activation = Activation::gelu_erf;

  /// d_ff with its default applied.
  Index hidden() const { return d_ff == 0 ? 4 * d_model : d_ff; }
  /// N, patches of an image.
  Index patches() const { return (image_size / patch_size) * (image_size / patch_size); }
  /// Patches and the class token, if there is one.
  Index tokens() const { return patches() + (pooling == Pooling::cls ? 1 : 0); }
  /// drop_path of one block, as timm spaces it.
  double drop_path_of(Index layer) const {
    return layers < 2 ? 0 : drop_path * static_cast<double>(layer) / static_cast<double>(layers - 1);
  }
};

/// The configuration itself. Throws ConfigError naming the first value that cannot work, and its limit.
inline const VitConfig& checked(const VitConfig& config) {
  constexpr std::string_view model = "vit";
  detail::check_positive(model, "image_size", config.image_size);
  detail::check_positive(model, "channels", config.channels);
  detail::check_positive(model, "patch_size", config.patch_size);
  detail::check_positive(model, "classes", config.classes);
  detail::check_positive(model, "layers", config.layers);
  detail::check_positive(model, "heads", config.heads);
  detail::check_positive(model, "d_model", config.d_model);
  detail::check_divides(model, "image_size", config.image_size, "patch_size", config.patch_size);
  detail::check_size(model, "an image", {config.channels, config.image_size, config.image_size});
  detail::check_size(model, "patch", {config.d_model, config.channels, config.patch_size, config.patch_size});
  detail::check_size(model, "position", {config.tokens(), config.d_model});
  detail::check_size(model, "head", {config.classes, config.d_model});
  detail::check_size(model, "attention", {4, config.layers, config.d_model, config.d_model});
  detail::check_positive(model, "d_ff", config.hidden());
  detail::check_size(model, "ffn", {3, config.layers, config.hidden(), config.d_model});
  detail::check_divides(model, "d_model", config.d_model, "heads", config.heads);
  detail::check_probability(model, "dropout", config.dropout);
  detail::check_probability(model, "drop_path", config.drop_path);
  detail::check_epsilon(model, config.layer_norm_eps);
  return config;
}

/// Vision Transformer (arXiv 2010.11929): image patches, a class token (unless the patches' mean is pooled)
/// and learned positions, pre-norm Transformer blocks without a causal mask, a final layer normalisation and
/// a linear classifier. Initially weights ~ N(0, 0.02^2), biases 0, as timm and Hugging Face do.
template <Scalar T, Ffn<T> F = FeedForward<T>>
struct Vit {
  static constexpr bool causal = false;

  VitConfig config;
  PatchEmbedding<T> patch;
  Parameter<T> class_token;  ///< [D]; empty with mean pooling.
  Parameter<T> position;     ///< [tokens, D]
  std::vector<TransformerBlock<T, F>> blocks;
  LayerNorm<T> norm;
  Linear<T> head;

  Vit() = default;

  /// A fresh model. `F` is a FeedForward, or a type constructed alike; models with any other FFN come from
  /// `transform_ffn`. Throws ConfigError as `checked` does.
  Vit(const VitConfig& config_, Rng& rng) requires std::constructible_from<F, const FeedForwardConfig&, Rng&>
      : config(checked(config_)),
        patch(config.channels, config.patch_size, config.d_model, 0.02, rng),
        position(Parameter<T>::normal({config.tokens(), config.d_model}, 0.02, rng)),
        norm(config.d_model, config.layer_norm_eps),
        head(config.d_model, config.classes, 0.02, rng) {
    if (config.pooling == Pooling::cls) class_token = Parameter<T>::normal({config.d_model}, 0.02, rng);
    for (Index layer = 0; layer < config.layers; ++layer) {
      blocks.push_back({LayerNorm<T>(config.d_model, config.layer_norm_eps),
                        MultiHeadAttention<T>(config.d_model, config.heads, causal, 0.02, 0.02, rng),
                        LayerNorm<T>(config.d_model, config.layer_norm_eps),
                        F(FeedForwardConfig{.d_model = config.d_model,
                                            .d_ff = config.hidden(),
                                            .activation = config.activation},
                          rng),
                        config.dropout, config.drop_path_of(layer)});
    }
  }

  static void fields(auto& self, auto&& visit) {
    visit("patch", self.patch);
    visit("class_token", self.class_token);
    visit("position", self.position);
    visit("blocks", self.blocks);
    visit("norm", self.norm);
    visit("head", self.head);
  }

  /// images [B, C, H, W] to logits [B, classes]. Throws ShapeError when C, H or W is not the model's.
  Tensor<T> operator()(const Context<T>& ctx, const Tensor<T>& images) const {
    Tensor<T> x = embed(ctx, images);
    for (const auto& block : blocks) x = block(ctx, x);
    x = norm(ctx, x);
    return head(ctx, config.pooling == Pooling::cls ? ops::select_token(ctx, x, 0) : ops::mean_pool(ctx, x));
  }

  /// images [B, C, H, W] to what the first block sees, [B, tokens, D]. Throws as `operator()`.
  Tensor<T> embed(const Context<T>& ctx, const Tensor<T>& images) const {
    check_images(images);
    Tensor<T> x = patch(ctx, images);
    if (config.pooling == Pooling::cls) x = ops::prepend_token(ctx, x, class_token);
    return ops::dropout(ctx, ops::add_position(ctx, x, position), config.dropout);
  }

  /// The same model with `make(ffn, layer)` in place of each feed-forward network; the rest is copied deeply.
  template <std::invocable<const F&, Index> Make>
  auto transform_ffn(Make make) const {
    using Made = std::remove_cvref_t<std::invoke_result_t<Make&, const F&, Index>>;
    Vit<T, Made> result;
    result.config = config;
    result.patch = patch;
    result.class_token = class_token;
    result.position = position;
    result.norm = norm;
    result.head = head;
    for (const auto& block : blocks) {
      result.blocks.push_back(block.with_ffn(make(block.ffn, static_cast<Index>(result.blocks.size()))));
    }
    return result;
  }

 private:
  void check_images(const Tensor<T>& images) const {
    const Shape& shape = images.shape();
    const Index size = config.image_size;
    if (shape.rank() != 4 || shape[0] < 1 || shape[1] != config.channels || shape[2] != size ||
        shape[3] != size) {
      throw ShapeError("vit", "images are ", shape, ": they must be [batch, ", config.channels, ", ", size,
                       ", ", size, "]");
    }
  }
};

}  // namespace exfusion
