// Masked layers, and their weights in panels without the zeros.

#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <c10/core/impl/alloc_cpu.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "products.h"

namespace flowkit {

// One linear layer. `rows` has the first and the last open column of each row of the mask,
// `columns` the first and the last open row of each column.
struct Layer {
  const float *weight, *mask, *bias;
  const int *rows, *columns;
  int64_t out, in;

  // The columns that are open to some row of `among`.
  Range columns_of(Range among) const { return span(rows, among, out); }
  Range rows_of(Range among) const { return span(columns, among, in); }

 private:
  static Range span(const int* bounds, Range among, int64_t count) {
    Range span{INT32_MAX, 0};
    for (int64_t i = among.begin; i < std::min(among.end, count); ++i) {
      if (bounds[2 * i] >= bounds[2 * i + 1]) continue;
      span.begin = std::min<int64_t>(span.begin, bounds[2 * i]);
      span.end = std::max<int64_t>(span.end, bounds[2 * i + 1]);
    }
    return span.empty() ? Range{0, 0} : span;
  }
};

inline std::vector<Layer> layers_of(at::TensorList weights, at::TensorList biases,
                                    at::TensorList masks, at::TensorList bounds) {
  std::vector<Layer> layers;
  for (size_t i = 0; i < weights.size(); ++i) {
    const int* b = bounds[i].const_data_ptr<int>();
    const int64_t out = weights[i].size(0), in = weights[i].size(1);
    layers.push_back({weights[i].const_data_ptr<float>(), masks[i].const_data_ptr<float>(),
                      biases[i].const_data_ptr<float>(), b, b + 2 * out, out, in});
  }
  return layers;
}

// Scratch memory. It is kept for the next call, as fresh memory costs a page fault per 4 KB.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    const std::lock_guard<std::mutex> lock(pool().mutex);
    for (const Block& block : blocks_) {
      if (pool().size + block.size <= KEPT) {
        pool().size += block.size;
        pool().blocks.push_back(block);
      } else {
        c10::free_cpu(block.data);
      }
    }
  }

  float* take(int64_t size) {
    size = std::max<int64_t>(size, 1);
    {
      const std::lock_guard<std::mutex> lock(pool().mutex);
      std::vector<Block>& free = pool().blocks;
      for (size_t i = 0; i < free.size(); ++i) {
        if (free[i].size >= size && free[i].size <= 2 * size) {
          pool().size -= free[i].size;
          blocks_.push_back(free[i]);
          free[i] = free.back();
          free.pop_back();
          return blocks_.back().data;
        }
      }
    }
    blocks_.push_back({static_cast<float*>(c10::alloc_cpu(size * sizeof(float))), size});
    return blocks_.back().data;
  }

 private:
  static constexpr int64_t KEPT = 16 << 20;  // floats

  struct Block {
    float* data;
    int64_t size;
  };
  struct Pool {
    std::mutex mutex;
    std::vector<Block> blocks;
    int64_t size = 0;
  };
  static Pool& pool() {
    static Pool* pool = new Pool;  // never destroyed, as threads may outlive static objects
    return *pool;
  }

  std::vector<Block> blocks_;
};

// A matrix in panels, of which each holds a range of rows only.
struct Panels {
  std::vector<Range> ranges;
  std::vector<int64_t> starts;
  int64_t size = 0;
  float* data = nullptr;

  void add(Range range) {
    ranges.push_back(range);
    starts.push_back(size);
    size += range.size() * NR;
  }
  float* panel(int64_t p) const { return data + starts[p]; }
  int64_t count() const { return int64_t(ranges.size()); }
};

// Whether a pass is large enough for several threads.
inline bool is_large(const std::vector<Layer>& layers, int64_t batch) {
  int64_t size = 0;
  for (const Layer& l : layers) size += l.out * l.in;
  return size * batch > 2'000'000;
}

// Runs `f(i)` for i below `count`. Neighbours go to different threads, as their work is similar.
template <class F>
void in_parallel(int64_t count, bool large, const F& f) {
  const int64_t threads = large ? std::min<int64_t>(at::get_num_threads(), count) : 1;
  if (threads <= 1) {
    for (int64_t i = 0; i < count; ++i) f(i);
    return;
  }
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t i = t; i < count; i += threads) f(i);
  });
}

// Splits rows into blocks of whole tiles, at most `ROWS` rows each and equally many per thread.
// A block stays in the cache while it is multiplied by all panels.
struct Blocks {
  static constexpr int64_t ROWS = 8 * MR;
  int64_t begin, end, tiles, count;

  Blocks(int64_t begin, int64_t end, bool large) : begin(begin), end(end) {
    tiles = (end - begin + MR - 1) / MR;
    count = (end - begin + ROWS - 1) / ROWS;
    if (large) count = std::min(round_up(count, at::get_num_threads()), tiles);
  }
  Range block(int64_t i) const {
    return {begin + i * tiles / count * MR, std::min(end, begin + (i + 1) * tiles / count * MR)};
  }
};

// A vector of memory of which `count` elements exist, the others being zero.
inline Vector load_some(const float* from, int64_t count) {
  if (count >= VL) return load(from);
  Vector v = {};
  if (count > 0) std::memcpy(&v, from, count * sizeof(float));
  return v;
}

inline void store_some(float* to, Vector v, int64_t count) {
  if (count >= VL) {
    store(to, v);
  } else if (count > 0) {
    std::memcpy(to, &v, count * sizeof(float));
  }
}

// Rows of `weight * mask` become columns of panel p.
inline void pack_rows(const Layer& l, int64_t p, const Panels& panels) {
  const Range k = panels.ranges[p];
  for (int v = 0; v < NV; ++v) {
    const int64_t n = p * NR + v * VL, rows = std::clamp<int64_t>(l.out - n, 0, VL);
    float* to = panels.panel(p) + v * VL;
    int64_t j = k.begin;
    for (; rows == VL && j + VL <= k.end; j += VL) {
      Vector r[VL];
#pragma GCC unroll 16
      for (int i = 0; i < VL; ++i) {
        const int64_t at = (n + i) * l.in + j;
        r[i] = load(l.weight + at) * load(l.mask + at);
      }
      transpose(r);
#pragma GCC unroll 16
      for (int i = 0; i < VL; ++i) store(to + (j + i - k.begin) * NR, r[i]);
    }
    for (; j < k.end; ++j) {
      for (int64_t i = 0; i < VL; ++i) {
        const int64_t at = (n + i) * l.in + j;
        to[(j - k.begin) * NR + i] = i < rows ? l.weight[at] * l.mask[at] : 0.0f;
      }
    }
  }
}

// Columns of `weight * mask` become columns of panel p.
inline void pack_columns(const Layer& l, int64_t p, const Panels& panels) {
  const Range n = panels.ranges[p];
  float* to = panels.panel(p);
  for (int64_t j = n.begin; j < n.end; ++j, to += NR) {
    for (int v = 0; v < NV; ++v) {
      const int64_t column = p * NR + v * VL, at = j * l.in + column, left = l.in - column;
      store(to + v * VL, load_some(l.weight + at, left) * load_some(l.mask + at, left));
    }
  }
}

// Columns [column, column + Width) of some rows side by side, filled up with zeros.
template <int Width>
void pack_tile(const float* from, int64_t stride, int64_t column, Range rows, float* to) {
  const int64_t width = std::min<int64_t>(Width, stride - column);
  for (int64_t r = rows.begin; r < rows.end; ++r, to += Width) {
    const float* row = from + r * stride + column;
    if (width == Width) {
      std::memcpy(to, row, Width * sizeof(float));
    } else {
      for (int64_t c = 0; c < Width; ++c) to[c] = c < width ? row[c] : 0.0f;
    }
  }
}

// y = x panels, for some rows; `finish(position, column, left, sum)` gives what is stored.
template <class Finish>
void multiply(const float* x, int64_t in, const Panels& panels, float* y, int64_t out, Range rows,
              const Finish& finish) {
  for (int64_t p = 0; p < panels.count(); ++p) {
    const Range k = panels.ranges[p];
    const float* panel = panels.panel(p);
    for (int64_t row = rows.begin; row < rows.end; row += MR) {
      tile_of<false>(std::min<int64_t>(MR, rows.end - row), x + row * in + k.begin, in, panel,
                     k.size(), [&](int i, int v, Vector sum) {
                       const int64_t column = p * NR + v * VL, left = out - column;
                       const int64_t at = (row + i) * out + column;
                       store_some(y + at, finish(at, column, left, sum), left);
                     });
    }
  }
}

}  // namespace flowkit
