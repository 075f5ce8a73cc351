// Moves of runs between a strided walk and dense buffers.
#include <gradus/core/cpu/detail/strided.h>

#include <algorithm>

namespace gradus::cpu {
namespace {

// The place of a walk in all dims but the last, and the distance from the operand's first element.
struct Cursor {
  const StridedSpace& space;
  const int64_t* stride;
  int64_t index[max_rank];
  int64_t offset = 0;

  Cursor(const StridedSpace& s, int k, int64_t position) : space(s), stride(s.stride[k]) {
    for (int d = s.rank; d-- > 0; position /= s.size[d]) {
      index[d] = position % s.size[d];
      offset += index[d] * stride[d];
    }
  }
  int64_t run() const { return space.inner() - index[space.rank - 1]; }
  // Moves by n elements, at most to the end of the inner dim.
  void advance(int64_t n) {
    int d = space.rank - 1;
    index[d] += n;
    offset += n * stride[d];
    while (d > 0 && index[d] == space.size[d]) {
      offset -= index[d] * stride[d];
      index[d] = 0;
      --d;
      ++index[d];
      offset += stride[d];
    }
  }
};

template <int item>
void move_run(char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t n) {
  if (to_stride == item && from_stride == item) {
    std::memcpy(to, from, static_cast<size_t>(n * item));
    return;
  }
  for (int64_t i = 0; i < n; ++i) std::memcpy(to + i * to_stride, from + i * from_stride, item);
}

using MoveRun = void (*)(char*, int64_t, const char*, int64_t, int64_t);
MoveRun move_run_of(int64_t itemsize) {
  switch (itemsize) {
    case 1: return move_run<1>;
    case 2: return move_run<2>;
    case 4: return move_run<4>;
    default: return move_run<8>;
  }
}

}  // namespace

void move_words(void* to, int64_t to_stride, const void* from, int64_t from_stride, int64_t itemsize, int64_t n) {
  move_run_of(itemsize)(static_cast<char*>(to), to_stride, static_cast<const char*>(from), from_stride, n);
}

void gather(void* to, const void* from, int64_t itemsize, const StridedSpace& space, int k, int64_t position,
            int64_t n) {
  const MoveRun move = move_run_of(itemsize);
  char* out = static_cast<char*>(to);
  for (Cursor cursor(space, k, position); n > 0;) {
    const int64_t run = std::min(n, cursor.run());
    move(out, itemsize, static_cast<const char*>(from) + cursor.offset, space.inner_stride(k), run);
    out += run * itemsize;
    n -= run;
    cursor.advance(run);
  }
}

void scatter(void* to, const void* from, int64_t itemsize, const StridedSpace& space, int k, int64_t position,
             int64_t n) {
  const MoveRun move = move_run_of(itemsize);
  const char* in = static_cast<const char*>(from);
  for (Cursor cursor(space, k, position); n > 0;) {
    const int64_t run = std::min(n, cursor.run());
    move(static_cast<char*>(to) + cursor.offset, space.inner_stride(k), in, itemsize, run);
    in += run * itemsize;
    n -= run;
    cursor.advance(run);
  }
}

}  // namespace gradus::cpu
