// Sizes of a tensor: up to eight dimensions, inline, all int64. Strides use the same type.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gradus/core/api.h>

namespace gradus {

inline constexpr int max_rank = 8;

namespace detail {
[[noreturn]] GRADUS_API void throw_rank_too_large(size_t rank);
}

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) : Shape(std::span<const int64_t>(sizes.begin(), sizes.size())) {}
  Shape(const std::vector<int64_t>& sizes) : Shape(std::span<const int64_t>(sizes)) {}
  Shape(std::span<const int64_t> sizes) {
    if (sizes.size() > max_rank) detail::throw_rank_too_large(sizes.size());
    for (int64_t s : sizes) sizes_[static_cast<size_t>(rank_++)] = s;
  }

  int rank() const { return rank_; }
  size_t size() const { return static_cast<size_t>(rank_); }
  bool empty() const { return rank_ == 0; }
  int64_t operator[](int64_t d) const { return sizes_[static_cast<size_t>(d)]; }
  int64_t& operator[](int64_t d) { return sizes_[static_cast<size_t>(d)]; }
  int64_t back() const { return sizes_[static_cast<size_t>(rank_ - 1)]; }
  int64_t& back() { return sizes_[static_cast<size_t>(rank_ - 1)]; }
  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + rank_; }
  int64_t* begin() { return sizes_.data(); }
  int64_t* end() { return sizes_.data() + rank_; }

  void push_back(int64_t size) {
    if (rank_ == max_rank) detail::throw_rank_too_large(max_rank + 1);
    sizes_[static_cast<size_t>(rank_++)] = size;
  }
  void insert(int64_t d, int64_t size) {
    push_back(size);
    for (int64_t i = rank_ - 1; i > d; --i) std::swap((*this)[i], (*this)[i - 1]);
  }
  void erase(int64_t d) {
    for (int64_t i = d; i + 1 < rank_; ++i) (*this)[i] = (*this)[i + 1];
    --rank_;
  }
  /// Product of the sizes; 1 for rank 0. Factories have checked that it fits.
  int64_t numel() const {
    int64_t n = 1;
    for (int64_t s : *this) n *= s;
    return n;
  }
  bool operator==(const Shape& other) const {
    if (rank_ != other.rank_) return false;
    for (int i = 0; i < rank_; ++i)
      if ((*this)[i] != other[i]) return false;
    return true;
  }

 private:
  std::array<int64_t, max_rank> sizes_;
  int rank_ = 0;
};

/// "[64, 784]".
GRADUS_API std::string to_string(const Shape& shape);

}  // namespace gradus
