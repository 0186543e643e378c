// The inverse of a masked autoregressive layer of affine maps, feature by feature.
//
// Units are sorted by degree, so each feature completes a few units of every layer, and each unit is
// evaluated once. Rows of the batch are the columns of a panel: weights multiply them unpacked.

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "layers.h"

namespace flowkit {
namespace {

using at::Tensor;
using at::TensorList;

typedef int32_t Integers __attribute__((vector_size(VL * 4)));

constexpr float LIMIT = 1e4f;  // of the inputs of a conditioner

// exp(x) for x within the range of float32, by the polynomial of Cephes' `expf`.
inline Vector exponential(Vector x) {
  x = x > 88.0f ? Vector{} + 88.0f : x;
  x = x < -87.0f ? Vector{} - 87.0f : x;
  const Vector n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;  // rounded
  const Vector r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const Integers power = (__builtin_convertvector(n, Integers) + 127) << 23;
  Vector scale;
  std::memcpy(&scale, &power, sizeof(scale));
  return (p * r * r + r + 1.0f) * scale;
}

// bound tanh(raw / bound), or raw if there is no bound.
inline Vector bounded(Vector raw, float bound) {
  if (!(bound > 0)) return raw;
  const Vector e = exponential(raw * (2.0f / bound));
  return (e - 1.0f) / (e + 1.0f) * bound;
}

// Returns the parameters (batch, 2 D) of the maps whose inverse takes z to x.
//
// `ends`, (hidden layers, D), has the number of units that depend on the first k features alone;
// feature order[k] is the one that the units of step k are complete for.
Tensor affine_sweep(const Tensor& z, TensorList weights, TensorList biases, TensorList masks,
                    TensorList bounds, TensorList added, const Tensor& ends, at::IntArrayRef order,
                    double bound) {
  const Tensor rows = z.contiguous();
  const int64_t batch = z.size(0), features = z.size(1), depth = weights.size();
  std::vector<Tensor> dense, more;
  for (const Tensor& w : weights) dense.push_back(w.contiguous());
  for (const Tensor& t : added) more.push_back(t.contiguous());
  std::vector<Layer> layers = layers_of(dense, biases, masks, bounds);
  const bool large = is_large(layers, batch);
  const int* last = ends.const_data_ptr<int>();
  Scratch scratch;

  std::vector<int64_t> starts{0};  // of each layer's values, features first
  int64_t size = features * NR;
  for (Layer& l : layers) {
    starts.push_back(size);
    size += l.out * NR;
    float* masked = scratch.take(l.out * l.in);
    in_parallel((l.out + MR - 1) / MR, large, [&](int64_t t) {
      const int64_t begin = t * MR * l.in, end = std::min<int64_t>((t + 1) * MR, l.out) * l.in;
      for (int64_t i = begin; i < end; ++i) masked[i] = l.weight[i] * l.mask[i];
    });
    l.weight = masked;
  }
  size += NR;  // lines of different threads and of different values
  float* memory = scratch.take(size * at::get_num_threads());
  const Tensor params = at::empty({batch, 2 * features}, z.options());
  const float* from = rows.const_data_ptr<float>();
  float* to = params.data_ptr<float>();

  in_parallel((batch + NR - 1) / NR, large, [&](int64_t t) {
    const int64_t first = t * NR, count = std::min<int64_t>(NR, batch - first);
    float* values = memory + size * at::get_thread_num();
    std::fill(values, values + size, 0.0f);
    for (size_t i = 0; i < more.size(); ++i) {
      const float* term = more[i].const_data_ptr<float>() + first * layers[i].out;
      for (int64_t c = 0; c < count; ++c)
        for (int64_t n = 0; n < layers[i].out; ++n)
          values[starts[i + 1] + n * NR + c] = term[c * layers[i].out + n];
    }
    // Units [begin, end) of layer i.
    const auto complete = [&](int64_t i, int64_t begin, int64_t end) {
      const Layer& l = layers[i];
      const bool hidden = i + 1 < depth;
      for (; begin < end; begin += MR) {
        const Range units{begin, std::min<int64_t>(begin + MR, end)};
        const Range seen = l.columns_of(units);
        float* y = values + starts[i + 1] + units.begin * NR;
        tile_of<false>(units.size(), l.weight + units.begin * l.in + seen.begin, l.in,
                       values + starts[i] + seen.begin * NR, seen.size(),
                       [&](int n, int v, Vector sum) {
                         sum += load(y + n * NR + v * VL) + l.bias[units.begin + n];
                         store(y + n * NR + v * VL, hidden ? (sum < 0.0f ? Vector{} : sum) : sum);
                       });
      }
    };
    for (int64_t k = 0; k < features; ++k) {
      for (int64_t i = 0; i + 1 < depth; ++i)
        complete(i, k ? last[i * features + k - 1] : 0, last[i * features + k]);
      const int64_t feature = order[k];
      complete(depth - 1, 2 * feature, 2 * feature + 2);
      float latent[NR] = {};
      for (int64_t c = 0; c < count; ++c) latent[c] = from[(first + c) * features + feature];
      const float* shift = values + starts[depth] + 2 * feature * NR;
      for (int v = 0; v < NV; ++v) {
        const Vector log_scale = bounded(load(shift + NR + v * VL), float(bound));
        Vector x = (load(latent + v * VL) - load(shift + v * VL)) * exponential(-log_scale);
        x = x > LIMIT ? Vector{} + LIMIT : x;
        x = x < -LIMIT ? Vector{} - LIMIT : x;
        store(values + feature * NR + v * VL, x);
      }
    }
    const float* out = values + starts[depth];
    for (int64_t c = 0; c < count; ++c)
      for (int64_t n = 0; n < 2 * features; ++n) to[(first + c) * 2 * features + n] = out[n * NR + c];
  });
  return params;
}

Tensor affine_sweep_shape(const Tensor& z, TensorList, TensorList, TensorList, TensorList,
                          TensorList, const Tensor&, at::IntArrayRef, double) {
  return at::empty_symint({z.sym_size(0), 2 * z.sym_size(1)}, z.options());
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(flowkit_kernels, m) {
  m.def(
      "affine_sweep(Tensor z, Tensor[] weights, Tensor[] biases, Tensor[] masks, Tensor[] bounds, "
      "Tensor[] added, Tensor ends, int[] order, float bound) -> Tensor");
}

TORCH_LIBRARY_IMPL(flowkit_kernels, CPU, m) { m.impl("affine_sweep", affine_sweep); }

TORCH_LIBRARY_IMPL(flowkit_kernels, Meta, m) { m.impl("affine_sweep", affine_sweep_shape); }

}  // namespace flowkit
