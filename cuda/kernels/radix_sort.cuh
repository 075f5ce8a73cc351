// Sorting rows of any length by unsigned keys.
#pragma once

#include <cstdint>

#include <gradus/core/tensor.h>

namespace gradus::cuda {

/// Keys, each with its position in its row, and room to sort them into.
template <class Word>
class SortItems {
 public:
  /// Without values: who makes them fills in key() and position(). On the device of the running op.
  explicit SortItems(int64_t total);

  Word* key() const { return part(0); }
  Word* position() const { return part(1); }
  Word* key_room() const { return part(2); }
  Word* position_room() const { return part(3); }
  void swap() { swapped_ = !swapped_; }

 private:
  Word* part(int i) const { return memory_ + (i ^ (swapped_ ? 2 : 0)) * total_; }

  Tensor storage_;
  Word* memory_;
  int64_t total_;
  bool swapped_ = false;
};

/// Sorts rows x n items by the lower `bits` bits of their keys; equal ones keep their order.
template <class Word>
void radix_sort(SortItems<Word>& items, int64_t rows, int64_t n, int bits);

}  // namespace gradus::cuda
