// Products of rows with panels of packed weights, in float32, for any vector width.
//
// A panel holds `NR` columns of a matrix side by side: element (j, c) is at `j * NR + c`. A tile of
// `MR` rows times a panel is computed in registers. Panels know the range of j that is non-zero.

#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

namespace flowkit {

#if defined(__AVX512F__)
constexpr int VL = 16, NV = 2, MR = 12;  // 24 of 32 registers accumulate
#elif defined(__AVX__)
constexpr int VL = 8, NV = 2, MR = 6;  // 12 of 16
#else
constexpr int VL = 4, NV = 4, MR = 5;  // 20 of 32, as on ARM
#endif
constexpr int NR = VL * NV;

typedef float Vector __attribute__((vector_size(VL * 4)));

inline Vector load(const float* from) {
  Vector v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

inline void store(float* to, Vector v) { std::memcpy(to, &v, sizeof(v)); }

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Half-open range of indices.
struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
  bool empty() const { return end <= begin; }
};

// sums[i][v] += a(i, j) * panel(j, v) over j. Element (i, j) of `a` is at `i * stride + j`, or at
// `j * MR + i` if `Packed`.
template <int M, bool Packed>
inline void accumulate(const float* a, int64_t stride, const float* panel, int64_t count,
                       Vector (&sums)[M][NV]) {
  for (int64_t j = 0; j < count; ++j) {
    Vector b[NV];
    for (int v = 0; v < NV; ++v) b[v] = load(panel + j * NR + v * VL);
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) {
      const float s = Packed ? a[j * MR + i] : a[i * stride + j];
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[i][v] += s * b[v];
    }
  }
}

// Computes a tile of M rows and a panel, and gives each finished vector to `finish(i, v, sum)`.
template <int M, bool Packed, class Finish>
inline void tile(const float* a, int64_t stride, const float* panel, int64_t count,
                 const Finish& finish) {
  Vector sums[M][NV] = {};
  if constexpr (!Packed && M * NV < 8) {  // too few sums to hide the latency of one
    const int64_t half = count / 2;
    Vector others[M][NV] = {};
    for (int64_t j = 0; j < half; ++j) {
      accumulate<M, Packed>(a + j, stride, panel + j * NR, 1, sums);
      accumulate<M, Packed>(a + half + j, stride, panel + (half + j) * NR, 1, others);
    }
    accumulate<M, Packed>(a + 2 * half, stride, panel + 2 * half * NR, count % 2, sums);
    for (int i = 0; i < M; ++i)
      for (int v = 0; v < NV; ++v) sums[i][v] += others[i][v];
  } else {
    accumulate<M, Packed>(a, stride, panel, count, sums);
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) finish(i, v, sums[i][v]);
}

// As `tile`, for a number of rows from 1 to MR that is known at run time.
template <bool Packed, class Finish, int M = MR>
inline void tile_of(int64_t rows, const float* a, int64_t stride, const float* panel, int64_t count,
                    const Finish& finish) {
  if (rows == M) {
    tile<M, Packed>(a, stride, panel, count, finish);
  } else if constexpr (M > 1) {
    tile_of<Packed, Finish, M - 1>(rows, a, stride, panel, count, finish);
  }
}

template <int S, size_t... J>
inline void exchange(Vector& a, Vector& b, std::index_sequence<J...>) {
  // Swap the off-diagonal blocks of S x S elements.
  const Vector low = __builtin_shufflevector(a, b, ((J & S) ? int(VL + J - S) : int(J))...);
  b = __builtin_shufflevector(a, b, ((J & S) ? int(VL + J) : int(J + S))...);
  a = low;
}

template <int S = 1>
inline void transpose(Vector (&rows)[VL]) {
  if constexpr (S < VL) {
#pragma GCC unroll 16
    for (int i = 0; i < VL; ++i)
      if (!(i & S)) exchange<S>(rows[i], rows[i + S], std::make_index_sequence<VL>());
    transpose<2 * S>(rows);
  }
}

}  // namespace flowkit
