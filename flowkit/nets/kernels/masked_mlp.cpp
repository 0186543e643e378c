// Multilayer perceptrons with masked weights and ReLU, forward and backward, without the zeros.
//
// Each panel of a layer is multiplied over the range of inputs in which it has open connections.
// Masks are applied while weights are packed, once per pass, and biases and activations while sums
// are in registers. The order of the float32 sums does not depend on the number of threads.

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "layers.h"

namespace flowkit {
namespace {

using at::Tensor;
using at::TensorList;
using Tensors = std::vector<Tensor>;

constexpr int64_t CHUNK = 512;  // rows whose gradients are summed at a time

Tensors contiguous(TensorList tensors) {
  Tensors same;
  for (const Tensor& t : tensors) same.push_back(t.contiguous());
  return same;
}

// A network whose weights are packed for products with rows.
class Network {
 public:
  Network(TensorList weights, TensorList biases, TensorList masks, TensorList bounds, int64_t batch)
      : weights_(contiguous(weights)), layers_(layers_of(weights_, biases, masks, bounds)) {
    large_ = is_large(layers_, batch);
    std::vector<std::pair<size_t, int64_t>> jobs;
    for (size_t i = 0; i < layers_.size(); ++i) {
      Panels panels;
      for (int64_t n = 0; n < layers_[i].out; n += NR) {
        jobs.emplace_back(i, panels.count());
        panels.add(layers_[i].columns_of({n, n + NR}));
      }
      panels.data = scratch_.take(panels.size);
      panels_.push_back(std::move(panels));
    }
    in_parallel(jobs.size(), large_, [&](int64_t j) {
      pack_rows(layers_[jobs[j].first], jobs[j].second, panels_[jobs[j].first]);
    });
  }

  bool large() const { return large_; }
  size_t depth() const { return layers_.size(); }
  const Layer& layer(size_t i) const { return layers_[i]; }

  // Layer i for some rows of x; `added` are further terms of the sums, or null.
  void run(size_t i, const float* x, const float* added, float* y, Range rows) const {
    const Layer& l = layers_[i];
    const bool last = i + 1 == layers_.size();
    multiply(x, l.in, panels_[i], y, l.out, rows,
             [&](int64_t at, int64_t column, int64_t left, Vector sum) {
               sum += load_some(l.bias + column, left);
               if (added) sum += load_some(added + at, left);
               return last ? sum : (sum < 0.0f ? Vector{} : sum);  // NaN stays
             });
  }

 private:
  Tensors weights_;
  std::vector<Layer> layers_;
  std::vector<Panels> panels_;
  Scratch scratch_;
  bool large_;
};

// Returns the values of all layers.
Tensors forward(const Tensor& x, TensorList weights, TensorList biases, TensorList masks,
                TensorList bounds, TensorList added) {
  const Tensor rows = x.contiguous();
  const Tensors more = contiguous(added);
  const Network net(weights, biases, masks, bounds, x.size(0));
  Tensors posts;
  std::vector<float*> values{const_cast<float*>(rows.const_data_ptr<float>())};
  for (size_t i = 0; i < net.depth(); ++i) {
    posts.push_back(at::empty({x.size(0), net.layer(i).out}, x.options()));
    values.push_back(posts.back().data_ptr<float>());
  }
  const Blocks blocks(0, x.size(0), net.large());
  in_parallel(blocks.count, net.large(), [&](int64_t b) {
    for (size_t i = 0; i < net.depth(); ++i) {
      const float* term = i < more.size() ? more[i].const_data_ptr<float>() : nullptr;
      net.run(i, values[i], term, values[i + 1], blocks.block(b));
    }
  });
  return posts;
}

// Returns the value of the last layer; the others are kept for one block at a time.
Tensor evaluate(const Tensor& x, TensorList weights, TensorList biases, TensorList masks,
                TensorList bounds, TensorList added) {
  const Tensor rows = x.contiguous();
  const Tensors more = contiguous(added);
  const Network net(weights, biases, masks, bounds, x.size(0));
  const int64_t depth = net.depth();
  int64_t width = 1;
  for (int64_t i = 0; i < depth; ++i) width = std::max(width, net.layer(i).out);
  const Tensor out = at::empty({x.size(0), net.layer(depth - 1).out}, x.options());
  Scratch scratch;
  const int64_t size = Blocks::ROWS * width + 5 * NR;
  float* hidden = scratch.take(2 * size * at::get_num_threads());
  const Blocks blocks(0, x.size(0), net.large());
  in_parallel(blocks.count, net.large(), [&](int64_t b) {
    const Range block = blocks.block(b);
    float* mine = hidden + 2 * size * at::get_thread_num();
    const float* value = rows.const_data_ptr<float>() + block.begin * net.layer(0).in;
    for (int64_t i = 0; i < depth; ++i) {
      const int64_t width = net.layer(i).out;
      const bool last = i + 1 == depth;
      float* to = last ? out.data_ptr<float>() + block.begin * width : mine + (i % 2) * size;
      const float* term = i < int64_t(more.size())
                              ? more[i].const_data_ptr<float>() + block.begin * width
                              : nullptr;
      net.run(i, value, term, to, {0, block.size()});
      value = to;
    }
  });
  return out;
}

// Adds up the gradients with respect to the weight and the bias of one layer, chunk by chunk.
struct WeightGradient {
  const Layer* layer;
  const float *inputs, *adjoints;  // of one chunk, in tiles of NR and of MR columns
  float *of_weight, *of_bias;

  int64_t tiles() const { return (layer->out + MR - 1) / MR; }

  void run(int64_t t, int64_t count, bool first) const {
    const Layer& l = *layer;
    const Range n{t * MR, std::min<int64_t>((t + 1) * MR, l.out)};
    const float* a = adjoints + t * MR * CHUNK;
    float sums[MR] = {};
    for (int64_t b = 0; b < count; ++b)
      for (int i = 0; i < MR; ++i) sums[i] += a[b * MR + i];
    for (int64_t i = 0; i < n.size(); ++i)
      of_bias[n.begin + i] = sums[i] + (first ? 0.0f : of_bias[n.begin + i]);
    const Range seen = l.columns_of(n);
    const Range panels{seen.begin / NR, (seen.end + NR - 1) / NR};
    if (first) {
      const int64_t begin = std::min(panels.begin * NR, l.in);
      const int64_t end = std::min(panels.end * NR, l.in);
      for (int64_t i = n.begin; i < n.end; ++i) {
        std::fill(of_weight + i * l.in, of_weight + i * l.in + begin, 0.0f);
        std::fill(of_weight + i * l.in + end, of_weight + (i + 1) * l.in, 0.0f);
      }
    }
    for (int64_t p = panels.begin; p < panels.end; ++p) {
      tile_of<true>(n.size(), a, 0, inputs + p * NR * CHUNK, count, [&](int i, int v, Vector sum) {
        const int64_t column = p * NR + v * VL, left = l.in - column;
        const int64_t at = (n.begin + i) * l.in + column;
        sum *= load_some(l.mask + at, left);
        if (!first) sum += load_some(of_weight + at, left);
        store_some(of_weight + at, sum, left);
      });
    }
  }
};

// Returns the gradients with respect to x, the weights, the biases and the added terms.
Tensors backward(const Tensor& grad, const Tensor& x, TensorList posts, TensorList weights,
                 TensorList biases, TensorList masks, TensorList bounds, int64_t n_added,
                 bool with_x) {
  const Tensor rows = x.contiguous(), of_out = grad.contiguous();
  const Tensors dense = contiguous(weights);
  const std::vector<Layer> layers = layers_of(dense, biases, masks, bounds);
  const int64_t batch = x.size(0), depth = layers.size();
  const bool large = is_large(layers, batch);
  Scratch scratch;

  std::vector<Panels> panels(depth);
  std::vector<std::pair<int64_t, int64_t>> jobs;
  for (int64_t i = with_x ? 0 : 1; i < depth; ++i) {
    for (int64_t k = 0; k < layers[i].in; k += NR) {
      jobs.emplace_back(i, panels[i].count());
      panels[i].add(layers[i].rows_of({k, k + NR}));
    }
    panels[i].data = scratch.take(panels[i].size);
  }
  in_parallel(jobs.size(), large, [&](int64_t j) {
    pack_columns(layers[jobs[j].first], jobs[j].second, panels[jobs[j].first]);
  });

  const Tensor of_x = with_x ? at::empty_like(rows) : at::empty({0}, x.options());
  Tensors of_weights, of_biases, of_added;
  std::vector<WeightGradient> gradients;
  std::vector<std::pair<int64_t, int64_t>> tiles;
  std::vector<const float*> values{rows.const_data_ptr<float>()};
  std::vector<float*> inputs, adjoints, adjoint_tiles;  // of one chunk
  for (int64_t i = 0; i < depth; ++i) {
    const Layer& l = layers[i];
    of_weights.push_back(at::empty_like(dense[i]));
    of_biases.push_back(at::empty_like(biases[i]));
    if (i < n_added) of_added.push_back(at::empty_like(posts[i]));
    if (i + 1 < depth) values.push_back(posts[i].const_data_ptr<float>());
    inputs.push_back(scratch.take(CHUNK * round_up(l.in, NR)));
    adjoint_tiles.push_back(scratch.take(CHUNK * round_up(l.out, MR)));
    adjoints.push_back(i + 1 < depth && i >= n_added ? scratch.take(CHUNK * l.out) : nullptr);
    gradients.push_back({&l, inputs[i], adjoint_tiles[i], of_weights[i].data_ptr<float>(),
                         of_biases[i].data_ptr<float>()});
    for (int64_t t = 0; t < gradients[i].tiles(); ++t) tiles.emplace_back(i, t);
  }

  for (int64_t start = 0; start < batch; start += CHUNK) {
    const int64_t count = std::min(CHUNK, batch - start);
    // Of the chunk: what each layer's products have as gradients.
    const auto adjoint_of = [&](int64_t i) {
      const int64_t offset = start * layers[i].out;
      if (i + 1 == depth) return const_cast<float*>(of_out.const_data_ptr<float>()) + offset;
      return i < n_added ? of_added[i].data_ptr<float>() + offset : adjoints[i];
    };
    const Blocks blocks(0, count, large);
    in_parallel(blocks.count, large, [&](int64_t b) {
      const Range block = blocks.block(b);
      for (int64_t i = depth - 1; i >= 0; --i) {
        const Layer& l = layers[i];
        const float *adjoint = adjoint_of(i), *value = values[i] + start * l.in;
        for (int64_t n = 0; n < l.out; n += MR)
          pack_tile<MR>(adjoint, l.out, n, block, adjoint_tiles[i] + n * CHUNK + block.begin * MR);
        for (int64_t k = 0; k < l.in; k += NR)
          pack_tile<NR>(value, l.in, k, block, inputs[i] + k * CHUNK + block.begin * NR);
        if (i > 0) {
          multiply(adjoint, l.out, panels[i], adjoint_of(i - 1), l.in, block,
                   [&](int64_t at, int64_t, int64_t left, Vector sum) {
                     return load_some(value + at, left) <= 0.0f ? Vector{} : sum;
                   });
        } else if (with_x) {
          multiply(adjoint, l.out, panels[0], of_x.data_ptr<float>() + start * l.in, l.in, block,
                   [](int64_t, int64_t, int64_t, Vector sum) { return sum; });
        }
      }
    });
    in_parallel(tiles.size(), large, [&](int64_t j) {
      gradients[tiles[j].first].run(tiles[j].second, count, start == 0);
    });
  }

  Tensors results{of_x};
  for (const Tensors* some : {&of_weights, &of_biases, &of_added})
    results.insert(results.end(), some->begin(), some->end());
  return results;
}

// Shapes alone, for tracing.
Tensors forward_shapes(const Tensor& x, TensorList weights, TensorList, TensorList, TensorList,
                       TensorList) {
  Tensors posts;
  for (const Tensor& w : weights)
    posts.push_back(at::empty_symint({x.sym_size(0), w.sym_size(0)}, x.options()));
  return posts;
}

Tensor evaluate_shapes(const Tensor& x, TensorList weights, TensorList b, TensorList m,
                       TensorList bounds, TensorList added) {
  return forward_shapes(x, weights, b, m, bounds, added).back();
}

Tensors backward_shapes(const Tensor&, const Tensor& x, TensorList posts, TensorList weights,
                        TensorList biases, TensorList, TensorList, int64_t n_added, bool with_x) {
  Tensors results{with_x ? at::empty_symint(x.sym_sizes(), x.options())
                         : at::empty({0}, x.options())};
  for (const TensorList& some : {weights, biases, posts.slice(0, n_added)})
    for (const Tensor& t : some) results.push_back(at::empty_symint(t.sym_sizes(), t.options()));
  return results;
}

// The same in torch's operators, for second derivatives.
Tensor plain(const Tensor& x, TensorList weights, TensorList biases, TensorList masks,
             TensorList added) {
  Tensor value = x;
  for (size_t i = 0; i < weights.size(); ++i) {
    value = at::linear(value, weights[i].mul(masks[i]), biases[i]);
    if (i < added.size()) value = value.add(added[i]);
    if (i + 1 < weights.size()) value = at::relu(value);
  }
  return value;
}

Tensors call_forward(const Tensor& x, TensorList weights, TensorList biases, TensorList masks,
                     TensorList bounds, TensorList added) {
  static auto op = c10::Dispatcher::singleton()
                       .findSchemaOrThrow("flowkit_kernels::masked_mlp_forward", "")
                       .typed<Tensors(const Tensor&, TensorList, TensorList, TensorList, TensorList,
                                      TensorList)>();
  return op.call(x, weights, biases, masks, bounds, added);
}

class MaskedMlp : public torch::autograd::Function<MaskedMlp> {
 public:
  static Tensor forward(torch::autograd::AutogradContext* ctx, const Tensor& x, TensorList weights,
                        TensorList biases, TensorList masks, TensorList bounds, TensorList added) {
    at::AutoDispatchBelowADInplaceOrView below;
    const Tensors posts = call_forward(x, weights, biases, masks, bounds, added);
    Tensors saved{x};
    for (const TensorList& some : {weights, biases, masks, bounds, added})
      saved.insert(saved.end(), some.begin(), some.end());
    saved.insert(saved.end(), posts.begin(), posts.end() - 1);
    ctx->save_for_backward(saved);
    ctx->saved_data["depth"] = int64_t(weights.size());
    ctx->saved_data["added"] = int64_t(added.size());
    return posts.back();
  }

  static Tensors backward(torch::autograd::AutogradContext* ctx, Tensors grads) {
    const Tensors saved = ctx->get_saved_variables();
    const size_t depth = ctx->saved_data["depth"].toInt();
    const size_t n_added = ctx->saved_data["added"].toInt();
    size_t at = 0;
    const auto next = [&](size_t count) {
      at += count;
      return TensorList(saved).slice(at - count, count);
    };
    const Tensor x = next(1)[0];
    const TensorList weights = next(depth), biases = next(depth), masks = next(depth),
                     bounds = next(depth), added = next(n_added), posts = next(depth - 1);
    Tensors results;
    if (at::GradMode::is_enabled()) {  // a derivative of this one is wanted
      results = differentiable(ctx, grads[0], x, weights, biases, masks, added);
    } else {
      static auto op = c10::Dispatcher::singleton()
                           .findSchemaOrThrow("flowkit_kernels::masked_mlp_backward", "")
                           .typed<Tensors(const Tensor&, const Tensor&, TensorList, TensorList,
                                          TensorList, TensorList, TensorList, int64_t, bool)>();
      results = op.call(grads[0], x, posts, weights, biases, masks, bounds, int64_t(n_added),
                        ctx->needs_input_grad(0));
      if (!ctx->needs_input_grad(0)) results[0] = Tensor();
    }
    // Masks and bounds, which come before the added terms, have no gradients.
    results.insert(results.begin() + 1 + 2 * depth, 2 * depth, Tensor());
    return results;
  }

 private:
  static Tensors differentiable(torch::autograd::AutogradContext* ctx, const Tensor& grad,
                                const Tensor& x, TensorList weights, TensorList biases,
                                TensorList masks, TensorList added) {
    const Tensor y = plain(x, weights, biases, masks, added);
    Tensors inputs{x}, wanted;
    for (const TensorList& some : {weights, biases, added})
      inputs.insert(inputs.end(), some.begin(), some.end());
    for (const Tensor& t : inputs)
      if (t.requires_grad()) wanted.push_back(t);
    const Tensors found = torch::autograd::grad({y}, wanted, {grad}, true, true, true);
    Tensors results;
    size_t i = 0;
    for (const Tensor& t : inputs) results.push_back(t.requires_grad() ? found[i++] : Tensor());
    return results;
  }
};

Tensor differentiated(const Tensor& x, TensorList weights, TensorList biases, TensorList masks,
                      TensorList bounds, TensorList added) {
  return MaskedMlp::apply(x, weights, biases, masks, bounds, added);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(flowkit_kernels, m) {
  m.def(
      "masked_mlp(Tensor x, Tensor[] weights, Tensor[] biases, Tensor[] masks, Tensor[] bounds, "
      "Tensor[] added) -> Tensor");
  m.def(
      "masked_mlp_forward(Tensor x, Tensor[] weights, Tensor[] biases, Tensor[] masks, "
      "Tensor[] bounds, Tensor[] added) -> Tensor[]");
  m.def(
      "masked_mlp_backward(Tensor grad, Tensor x, Tensor[] posts, Tensor[] weights, "
      "Tensor[] biases, Tensor[] masks, Tensor[] bounds, int n_added, bool with_x) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(flowkit_kernels, CPU, m) {
  m.impl("masked_mlp", evaluate);
  m.impl("masked_mlp_forward", forward);
  m.impl("masked_mlp_backward", backward);
}

TORCH_LIBRARY_IMPL(flowkit_kernels, Meta, m) {
  m.impl("masked_mlp", evaluate_shapes);
  m.impl("masked_mlp_forward", forward_shapes);
  m.impl("masked_mlp_backward", backward_shapes);
}

TORCH_LIBRARY_IMPL(flowkit_kernels, Autograd, m) { m.impl("masked_mlp", differentiated); }

}  // namespace flowkit
